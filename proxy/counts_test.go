package proxy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// counted is an engine all of whose counters differ.
func counted(t *testing.T) *engine {
	e := engineOf(t, Config{Fallback: time.Hour, Block: []string{"/a/", "/b/"}}, newKeeper(), "up", "stalled", "down")
	e.n = counts{received: event.Traffic{Messages: 1, WantBlock: 2, WantHave: 3}, sent: event.Traffic{Messages: 4},
		merged: 5, cached: 6, deferred: 7, overflow: 8, ahead: 9, passed: 10, blocked: 11, refs: 12, refsRefused: 13, reverseWants: 14, reverseBlocks: 15}
	e.blocked = []uint64{2, 3}
	e.refsRunning = 16
	for i, d := range e.downs {
		n := uint64(100 * (i + 1))
		d.open = 20 + i
		d.n = downCounts{sent: event.Traffic{Messages: n + 1}, verified: n + 2, bytes: n + 3, refused: n + 4, late: n + 5, timeouts: n + 6, connect: n + 7}
	}
	e.downs[1].stalled = true
	e.downs[2].connected, e.downs[2].stalled = false, false
	for i, id := range []peer.ID{"a", "b"} {
		u := e.upstream(id)
		u.box.bytes = 30 + i
		u.waiting = make(waiterHeap, 2+i)
	}
	return e
}

// The metrics and the state show each counter under its name.
func TestEachCounterIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := counted(t)
		defer e.close()
		var got []string
		for _, m := range e.metrics(1000, 2000) {
			var out dto.Metric
			require.NoError(t, m.Write(&out))
			if out.GetHistogram() != nil {
				continue // TestLatencyBuckets
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(m.Desc().String(), `Desc{fqName: "kitsune_`), `"`)
			for _, l := range out.GetLabel() {
				name += "," + l.GetValue()
			}
			got = append(got, fmt.Sprint(name, "=", out.GetGauge().GetValue()+out.GetCounter().GetValue()))
		}
		slices.Sort(got)
		want := strings.Fields(`bitswap_downstream_ahead_total=9
bitswap_downstream_block_bytes_total,down=303 bitswap_downstream_block_bytes_total,stalled=203 bitswap_downstream_block_bytes_total,up=103
bitswap_downstream_blocks_total,down,late=305 bitswap_downstream_blocks_total,down,refused=304 bitswap_downstream_blocks_total,down,verified=302
bitswap_downstream_blocks_total,stalled,late=205 bitswap_downstream_blocks_total,stalled,refused=204 bitswap_downstream_blocks_total,stalled,verified=202
bitswap_downstream_blocks_total,up,late=105 bitswap_downstream_blocks_total,up,refused=104 bitswap_downstream_blocks_total,up,verified=102
bitswap_downstream_outstanding,down=22 bitswap_downstream_outstanding,stalled=21 bitswap_downstream_outstanding,up=20
bitswap_downstream_peers=2
bitswap_downstream_timeouts_total,down=306 bitswap_downstream_timeouts_total,stalled=206 bitswap_downstream_timeouts_total,up=106
bitswap_downstream_up,down=0 bitswap_downstream_up,stalled=0 bitswap_downstream_up,up=1
bitswap_messages_recv,downstream=2000 bitswap_messages_recv,upstream=1000
bitswap_messages_sent,downstream=603 bitswap_messages_sent,upstream=4
bitswap_total_messages_recv=3000 bitswap_total_messages_sent=607
bitswap_upstream_peers=2
bitswap_upstream_wants_total,all=5 bitswap_upstream_wants_total,cached=6 bitswap_upstream_wants_total,merged=5 bitswap_upstream_wants_total,overflow=8
blocked_streams_total,/a/=2 blocked_streams_total,/b/=3 blocked_streams_total,others=6
panics_total=0 passed_streams_total=10 preload_requests_total,all=12 preload_requests_total,refused=13`)
		slices.Sort(want)
		require.Equal(t, want, got)

		s := e.status()
		require.Equal(t, []int{2, 16, 5, 61, 63}, []int{s.UpstreamPeers, s.PreloadRunning, s.Waiting, s.QueuedBytes, s.Outstanding})
		require.Equal(t, []uint64{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
			[]uint64{s.Merged, s.Cached, s.Deferred, s.Overflow, s.Ahead, s.PassedStreams, s.BlockedStreams, s.PreloadRequests, s.PreloadRefused, s.ReverseWants, s.ReverseBlocks})
		require.Len(t, s.Downstreams, 3)
		d := s.Downstreams[1]
		require.Equal(t, []uint64{201, 202, 203, 204, 205, 206, 207}, []uint64{d.Sent.Messages, d.Verified, d.VerifiedBytes, d.Refused, d.Late, d.Timeouts, d.Connects})
		require.Equal(t, []any{"stalled", peer.ID("stalled"), true, true, 21}, []any{d.Name, d.Peer, d.Connected, d.Stalled, d.Outstanding})

		// A sample has what was counted since the one before.
		e.sample(time.Second)
		e.n.merged += 3
		e.downs[0].n.late += 4
		e.answer.add(time.Second)
		e.downs[0].rtt.add(time.Second)
		s = e.sample(time.Minute)
		require.Equal(t, []uint64{3, 0, 4, 0, 1, 1}, []uint64{s.Merged, s.Cached, s.Downstreams[0].Late, s.Downstreams[0].Verified, s.Answer.Count, s.Downstreams[0].RTT.Count})
		require.Equal(t, time.Minute, s.Interval)
		require.Zero(t, e.sample(time.Second).Answer.Count)
	})
}

// A peer's other streams go to its own node, or to the first that supports them.
func TestNodeOfOtherStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "a", "b", "c")
		defer e.close()
		e.turn = 0
		var asked []peer.ID
		home := func(can ...peer.ID) peer.ID {
			asked = nil
			id, ok := e.home("peer", func(id peer.ID) bool { asked = append(asked, id); return slices.Contains(can, id) })
			require.Equal(t, id != "", ok)
			return id
		}
		require.EqualValues(t, "b", home("a", "b", "c"))
		require.Equal(t, []peer.ID{"b"}, asked)
		require.EqualValues(t, "c", home("c"))
		require.Equal(t, []peer.ID{"b", "a", "c"}, asked)
		require.EqualValues(t, "", home())
		e.downs[0].connected = false
		require.EqualValues(t, "", home("a"))
		require.Equal(t, []peer.ID{"b", "c"}, asked)
		e.cfg.MaxUpstreams = 1
		e.turn = 0
		id, ok := e.home("too many", func(peer.ID) bool { return true })
		require.True(t, ok)
		require.EqualValues(t, "b", id, "without a state of its own, the first")
		require.Equal(t, []peer.ID{"b", "c"}, e.nodes())
		require.Equal(t, []peer.ID{"peer"}, e.peers())
		require.Same(t, e.downs[1], e.nodeOf("b"))
		require.Nil(t, e.nodeOf("a2"))
		require.EqualValues(t, "c", e.idOf(e.downs[2]))
	})
}

// What is queued is sent before the end, for as long as that may take.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		blk := newBlocks(t, 1, 10)[0]
		took := func() time.Duration {
			began := time.Now()
			e.drain(time.Minute)
			return time.Since(began)
		}
		require.Zero(t, took())
		e.draining = false
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true}})
		synctest.Wait()
		require.Equal(t, time.Minute, took(), "the block may be in transit")
		e.wantlist("peer", false, []entry{{cid: newBlocks(t, 1, 10)[0].Cid(), block: true}})
		require.Len(t, e.ups["peer"].wants, 1, "no new wants are accepted")
		e.ups["peer"].wants[blk.Cid()].answered = true
		require.Zero(t, took(), "a node said no")
		e.ups["peer"].wants[blk.Cid()].answered = false
		e.ups["peer"].wants[blk.Cid()].block = false
		require.Zero(t, took(), "only HAVE is wanted")
		e.ups["peer"].box.running = true
		require.Equal(t, time.Minute, took())
		e.ups["peer"].wants[blk.Cid()].block = true
		require.Equal(t, time.Minute, took(), "two things are left")
		e.ups["peer"].box.running = false
		e.ups["peer"].wants[blk.Cid()].block = true
		go func() { time.Sleep(time.Second - time.Millisecond); e.peerGone("peer") }()
		require.Equal(t, time.Second, took())
	})
}

// The addresses of a node: its ports at the host of its API, plain tcp if there is any.
func TestReachable(t *testing.T) {
	f := func(want string, addrs ...string) {
		t.Helper()
		var got []string
		for _, a := range reachable(ma.StringCast("/dns4/node"), addrs) {
			got = append(got, a.String())
		}
		require.Equal(t, want, strings.Join(got, " "))
	}
	const id = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
	f("/dns4/node/tcp/4001", "/ip4/10.0.0.1/tcp/4001"+id, "/ip6/::1/tcp/4001"+id, "/ip4/10.0.0.1/tcp/4002/ws"+id, "/ip4/10.0.0.1/udp/4001/quic-v1"+id)
	f("/dns4/node/udp/4001/quic-v1", "/ip4/10.0.0.1/udp/4001/quic-v1"+id, "/ip4/10.0.0.1/udp/4001/quic-v1/webtransport"+id, "/ip4/10.0.0.1/udp/4001/webrtc-direct"+id)
	f("/dns4/node/tcp/1 /dns4/node/tcp/2", "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/2")
	f("", "/ip4/10.0.0.1"+id, "/ip4/10.0.0.1", "nonsense", "/ip4/10.0.0.1/udp/4001", "/ip4/10.0.0.1/tcp/1/http")
}

// The tokens: of the nodes' APIs, and of those who ask for preloads.
func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	f := func(text, auth, preload string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		r, err := newRPC(&settings{Config: Config{TokenFile: file}})
		if auth == "" {
			require.ErrorContains(t, err, "--token-file: "+file+" is empty")
		} else {
			require.NoError(t, err)
			require.Equal(t, auth, r.auth)
		}
		got, err := readToken(file)
		if preload == "" {
			require.ErrorContains(t, err, "want a token of 16 bytes or more")
		} else {
			require.NoError(t, err)
			require.Equal(t, preload, got)
		}
	}
	f("\n", "", "")
	f("abc\n", "Bearer abc", "")
	f("Bearer abc", "Bearer abc", "")
	f("Basic abc", "Basic abc", "")
	f("0123456789abcde\n", "Bearer 0123456789abcde", "")
	f("0123456789abcdef\n", "Bearer 0123456789abcdef", "0123456789abcdef")
	got, err := readToken("")
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = readToken(file + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
	r, err := newRPC(&settings{})
	require.NoError(t, err)
	require.Empty(t, r.auth)
	require.Equal(t, 5*time.Minute, r.client.Transport.(*http.Transport).ResponseHeaderTimeout)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	_, err = r.post(ctx, &downstreamAddr{dial: "127.0.0.1:1"}, "id", nil)
	require.ErrorContains(t, err, "127.0.0.1:1 is not a configured node")
}

// What is received and sent is counted by its kind, on both sides.
func TestTrafficIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		blks := newBlocks(t, 4, 10)
		c := cids(blks)
		e.wantlist("peer", false, []entry{{cid: c[0], block: true}, {cid: c[1]}, {cid: c[2], block: true, dontHave: true}, {cid: c[3]}})
		synctest.Wait()
		e.fromNode("node", blks[:1], c[1:2], c[2:3])
		synctest.Wait()
		e.wantlist("peer", false, []entry{{cid: c[3], cancel: true}, {cid: c[1], cancel: true}})
		synctest.Wait()
		s := e.status()
		require.Equal(t, event.Traffic{WantBlock: 2, WantHave: 2, Cancel: 2}, s.Received)
		require.Equal(t, event.Traffic{Messages: 1, Blocks: 1, BlockBytes: 10, Have: 1, DontHave: 1}, s.Sent)
		d := s.Downstreams[0]
		require.Equal(t, event.Traffic{Messages: 1, Blocks: 1, BlockBytes: 10, Have: 1, DontHave: 1}, d.Received)
		require.Equal(t, event.Traffic{Messages: 2, WantBlock: 2, WantHave: 2, Cancel: 1}, d.Sent, "the other want is not in its ledger any more")
		require.EqualValues(t, []uint64{1, 10, 1}, []uint64{d.Verified, d.VerifiedBytes, d.Connects})
		require.Equal(t, 1, e.total)
	})
}

// The home of a peer is the next connected node of the ring.
func TestHomesGoAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "a", "b", "c", "d")
		defer e.close()
		e.turn, e.downs[1].connected = 0, false
		var homes string
		for range 5 {
			homes += e.homeOf(new(upstream)).addr.name
		}
		require.Equal(t, "cdacd", homes)
		for _, d := range e.downs {
			d.connected = false
		}
		require.Nil(t, e.homeOf(new(upstream)))
	})
}

// What waits for a node is sent when its ledger and its messages have room, and what it has
// said no to stays with it as long as nothing waits.
func TestBacklogAdvances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		d := e.downs[0]
		d.box.running = true // nothing is sent
		waiting := func() *ask {
			w := &want{cid: newBlocks(t, 1, 10)[0].Cid(), waiters: []*waiter{{up: new(upstream)}}}
			a := &ask{want: w, down: d}
			w.asks = []*ask{a}
			return a
		}
		for _, c := range []struct{ ledger, items, left int }{{window - 1, 0, 0}, {window, 0, 1}, {0, maxUnsent, 0}, {0, maxUnsent + 1, 1}} {
			d.backlog, d.ledger, d.box.items = []*ask{waiting()}, c.ledger, make([]item, c.items)
			e.advance(d)
			require.Len(t, d.backlog, c.left, c)
		}
		d.box.items, d.backlog = nil, nil
		no := waiting()
		no.state, no.inLedger = dontHave, true
		d.ledger, d.parked = window, []*ask{no}
		e.advanceParked(d)
		require.Len(t, d.parked, 1)
		d.backlog = []*ask{waiting()}
		e.advanceParked(d)
		require.Empty(t, d.parked)
		require.Empty(t, d.backlog)
		require.Equal(t, window, d.ledger)
		require.False(t, no.inLedger)

		// Those that have left the ledger are forgotten when they are most.
		gone := &ask{want: no.want, down: d, state: dontHave}
		again := &ask{want: no.want, down: d, state: asked, inLedger: true}
		kept := &ask{want: no.want, down: d, state: dontHave, inLedger: true}
		d.parked = make([]*ask, 0, 2*window+1)
		for len(d.parked) < 2*window {
			d.parked = append(d.parked, []*ask{gone, again, kept}[len(d.parked)%3])
		}
		e.advanceParked(d)
		require.Len(t, d.parked, 2*window)
		d.parked = append(d.parked, kept)
		e.advanceParked(d)
		require.Len(t, d.parked, 2*window/3+1)
		d.box.items, d.box.running, d.open, d.ledger = nil, false, 0, 0
	})
}
