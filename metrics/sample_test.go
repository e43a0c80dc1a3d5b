package metrics

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestCapped(t *testing.T) {
	f := func(in []tally, limit int, always bool, want ...tally) {
		t.Helper()
		require.Equal(t, want, append([]tally(nil), capped(in, limit, always)...))
	}
	f(nil, 2, false)
	f(nil, 2, true, tally{others, 0})
	f([]tally{{"b", 1}, {"a", 1}, {"c", 9}}, 5, false, tally{"c", 9}, tally{"a", 1}, tally{"b", 1})
	f([]tally{{"b", 1}, {"a", 1}, {"c", 9}}, 2, false, tally{"c", 9}, tally{"a", 1}, tally{others, 1})
	f([]tally{{others, 7}, {"a", 1}}, 2, false, tally{"a", 1}, tally{others, 7})
	f([]tally{{"a", 1}, {"a", 2}}, 1, false, tally{"a", 3})
}

// TestLabelsAreCapped: peers that invent names cannot make the page long.
func TestLabelsAreCapped(t *testing.T) {
	m := newTest(t, Config{})
	m.take(invented(1800))
	got := page(t, m.Handler())
	f := func(series string, most int) {
		t.Helper()
		n := strings.Count(got, "\n"+series+"{")
		require.Positive(t, n)
		require.LessOrEqual(t, n, most)
	}
	f("plugin_metric_export_peers_supported_protocols", maxProtocols+1)
	f("plugin_metric_export_peers_by_agent_version", maxAgents+1)
	f("plugin_metric_export_open_streams", (maxProtocols+1)*len(event.StreamDirections))

	sum := 0
	for line := range strings.Lines(got) {
		if rest, ok := strings.CutPrefix(line, "plugin_metric_export_open_streams{"); ok {
			var n int
			_, err := fmt.Sscanf(rest[strings.LastIndexByte(rest, ' '):], "%d", &n)
			require.NoError(t, err)
			sum += n
		}
	}
	require.Equal(t, 1800*3, sum, "the label \"others\" has the rest")
}

// invented is a sample of n agents, protocols and protocols' streams.
func invented(n int) *event.Event {
	s := &event.Sample{}
	for i := range n {
		name := event.Text(fmt.Sprintf("/invented/%d", i))
		s.Agents = append(s.Agents, event.AgentCount{Agent: name, Peers: 1})
		s.Protocols = append(s.Protocols, event.ProtocolCount{Protocol: name, Peers: 1})
		for _, d := range event.StreamDirections {
			s.Streams = append(s.Streams, event.StreamCount{Protocol: name, Direction: d, Streams: 1})
		}
	}
	return &event.Event{Kind: event.KindSample, Sample: s}
}

// TestOtherEventsAllocateNothing: every event of the node passes here, most of them
// without effect.
func TestOtherEventsAllocateNothing(t *testing.T) {
	m := newTest(t, Config{})
	e := &event.Event{Kind: event.KindMessage, Wants: make([]event.Want, 16)}
	require.Zero(t, testing.AllocsPerRun(1000, func() { m.take(e) }))
}
