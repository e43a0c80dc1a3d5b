package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// lines opens streams, numbers them, and records which message goes by which. Use it in a bubble of synctest,
// whose Wait orders it and the test.
type lines struct {
	opened, sent int
	by           []int // the stream of each message
	reset        []int
	refuse       error // to open
	fail         func(sent int) error
}

type oneLine struct {
	of *lines
	n  int
}

func (l *lines) NewMessageSender(context.Context, peer.ID, *bsnet.MessageSenderOpts) (bsnet.MessageSender, error) {
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.opened++
	return &oneLine{l, l.opened}, nil
}

func (l *oneLine) SupportsHave() bool { return true }
func (l *oneLine) Reset() error       { l.of.reset = append(l.of.reset, l.n); return nil }
func (l *oneLine) SendMsg(context.Context, bsmsg.BitSwapMessage) error {
	l.of.sent++
	l.of.by = append(l.of.by, l.n)
	if l.of.fail != nil {
		return l.of.fail(l.of.sent)
	}
	return nil
}

// Large blocks of a queue go by several streams in turn, others by one; when a message cannot be sent all streams are
// given up, and a peer is dropped with its wants, and a node is reconnected.
func TestStreamsOfAPeer(t *testing.T) {
	broken := errors.New("broken")
	f := func(sizes []int, up *lines) (e *engine) {
		t.Helper()
		e = engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		e.up = up
		var all []blocks.Block
		var wants []entry
		for _, n := range sizes {
			b := newBlocks(t, 1, n)[0]
			all = append(all, b)
			wants = append(wants, entry{cid: b.Cid(), block: true})
		}
		e.wantlist("peer", false, wants)
		synctest.Wait()
		e.fromNode("node", all, nil, nil)
		synctest.Wait()
		return e
	}
	const large = enoughBytes
	for _, c := range []struct {
		sizes, by []int
	}{{[]int{10, 10}, []int{1}}, {[]int{large}, []int{1}}, {[]int{large - 1, large - 1}, []int{1, 1}}, {[]int{large, 10}, []int{1, 2}},
		{[]int{large, large, large, large}, []int{1, 2, 3, 3}}, {[]int{large, large, large, large, large}, []int{1, 2, 3, 1, 3}}} {
		synctest.Test(t, func(t *testing.T) {
			up := new(lines)
			e := f(c.sizes, up)
			defer e.close()
			require.Equal(t, c.by, up.by, c.sizes)
			require.EqualValues(t, len(c.by), e.n.sent.Messages)
			require.Zero(t, e.ups["peer"].box.bytes)
			require.Empty(t, up.reset)
		})
	}
	for _, up := range []*lines{{refuse: broken}, {fail: func(sent int) error {
		if sent == 3 {
			return broken
		}
		return nil
	}}} {
		synctest.Test(t, func(t *testing.T) {
			e := f([]int{large, large, large, large, large}, up)
			defer e.close()
			require.Empty(t, e.ups, "a peer that does not read is gone")
			require.Zero(t, e.total)
			if up.refuse == nil {
				require.Equal(t, []int{1, 2, 3}, up.by)
				slices.Sort(up.reset)
				require.Equal(t, []int{1, 2, 3}, up.reset)
				require.EqualValues(t, 2, e.n.sent.Messages)
			}
		})
	}
	for _, down := range []*lines{{refuse: broken}, {fail: func(int) error { return broken }}, {}} {
		synctest.Test(t, func(t *testing.T) {
			e := engineOf(t, Config{Fallback: time.Hour}, down, "node")
			defer e.close()
			e.wantlist("peer", false, []entry{{cid: newBlocks(t, 1, 10)[0].Cid(), block: true}})
			synctest.Wait()
			fails := down.refuse != nil || down.fail != nil
			require.Equal(t, fails, e.downs[0].broken)
			require.Len(t, e.tick(time.Now()), map[bool]int{true: 1, false: 0}[fails], "it is reconnected")
			require.EqualValues(t, map[bool]int{true: 0, false: 1}[fails], e.downs[0].n.sent.Messages)
			require.Len(t, e.ups, 1)
		})
	}
}

// So many preloads run at once, and those of one CID are one.
func TestRunningPreloads(t *testing.T) {
	cfg := &settings{Config: Config{Logger: slog.New(slog.DiscardHandler)}}
	s := &refsServer{p: &Proxy{cfg: cfg, engine: newEngine(cfg, nil, nil)}, flights: map[flightKey]*flight{}}
	at := netip.MustParseAddr("192.0.2.1")
	all := newBlocks(t, maxRunning+1, 10)
	for _, b := range all[:maxRunning-1] {
		s.flights[flightKey{cid: b.Cid()}] = &flight{cancel: func() {}}
	}
	new := flightKey{cid: all[maxRunning].Cid()}
	_, err := s.join(new, at)
	require.ErrorContains(t, err, "none of the nodes is connected")
	s.flights[flightKey{cid: all[maxRunning-1].Cid()}] = &flight{cancel: func() {}}
	_, err = s.join(new, at)
	require.ErrorContains(t, err, "128 requests are running already")
	ended := false
	key := flightKey{cid: all[0].Cid()}
	s.flights[key] = &flight{key: key, users: 1, from: []netip.Addr{at}, cancel: func() { ended = true }}
	f, err := s.join(key, netip.MustParseAddr("192.0.2.2"))
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{at, netip.MustParseAddr("192.0.2.2")}, f.from)
	require.Equal(t, 2, f.users)
	s.part(f, at)
	require.False(t, ended)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.2")}, f.from)
	s.part(f, netip.MustParseAddr("192.0.2.2"))
	require.True(t, ended)
	require.NotContains(t, s.flights, key)
}

// sentTo is a tracer that keeps to whom messages are sent.
type sentTo struct{ all []peer.ID }

func (s *sentTo) MessageReceived(peer.ID, bsmsg.BitSwapMessage) {}
func (s *sentTo) MessageSent(to peer.ID, _ bsmsg.BitSwapMessage) {
	s.all = append(s.all, to)
}

// What is sent to peers is shown to the tracer of peers, and what is sent to nodes to that of nodes.
func TestTracersOfBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Hour}, newKeeper(), "node")
		defer e.close()
		e.up = new(lines)
		up, down := new(sentTo), new(sentTo)
		e.trace[event.Upstream], e.trace[event.Downstream] = up, down
		blk := newBlocks(t, 1, 10)[0]
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true}})
		synctest.Wait()
		e.fromNode("node", []blocks.Block{blk}, nil, nil)
		synctest.Wait()
		require.Equal(t, []peer.ID{"peer"}, up.all)
		require.Equal(t, []peer.ID{"node"}, down.all)
	})
}

// A caller of the preload listener has so long to send its request, and a CID may be as long as kubo's.
func TestPreloadListenerLimits(t *testing.T) {
	cfg := &settings{Config: Config{Logger: slog.New(slog.DiscardHandler)}, refsAt: "127.0.0.1:0"}
	s, err := newRefsServer(&Proxy{cfg: cfg, engine: newEngine(cfg, nil, nil), ctx: t.Context()})
	require.NoError(t, err)
	defer s.close()
	require.Equal(t, []time.Duration{5 * time.Second, 15 * time.Second, time.Minute}, []time.Duration{s.server.ReadHeaderTimeout, s.server.ReadTimeout, s.server.IdleTimeout})
	for n, want := range map[int]bool{maxCID: true, maxCID + 1: false} {
		c := cid.NewCidV1(cid.Raw, append([]byte{0x12, byte(n - 4)}, make([]byte, n-4)...))
		if n-4 > 127 {
			c = cid.NewCidV1(cid.Raw, append([]byte{0x12, byte(n-5) | 0x80, byte((n - 5) >> 7)}, make([]byte, n-5)...))
		}
		require.Equal(t, n, c.ByteLen())
		_, err := parseRefs(&http.Request{URL: &url.URL{RawQuery: "arg=" + c.String()}})
		require.Equal(t, want, err == nil, "%d bytes: %v", n, err)
	}
}
