package monitor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// TestNotesOfStartAndStop: both notes are events on the bus, the stop is the last one;
// the monitor's own counters come with each sample and include those of this bus.
func TestNotesOfStartAndStop(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg, _, err := Layers{Section: section(t, `{"PopulatePrometheusInterval": 1}`)}.Effective()
	require.NoError(t, err)
	h := newHost(t)
	eb := bus.New(bus.Config{})
	r := eb.Subscribe("test")
	w := Watched{Node: nodestate.Node{Host: h}, Kubo: "0.43.1", Sample: func(context.Context) event.Node { return event.Node{} }}
	m, err := Start(cfg, w, eb, capture.New(eb, quiet), quiet)
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []event.Event
	closed := false
	buf := make([]*event.Event, 16)
	for {
		n, missed, err := r.Next(ctx, buf)
		if errors.Is(err, bus.ErrClosed) {
			break
		}
		require.NoError(t, err, "%+v", all)
		require.Zero(t, missed)
		for _, e := range buf[:n] {
			all = append(all, *e.Clone())
			if e.Kind == event.KindPipeline && !closed {
				closed = true
				go m.Close()
			}
		}
	}
	var notes []*event.Note
	var sampled bool
	for i := range all {
		e := &all[i]
		switch e.Kind {
		case event.KindNote:
			notes = append(notes, e.Note)
		case event.KindSample:
			sampled = true
		case event.KindPipeline:
			require.True(t, sampled, "the counters were published before their sample")
			require.NotZero(t, e.Pipeline.Published)
		}
	}
	require.Equal(t, []*event.Note{{Kind: event.NoteStart, Text: "The monitor started; kubo 0.43.1"}, {Kind: event.NoteStop, Text: "The monitor stopped"}}, notes)
	require.Equal(t, event.KindNote, all[len(all)-1].Kind)
}
