package stream

import (
	"bytes"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// nowhere is a connection that is only closed.
type nowhere struct{ net.Conn }

func (nowhere) Close() error { return nil }

// testServer is a server that listens nowhere, and what it logs.
func testServer(t *testing.T) (*Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := New(Config{ListenAddresses: []string{"127.0.0.1:0"}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s, &log
}

// groupOf makes a group as a handshake does.
func groupOf(t *testing.T, f Filter, encoding byte) *group {
	t.Helper()
	m, err := f.compile()
	require.NoError(t, err)
	return &group{match: m, encoding: encoding, key: string(rune('0'+encoding)) + m.key}
}

// TestWhoSharesAGroup: subscribers with the same filter and encoding, and nobody else; a group
// ends with its last subscriber.
func TestWhoSharesAGroup(t *testing.T) {
	s, _ := testServer(t)
	join := func(g *group) *subscriber {
		sub := newSubscriber("x", nowhere{}, g, 1<<20)
		s.join(sub)
		return sub
	}
	cancels := Filter{Types: []string{"cancel"}}
	all := []*subscriber{
		join(groupOf(t, Filter{}, encodingZstd)), join(groupOf(t, Filter{}, encodingGzip)),
		join(groupOf(t, cancels, encodingZstd)), join(groupOf(t, cancels, encodingGzip)), join(nil),
	}
	for i, a := range all {
		for j, b := range all {
			require.Equal(t, i == j, a.group == b.group, "%d and %d", i, j)
		}
	}
	require.Len(t, s.groups, 4)
	again := join(groupOf(t, cancels, encodingZstd))
	require.Same(t, all[2].group, again.group)
	require.Len(t, s.groups, 4)
	s.part(all[2])
	require.Len(t, s.groups, 4)
	s.part(again)
	require.Len(t, s.groups, 3)
	require.EqualValues(t, 1, s.active.Load())
	s.part(all[4])
	require.Zero(t, s.active.Load())
	require.Len(t, s.subs, 3)
}

// TestBatchesFill: events that come soon after each other share a batch of version 4, which is
// sent after holdTime, or when it is full; those of version 3 are queued in batches of about
// batchBytes.
func TestBatchesFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := testServer(t)
		v4 := newSubscriber("v4", nowhere{}, groupOf(t, Filter{}, encodingGzip), 1<<30)
		v3 := newSubscriber("v3", nowhere{}, nil, 1<<30)
		s.join(v4)
		s.join(v3)
		b := bus.New(bus.Config{})
		r := b.Subscribe("stream")
		b.Live()
		defer b.Close()
		p := pump{s: s}
		done := make(chan error, 1)
		go func() { done <- p.run(t.Context(), r) }()
		sizes := func() (out []int) {
			v4.mu.Lock()
			defer v4.mu.Unlock()
			for _, q := range v4.queue {
				out = append(out, q.events)
			}
			return out
		}
		for n := range 4 {
			b.Publish(message(n, 1))
			time.Sleep(holdTime / 10)
		}
		time.Sleep(holdTime / 2)
		require.Empty(t, sizes(), "they wait for others")
		time.Sleep(holdTime)
		require.Equal(t, []int{4}, sizes())

		const many = 1000
		for n := range many {
			b.Publish(message(n, 4))
		}
		time.Sleep(2 * holdTime)
		synctest.Wait()
		var d batchDecoder
		got := 0
		for i, q := range v4.queue[1:] {
			d.frame = q.data[headerBytes:]
			require.NoError(t, d.inflate())
			require.LessOrEqual(t, len(d.plain), lineBytes)
			if i < len(v4.queue)-2 {
				require.Greater(t, len(d.plain), lineBytes-4<<10)
			}
			got += q.events
		}
		require.Equal(t, many, got)
		got = 0
		full := 0
		for _, q := range v3.queue {
			require.Less(t, len(q.data), batchBytes+4<<10)
			if len(q.data) >= batchBytes {
				full++
			}
			got += q.events
		}
		require.Equal(t, many+4, got)
		require.Positive(t, full)
		require.Less(t, len(v3.queue), many/10)
		b.Close()
		require.ErrorIs(t, <-done, bus.ErrClosed)
	})
}

// TestBuffersOfAGroup are kept for the next batch, but not those of a flood of the largest events.
func TestBuffersOfAGroup(t *testing.T) {
	s, _ := testServer(t)
	sub := newSubscriber("x", nowhere{}, groupOf(t, Filter{}, encodingGzip), 1<<30)
	s.join(sub)
	p := pump{s: s}
	p.regroup()
	p.take(message(1, 1), time.Now())
	require.NotZero(t, cap(p.line))
	p.flush(sub.group)
	require.NotZero(t, cap(sub.group.lines))
	large := message(1, 1)
	for range event.MaxEntries {
		large.Wants = append(large.Wants, large.Wants[0])
		large.Blocks = append(large.Blocks, event.Block{CID: testCID(1, 1), Size: 1 << 20})
		large.Presences = append(large.Presences, event.Presence{CID: testCID(1, 1), Type: event.DontHave})
	}
	p.take(large, time.Now())
	require.Greater(t, len(sub.group.lines), max(maxScratch, 2*lineBytes))
	require.Zero(t, cap(p.line))
	p.flush(sub.group)
	require.Zero(t, cap(sub.group.lines))
}

// TestSlowSubscriberIsNamed in the log, when it loses events and not before; a kick is counted.
func TestSlowSubscriberIsNamed(t *testing.T) {
	s, log := testServer(t)
	for _, id := range []string{"quick-1", "slow-2", "quick-3"} {
		sub := newSubscriber(id, nowhere{}, nil, 1<<20)
		if id == "slow-2" {
			sub.limit = 100
		}
		s.join(sub)
	}
	one := batch{data: make([]byte, 30), frames: 1, events: 1}
	s.deliver(one, 30, nil)
	require.Empty(t, log.String())
	dropped, slow := s.queue(one, 30, nil)
	require.Equal(t, 1, dropped)
	require.Equal(t, "slow-2", slow)
	s.deliver(one, 30, nil)
	require.Contains(t, log.String(), "a subscriber is too slow")
	require.Contains(t, log.String(), "subscriber=slow-2")

	require.False(t, s.Kick("none"))
	require.True(t, s.Kick("quick-3"))
	require.EqualValues(t, 1, s.Stats().Kicked)
}

// TestArraysAreNeverNull in a line of a recording, whichever part an event has.
func TestArraysAreNeverNull(t *testing.T) {
	for name, e := range map[string]Event{
		"message": {Message: &Message{}}, "sent": {Sent: &Message{}}, "identify": {Identify: &Identify{}}, "origins": {Origins: &Origins{}},
		"flood": {Flood: &Flood{}}, "search": {Search: &Search{Cid: testCID(1, 1)}}, "request": {Request: &Request{Cid: testCID(1, 1)}},
	} {
		line, err := e.AppendJSON(nil)
		require.NoError(t, err)
		require.NotContains(t, string(line), "null", name)
		require.Contains(t, string(line), "[]", name)
	}
}
