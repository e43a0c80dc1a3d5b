package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// keeper is a node that keeps wants as kubo does: a limited number of one peer, those of
// a message before its cancels, and as many answers that it has not sent yet. It counts
// the wants that kubo would have dropped silently.
type keeper struct {
	mu      sync.Mutex
	wants   map[cid.Cid]bool // by whether the want is for a block
	unsent  []cid.Cid        // wants without an answer, in order of arrival
	dropped int
	sent    map[cid.Cid]int // how often each was requested
}

func newKeeper() *keeper { return &keeper{wants: map[cid.Cid]bool{}, sent: map[cid.Cid]int{}} }

func (k *keeper) NewMessageSender(context.Context, peer.ID, *bsnet.MessageSenderOpts) (bsnet.MessageSender, error) {
	return k, nil
}
func (k *keeper) SupportsHave() bool { return true }
func (k *keeper) Reset() error       { return nil }

func (k *keeper) SendMsg(_ context.Context, m bsmsg.BitSwapMessage) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var tasks []cid.Cid
	for _, w := range m.Wantlist() {
		if w.Cancel {
			continue
		}
		k.sent[w.Cid]++
		if _, there := k.wants[w.Cid]; !there && len(k.wants) >= 1024 {
			k.dropped++
			continue
		}
		k.wants[w.Cid] = k.wants[w.Cid] || w.WantType == wantBlock
		tasks = append(tasks, w.Cid)
	}
	for _, w := range m.Wantlist() {
		if w.Cancel {
			delete(k.wants, w.Cid)
			k.unsent = slices.DeleteFunc(k.unsent, func(c cid.Cid) bool { return c == w.Cid })
		}
	}
	k.dropped += max(0, len(k.unsent)+len(tasks)-1024)
	for _, c := range tasks {
		if !slices.Contains(k.unsent, c) {
			k.unsent = append(k.unsent, c)
		}
	}
	return nil
}

// answer removes and returns up to n wants that wait for an answer.
func (k *keeper) answer(most int) []cid.Cid {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(most, len(k.unsent))
	now := slices.Clone(k.unsent[:n])
	k.unsent = k.unsent[n:]
	return now
}

// engineOf makes an engine in front of connected nodes; the peers' side accepts
// everything.
func engineOf(t *testing.T, c Config, nodes sender, names ...string) *engine {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	c.Balance, c.MaxUpstreams, c.MaxWants = ByCID, 100, 20_000
	c.QueueBytes, c.CacheBytes = 1<<30, 0
	s := &settings{Config: c}
	for _, n := range names {
		s.downs = append(s.downs, &downstreamAddr{name: n})
	}
	e := newEngine(s, &fuzzSide{t: t}, nodes)
	for i, d := range e.downs {
		e.nodeConnected(d, peer.ID(names[i]))
	}
	return e
}

// Whatever peers want, cancel and want again: the engine never sends a node more wants
// than kubo keeps, and its count is the number that the node has.
func TestNodeIsNeverSentMoreThanItKeeps(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				node := newKeeper()
				e := engineOf(t, Config{Fallback: time.Hour}, node, "node")
				defer e.close()
				all := newBlocks(t, 6000, 20)
				look := func(when string) {
					synctest.Wait()
					node.mu.Lock()
					defer node.mu.Unlock()
					e.mu.Lock()
					defer e.mu.Unlock()
					require.Zero(t, node.dropped, when)
					require.Equal(t, e.downs[0].ledger, len(node.wants), when)
					for c := range node.wants {
						require.True(t, e.wants[c] != nil && e.wants[c].ask(e.downs[0]).inLedger, when)
					}
				}
				for step := range 60 {
					switch r.IntN(6) {
					case 0, 1: // asks where the block is, and often requests it at once
						var entries []entry
						at := r.IntN(len(all) - 1000)
						for _, b := range all[at : at+1000] {
							entries = append(entries, entry{cid: b.Cid(), block: r.IntN(2) == 0, dontHave: true})
						}
						e.wantlist("peer", false, entries)
						if step%2 == 0 {
							for i := range entries {
								entries[i].block = true
							}
							e.wantlist("peer", false, entries)
						}
					case 2:
						var entries []entry
						for range 500 {
							entries = append(entries, entry{cid: all[r.IntN(len(all))].Cid(), cancel: true})
						}
						e.wantlist("peer", false, entries)
					case 3:
						e.retry()
					default:
						var got []blocks.Block
						var no []cid.Cid
						for _, c := range node.answer(r.IntN(1024)) {
							i := slices.IndexFunc(all, func(b blocks.Block) bool { return b.Cid() == c })
							if i%3 > 0 {
								no = append(no, c)
								continue
							}
							got = append(got, all[i])
							node.mu.Lock()
							delete(node.wants, c) // kubo forgets the wants that it answers
							node.mu.Unlock()
						}
						e.fromNode("node", got, nil, no)
					}
					look(fmt.Sprint("step ", step))
				}
			})
		})
	}
}

// A node that loses a want for any reason gets it again while it answers others.
func TestWantThatANodeLostIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newKeeper()
		e := engineOf(t, Config{Fallback: time.Second}, node, "node")
		defer e.close()
		lost, others := newBlocks(t, 1, 100)[0], newBlocks(t, 100, 100)
		e.wantlist("peer", false, []entry{{cid: lost.Cid(), block: true, dontHave: true}})
		synctest.Wait()
		require.Equal(t, []cid.Cid{lost.Cid()}, node.answer(1))
		began := time.Now()
		for i := 0; node.sent[lost.Cid()] == 1; i++ {
			time.Sleep(500 * time.Millisecond)
			e.wantlist("peer", false, []entry{{cid: others[i].Cid(), block: true}})
			synctest.Wait()
			require.Len(t, node.answer(10), 1)
			e.fromNode("node", others[i:i+1], nil, nil)
			require.Empty(t, e.tick(time.Now()))
			synctest.Wait()
		}
		require.InDelta(t, (2 * patience * time.Second).Seconds(), time.Since(began).Seconds(), 2)
		require.EqualValues(t, 1, e.downs[0].n.timeouts)
		require.Equal(t, 1, e.downs[0].ledger)
		e.fromNode("node", []blocks.Block{lost}, nil, nil)
		require.Zero(t, e.waiting())
		require.Zero(t, e.downs[0].ledger)
		require.Zero(t, e.downs[0].open)
	})
}

// The messages to a node are as full as they may be.
func TestMessagesKeepTheWindow(t *testing.T) {
	all := newBlocks(t, 400, 10)
	var items []item
	for i := 0; i < len(all); i += 2 {
		items = append(items, item{cid: all[i].Cid(), what: itemCancel}, item{cid: all[i+1].Cid(), what: itemWantBlock})
	}
	msg := bsmsg.New(false)
	n, _ := fill(msg, items)
	require.Equal(t, 2*slack+1, n, "as many cancels before a want as there is room for, and one after it")
	msg = bsmsg.New(false)
	n, _ = fill(msg, slices.DeleteFunc(slices.Clone(items), func(x item) bool { return x.what != itemCancel }))
	require.Equal(t, 200, n, "cancels alone")
	for i := range items {
		items[i].what, items[i].again = itemWantBlock, i%4 == 0
	}
	msg = bsmsg.New(false)
	n, _ = fill(msg, items)
	require.Equal(t, 4*slack, n, "a want that the node may still keep counts twice")
}

// A block that arrives after its want was cancelled is late and not an error; a block
// that was never wanted is rejected, and its node becomes the last choice.
func TestBlockOfACancelledWantIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newKeeper()
		e := engineOf(t, Config{Fallback: time.Second}, node, "node")
		defer e.close()
		all := newBlocks(t, 2, 100)
		e.wantlist("peer", false, []entry{{cid: all[0].Cid(), block: true}})
		synctest.Wait()
		e.wantlist("peer", false, []entry{{cid: all[0].Cid(), cancel: true}})
		synctest.Wait()
		require.Empty(t, node.wants)
		d := e.downs[0]
		e.fromNode("node", all[:1], nil, nil)
		require.Equal(t, []uint64{1, 0, 0}, []uint64{d.n.late, d.n.refused, d.n.verified})
		require.True(t, d.distrust.IsZero())
		e.fromNode("node", all[1:], nil, nil)
		require.Equal(t, []uint64{1, 1, 0}, []uint64{d.n.late, d.n.refused, d.n.verified})
		require.Equal(t, time.Now().Add(distrustFor), d.distrust)
	})
}

// A node that never answers is passed over, is counted once for each want, and is
// disconnected after hangUpAfter, not sooner. Other nodes deliver what it was asked for.
func TestSilentNodeIsHungUpOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Second}, newKeeper(), "one", "two")
		defer e.close()
		blk := newBlocks(t, 1, 100)[0]
		first := e.orderOf(blk.Cid())[0]
		second := e.downs[sets.Bit(first == e.downs[0])]
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true, dontHave: true}})
		began := time.Now()
		for !first.stalled {
			time.Sleep(tickEvery)
			require.Empty(t, e.tick(time.Now()))
		}
		require.InDelta(t, time.Second, time.Since(began), float64(2*tickEvery))
		require.EqualValues(t, 1, first.n.timeouts)
		require.Equal(t, second, e.orderOf(blk.Cid())[0], "the node is the last choice")
		require.Equal(t, []int{1, 1}, []int{first.open, second.open})
		e.fromNode(second.id, nil, nil, []cid.Cid{blk.Cid()})
		require.Equal(t, 1, e.waiting(), "the first may still have it")
		require.False(t, e.wants[blk.Cid()].parked)
		var silent []*downstream
		for len(silent) == 0 {
			time.Sleep(tickEvery)
			silent = e.tick(time.Now())
		}
		require.Equal(t, []*downstream{first}, silent)
		require.InDelta(t, hangUpAfter, time.Since(began), float64(2*tickEvery))
		e.nodeGone(first)
		require.True(t, e.wants[blk.Cid()].parked, "all connected nodes have answered DONT_HAVE")
		require.Equal(t, []int{0, 0}, []int{first.open, first.ledger})
	})
}

// retry requests CIDs again that no node had. The peer that received DONT_HAVE for one
// receives it only once.
func TestRetryAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newKeeper()
		e := engineOf(t, Config{Fallback: time.Second}, node, "node")
		defer e.close()
		blk := newBlocks(t, 1, 100)[0]
		no := []cid.Cid{blk.Cid()}
		e.wantlist("peer", false, []entry{{cid: blk.Cid(), block: true, dontHave: true}})
		synctest.Wait()
		e.fromNode("node", nil, nil, no)
		require.EqualValues(t, 1, e.n.sent.DontHave)
		require.Equal(t, 1, e.downs[0].ledger, "the node keeps it, and sends the block when it has it")
		e.retry()
		synctest.Wait()
		require.Equal(t, 2, node.sent[blk.Cid()])
		require.False(t, e.wants[blk.Cid()].parked)
		e.fromNode("node", nil, nil, no)
		require.EqualValues(t, 1, e.n.sent.DontHave)
		e.fromNode("node", []blocks.Block{blk}, nil, nil)
		require.EqualValues(t, 1, e.downs[0].n.verified)
		require.Zero(t, e.waiting())
		require.Zero(t, e.downs[0].ledger)
	})
}

// A want that is sent again has a new deadline; the earlier one has no effect.
func TestWantSentAgainHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Second}, newKeeper(), "node")
		defer e.close()
		c := newBlocks(t, 1, 100)[0].Cid()
		e.wantlist("peer", false, []entry{{cid: c}})
		time.Sleep(900 * time.Millisecond)
		e.wantlist("peer", false, []entry{{cid: c, block: true}})
		time.Sleep(600 * time.Millisecond)
		e.tick(time.Now())
		require.Zero(t, e.downs[0].n.timeouts)
		time.Sleep(500 * time.Millisecond)
		e.tick(time.Now())
		require.EqualValues(t, 1, e.downs[0].n.timeouts)
	})
}

// Wants that a node does not have and that are cancelled leave nothing in memory.
func TestDeniedWantsThatAreCancelledAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineOf(t, Config{Fallback: time.Second}, newKeeper(), "node")
		defer e.close()
		for range 20 {
			var on, off []entry
			var no []cid.Cid
			for _, b := range newBlocks(t, 200, 10) {
				on, off, no = append(on, entry{cid: b.Cid(), block: true}), append(off, entry{cid: b.Cid(), cancel: true}), append(no, b.Cid())
			}
			e.wantlist("peer", false, on)
			synctest.Wait()
			e.fromNode("node", nil, nil, no)
			e.wantlist("peer", false, off)
			synctest.Wait()
			require.LessOrEqual(t, len(e.downs[0].parked), 2*window)
		}
	})
}

// BenchmarkTick measures a tick with so many asks without an answer of which none is due:
// the cost of the engine's clock, twenty times a second.
func BenchmarkTick(b *testing.B) {
	e := newEngine(&settings{Config: Config{Fallback: time.Hour, Logger: slog.New(slog.DiscardHandler)}}, nil, nil)
	for range 10 * window {
		e.remind(deadline{&ask{want: &want{}}, 0, time.Now().Add(time.Hour)})
	}
	now := time.Now()
	for b.Loop() {
		e.tick(now)
	}
}
