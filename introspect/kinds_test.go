package introspect

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// TestEveryKindIsOnThePage: as an event, or in a state.
func TestEveryKindIsOnThePage(t *testing.T) {
	const state = "a provider of states reads it where it is counted"
	leftOut := map[event.Kind]string{
		event.KindIdentify: "libp2p's own event of it is shown",
		event.KindLatency:  "a summary has the distribution; one event for each answer would double the feed",
		event.KindProxy:    state, event.KindPipeline: state, event.KindFlood: state,
		event.KindFleet:     "a collector has no node, and no page of one",
		event.KindClockStep: "a note says the same",
		event.KindSendError: "counted in the state of the pipeline",
		event.KindProbe:     "never on a monitor's bus",
	}
	eventtest.EachKind(t, func(e *event.Event) bool { return shows(t, NewFeed, e) }, leftOut)

	// A feed that may not name peers shows sums alone.
	for _, k := range []event.Kind{event.KindMessage, event.KindConnection, event.KindDHT, event.KindSearch, event.KindRequest, event.KindRetrieval} {
		leftOut[k] = "names peers or CIDs"
	}
	quiet := func(srv *Server, _ func(peer.ID) string) *Feed { return NewQuietFeed(srv) }
	eventtest.EachKind(t, func(e *event.Event) bool { return shows(t, quiet, e) }, leftOut)
}

func shows(t *testing.T, feed func(*Server, func(peer.ID) string) *Feed, e *event.Event) bool {
	s := NewServer(Config{Introspector: NewRegistry()})
	defer s.Close()
	f := feed(s, nil)
	f.take(e)
	return len(s.events.types()) > 0 || f.Sample() != nil || f.Content() != nil
}
