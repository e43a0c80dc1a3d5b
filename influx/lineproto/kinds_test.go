package lineproto

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

func TestEveryKindIsStored(t *testing.T) {
	enc := NewEncoder("n", true)
	enc.dhtHistory = true
	eventtest.EachKind(t, func(e *event.Event) bool {
		_, points := enc.Append([schema.Kinds][]byte{}, e)
		for _, n := range points {
			if n > 0 {
				return true
			}
		}
		return false
	}, map[event.Kind]string{
		event.KindSearch:    "summaries have the sums, and a retrieval says what the search of its CID brought",
		event.KindSendError: "summaries have the sums by reason",
		event.KindClockStep: "a note says the same",
	})
}
