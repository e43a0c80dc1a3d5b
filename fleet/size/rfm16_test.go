package size_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/size"
	"github.com/ipfsmon/ipfsmon/stream"
)

// replayed records events, reads the recording, and returns what is derived of it
// and the popularity of what was asked for.
func replayed(t *testing.T, record func(add func(*stream.Event))) (summaries []*event.Summary, retrievals []*event.Retrieval, asked *size.Popularity) {
	t.Helper()
	dir := t.TempDir()
	rec, err := stream.NewRecorder(dir, "client")
	require.NoError(t, err)
	record(func(e *stream.Event) { require.NoError(t, rec.Add(e)) })
	require.NoError(t, rec.Close())

	d := derive.New(derive.Config{HistoryLatency: true, Interval: time.Hour, MaxPending: 4 << 20}, func(e *event.Event) bool {
		switch e.Kind {
		case event.KindSummary:
			summaries = append(summaries, e.Summary)
		case event.KindRetrieval:
			retrievals = append(retrievals, e.Retrieval)
		}
		return true
	})
	b := bus.New(bus.Config{MaxEvents: 16 << 10, MaxBytes: 64 << 20})
	reader := b.Subscribe("derive")
	b.Live()
	done := make(chan error, 1)
	go func() { done <- d.Run(context.Background(), reader) }()
	asked = size.NewPopularity(0)
	files, err := stream.Recordings(dir)
	require.NoError(t, err)
	for _, file := range files {
		bad, err := stream.ReadRecording(file, func(e *stream.Event) error {
			full, err := e.ToEvent()
			if err != nil {
				return err
			}
			for _, w := range full.Wants {
				if full.Dir == event.Sent && !w.Cancel {
					asked.Add(w.CID, full.Peer)
				}
			}
			for b.Stats().Held > 8<<10 {
				time.Sleep(time.Millisecond)
			}
			b.Publish(full)
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, bad)
	}
	b.Close()
	require.NoError(t, <-done)
	return summaries, retrievals, asked
}

// TestRFM16 replays what a Bitswap client saw, as probe-lab's RFM 16 has it in
// tables, and finds the figures again: how soon blocks came, how many messages and peers
// a request took.
func TestRFM16(t *testing.T) {
	w := newWorld()
	at := time.Date(2022, 3, 1, 0, 0, 0, 0, time.UTC)
	message := func(after time.Duration, p int, sent bool, m *stream.Message) *stream.Event {
		e := &stream.Event{Timestamp: at.Add(after), Peer: w.peers[p].String()}
		if e.Message = m; sent {
			e.Message, e.Sent = nil, m
		}
		return e
	}
	have := func(c cid.Cid) *stream.Message { return &stream.Message{Wants: []stream.Want{{Cid: c, WantType: 1}}} }
	block := func(c cid.Cid) *stream.Message {
		return &stream.Message{Blocks: []cid.Cid{c}, BlockSizes: []int32{1000}}
	}

	t.Run("time to a block", func(t *testing.T) {
		const requests = 10_000
		// The share of the blocks that came within each time.
		table := []struct {
			within time.Duration
			share  float64
		}{{100 * time.Millisecond, 38.94}, {150 * time.Millisecond, 61.88}, {200 * time.Millisecond, 75.98}, {500 * time.Millisecond, 88.69},
			{time.Second, 95.20}, {5 * time.Second, 98.54}, {15 * time.Second, 100}}
		_, retrievals, _ := replayed(t, func(add func(*stream.Event)) {
			r := rand.New(rand.NewPCG(16, 1))
			order := r.Perm(requests)
			for i := range requests {
				share, from, row := 100*float64(order[i])/requests, time.Duration(0), 0
				for share >= table[row].share {
					from, row = table[row].within, row+1
				}
				took := from + 1 + time.Duration(r.Int64N(int64(table[row].within-from-1)))
				c := w.contents[i]
				start := time.Duration(i) * 20 * time.Second
				add(message(start, 1, true, have(c)))
				add(message(start+took, 1, false, block(c)))
			}
		})
		require.Len(t, retrievals, requests)
		for _, row := range table {
			n := 0
			for _, r := range retrievals {
				if r.ToBlock < row.within {
					n++
				}
			}
			share := 100 * float64(n) / requests
			t.Logf("within %v: %.2f %%, in the table %.2f", row.within, share, row.share)
			require.InDelta(t, row.share, share, 0.01, "within %v", row.within)
		}
	})

	t.Run("messages and peers of a request", func(t *testing.T) {
		const requests = 100
		// Of 100 requests: each message has one entry.
		const wantHaves, wantBlocks, cancels, haves, dontHaves, blocks, peers = 85_607, 830, 84_974, 395, 18, 174, 85_332
		summaries, _, asked := replayed(t, func(add func(*stream.Event)) {
			share := func(i, all int) int { return all*(i+1)/requests - all*i/requests } // of request i
			for i := range requests {
				c, start := w.contents[i], time.Duration(i)*20*time.Second
				n := share(i, peers)
				step := func(k int) time.Duration { return start + time.Duration(k)*time.Microsecond }
				for k := range share(i, wantHaves) {
					add(message(step(k), k%n, true, have(c))) // some are asked twice
				}
				for k := range share(i, wantBlocks) {
					add(message(step(2000+k), k, true, &stream.Message{Wants: []stream.Want{{Cid: c, SendDontHave: true}}}))
				}
				for k := range share(i, haves) {
					add(message(step(3000+k), k, false, &stream.Message{Presences: []stream.Presence{{Cid: c}}}))
				}
				for k := range share(i, dontHaves) {
					add(message(step(4000+k), 10+k, false, &stream.Message{Presences: []stream.Presence{{Cid: c, Type: 1}}}))
				}
				for k := range share(i, blocks) {
					add(message(step(5000+k), k, false, block(c)))
				}
				for k := range share(i, cancels) {
					add(message(step(6000+k), k%n, true, &stream.Message{Wants: []stream.Want{{Cid: c, Cancel: true}}}))
				}
			}
		})
		require.Len(t, summaries, 1)
		s := summaries[0]
		require.Zero(t, s.Missed)
		require.EqualValues(t, requests, s.Retrieval.Wanted)
		sent, received := s.Line[event.Sent].Messages, s.Line[event.Received].Messages
		require.EqualValues(t, 171_411, sent)
		require.EqualValues(t, 587, received)
		require.InDelta(t, 1719.98, float64(sent+received)/float64(s.Retrieval.Wanted), 0.001, "messages a request")
		var asks uint64
		for i := range requests {
			asks += asked.Of(w.contents[i]).Peers
		}
		require.InDelta(t, 853.32, float64(asks)/requests, 0.001, "peers a request")
		require.Zero(t, asked.Left)
	})
}
