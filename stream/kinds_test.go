package stream

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// TestEveryKindIsInVersion4: what is in version 4 comes back from a line of it, so
// that a recording has it too, can be filtered, and is shown to people.
func TestEveryKindIsInVersion4(t *testing.T) {
	const state = "a state and no event: Prometheus and InfluxDB have it"
	eventtest.EachKind(t, func(e *event.Event) bool {
		require.Equal(t, slices.Contains(Kinds(), e.Kind.String()), hasV4(e), "%s: a filter can choose it", e.Kind)
		if !hasV4(e) {
			return false
		}
		var got Event
		require.NoError(t, json.Unmarshal(appendV4(nil, e), &got))
		require.True(t, got.known(), "%s: the client returns it", e.Kind)
		back, err := got.ToEvent()
		require.NoError(t, err)
		e.Seq = 0 // a replay numbers them itself
		require.Equal(t, e, back, "%s: a recording has it", e.Kind)
		got.Clean()
		require.NotContains(t, string(got.AppendText(nil)), "not known here", "%s", e.Kind)
		rows := got.CSV()
		require.NotEmpty(t, rows, "%s", e.Kind)
		require.Equal(t, e.Kind.String(), rows[0][slices.Index(CSVHeader, "kind")])
		m, err := Filter{Kinds: []string{e.Kind.String()}}.compile()
		require.NoError(t, err)
		require.True(t, m.match(e))
		return true
	}, map[event.Kind]string{
		event.KindSample: state, event.KindSummary: state, event.KindProxy: state, event.KindPipeline: state, event.KindFleet: state,
		event.KindLatency:   "an answer and its want are in the stream, each with its time",
		event.KindClockStep: "a note says the same",
		event.KindSendError: "a message that was not sent; totals count them by reason",
		event.KindProbe:     "never on a monitor's bus",
	})
}

// TestVersion3HasTheTwoKindsThatItEverHad: no new kind may reach a client of it.
func TestVersion3HasTheTwoKindsThatItEverHad(t *testing.T) {
	for _, k := range eventtest.Kinds() {
		require.Equal(t, k == event.KindMessage || k == event.KindConnection, hasV3(eventtest.Example(t, k)), "%s", k)
	}
}
