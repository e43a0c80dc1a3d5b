package watch

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// silent is a network whose peers receive what is sent to them when they read.
type silent struct {
	bsnetwork.BitSwapNetwork
	mu   sync.Mutex
	sent map[peer.ID][]cid.Cid
	most int // entries of one message
	gone map[peer.ID]bool
	read map[peer.ID]chan struct{} // a peer that does not read until it is closed
}

func (s *silent) IsConnectedToPeer(_ context.Context, p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.gone[p]
}

func (s *silent) SendMessage(ctx context.Context, p peer.ID, m bsmsg.BitSwapMessage) error {
	if wait := s.read[p]; wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[p] = append(s.sent[p], m.DontHaves()...)
	s.most = max(s.most, len(m.DontHaves()))
	return nil
}

func (s *silent) got(p peer.ID) []cid.Cid {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]cid.Cid(nil), s.sent[p]...)
}

// answering runs f with an answerer.
func answering(t *testing.T, f func(t *testing.T, n *silent, a *answerer)) {
	synctest.Test(t, func(t *testing.T) {
		n := &silent{sent: map[peer.ID][]cid.Cid{}, gone: map[peer.ID]bool{}, read: map[peer.ID]chan struct{}{}}
		g := guard.New(nil)
		a := newAnswerer(n, g)
		f(t, n, a)
		a.Close()
		require.Zero(t, g.Panics())
	})
}

func want(cids ...cid.Cid) bsmsg.BitSwapMessage {
	m := bsmsg.New(false)
	for _, c := range cids {
		m.AddEntry(c, 1, pb.Message_Wantlist_Have, true)
	}
	return m
}

func TestAnswers(t *testing.T) {
	answering(t, func(t *testing.T, n *silent, a *answerer) {
		m := want(cidOf(1), cidOf(2))
		m.AddEntry(cidOf(3), 1, pb.Message_Wantlist_Block, false) // wants no DONT_HAVE
		a.ReceiveMessage(t.Context(), "p", m)
		require.ElementsMatch(t, []cid.Cid{cidOf(1), cidOf(2)}, n.got("p"))
		wants, all := a.Wants("p", 2)
		require.Len(t, wants, 2)
		require.Equal(t, 3, all)
		require.Equal(t, 1, a.Waiting())

		cancel := bsmsg.New(false)
		cancel.Cancel(cidOf(1))
		cancel.Cancel(cidOf(9))
		a.ReceiveMessage(t.Context(), "p", cancel)
		a.ReceiveMessage(t.Context(), "other", cancel)
		wants, all = a.Wants("p", 10)
		require.ElementsMatch(t, []cid.Cid{cidOf(2), cidOf(3)}, wants)
		require.Equal(t, 2, all)

		full := bsmsg.New(true)
		full.AddEntry(cidOf(4), 1, pb.Message_Wantlist_Have, true)
		a.ReceiveMessage(t.Context(), "p", full)
		wants, _ = a.Wants("p", 10)
		require.Equal(t, []cid.Cid{cidOf(4)}, wants)
		require.ElementsMatch(t, []cid.Cid{cidOf(1), cidOf(2), cidOf(4)}, n.got("p"))
		a.ReceiveMessage(t.Context(), "p", want(cidOf(4)))
		require.Len(t, n.got("p"), 4, "who asks again is answered again")

		a.ReceiveMessage(t.Context(), "p", bsmsg.New(true)) // wants nothing any more
		require.Zero(t, a.Waiting())
		a.mu.Lock()
		require.Empty(t, a.askers)
		a.mu.Unlock()
	})
}

// TestNoAnswer: for what boxo's server ignores too.
func TestNoAnswer(t *testing.T) {
	answering(t, func(t *testing.T, n *silent, a *answerer) {
		inline, err := mh.Sum([]byte("inline"), mh.IDENTITY, -1)
		require.NoError(t, err)
		long, err := mh.Sum(make([]byte, maxCIDSize), mh.IDENTITY, -1)
		require.NoError(t, err)
		a.ReceiveMessage(t.Context(), "p", want(cid.NewCidV1(cid.Raw, inline), cid.NewCidV1(cid.Raw, long)))
		a.ReceiveMessage(t.Context(), "p", bsmsg.New(false))
		a.ReceiveError(context.Canceled)
		require.Empty(t, n.got("p"))
		require.Zero(t, a.Waiting())
	})
}

// TestAPeerThatDoesNotRead keeps no other from its answers, and has bounded memory.
func TestAPeerThatDoesNotRead(t *testing.T) {
	answering(t, func(t *testing.T, n *silent, a *answerer) {
		const stuck = answerers - 1
		for i := range stuck {
			n.read[peer.ID([]byte{byte(i)})] = make(chan struct{})
		}
		for p := range n.read {
			for i := range 20 {
				var cids []cid.Cid
				for k := range 1000 {
					cids = append(cids, cidOf(1000*i+k))
				}
				a.ReceiveMessage(t.Context(), p, want(cids...))
			}
			wants, all := a.Wants(p, 1<<20)
			require.Len(t, wants, maxWants)
			require.Equal(t, maxWants, all)
		}
		a.ReceiveMessage(t.Context(), "good", want(cidOf(1)))
		require.Equal(t, []cid.Cid{cidOf(1)}, n.got("good"))
		require.Equal(t, stuck+1, a.Waiting())

		gone := peer.ID([]byte{0})
		a.PeerDisconnected(gone)
		a.PeerConnected(gone)
		require.Equal(t, stuck, a.Waiting())
		for p, wait := range n.read {
			close(wait)
			if p == gone {
				require.LessOrEqual(t, len(n.got(p)), maxAnswers)
				continue
			}
			require.LessOrEqual(t, len(n.got(p)), maxWants+maxAnswers)
			require.Greater(t, len(n.got(p)), maxWants-1)
		}
		require.Equal(t, maxAnswers, n.most)
	})
}

// TestWhoHasGoneIsForgotten, also when nobody says that it has.
func TestWhoHasGoneIsForgotten(t *testing.T) {
	answering(t, func(t *testing.T, n *silent, a *answerer) {
		a.ReceiveMessage(t.Context(), "p", want(cidOf(1)))
		n.got("p")
		n.mu.Lock()
		n.gone["p"], n.gone["q"] = true, true
		n.mu.Unlock()
		a.ReceiveMessage(t.Context(), "q", want(cidOf(1)))
		require.Equal(t, 1, a.Waiting())
		time.Sleep(forgetEvery)
		synctest.Wait()
		require.Zero(t, a.Waiting())
	})
}

// TestCIDSet compares with a map.
func TestCIDSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s cidSet
	model := map[cid.Cid]bool{}
	for i := range 50_000 {
		c := cidOf(r.IntN(40 << (i / 10_000)))
		switch r.IntN(10) {
		case 0:
			for _, c := range s.pop(r.IntN(30)) {
				require.True(t, model[c])
				delete(model, c)
			}
		case 1, 2, 3:
			s.remove(c)
			delete(model, c)
		default:
			s.add(c)
			model[c] = true
		}
		require.Equal(t, len(model), s.len())
		require.Equal(t, model[c], s.index(c) >= 0)
	}
	for _, c := range s.pop(maxWants) {
		delete(model, c)
	}
	require.Empty(t, model)
	require.Zero(t, s.len())
	for i := range 2 * maxWants {
		s.add(cidOf(i))
	}
	require.Equal(t, maxWants, s.len())
}
