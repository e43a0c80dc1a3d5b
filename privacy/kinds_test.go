package privacy

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// TestEveryKindHasItsPrivacy: a kind that a mode does not know is left out, so a
// new one is missing until somebody decides.
func TestEveryKindHasItsPrivacy(t *testing.T) {
	passes := func(mode Mode) func(*event.Event) bool {
		f := filter(t, mode, testKey(t, &clock{noon}))
		return func(e *event.Event) bool { return f.Apply(e) != nil }
	}
	eventtest.EachKind(t, passes(Raw), nil)
	const probe = "never on a monitor's bus"
	eventtest.EachKind(t, passes(Pseudonym), map[event.Kind]string{event.KindProbe: probe})
	const single = "of one peer; sums have it"
	eventtest.EachKind(t, passes(Aggregate), map[event.Kind]string{
		event.KindMessage: single, event.KindConnection: single, event.KindIdentify: single, event.KindLatency: single, event.KindSendError: single, event.KindDHT: single,
		event.KindSearch: single, event.KindRetrieval: single, event.KindRequest: single, event.KindFlood: single, event.KindProbe: probe,
	})
}
