package watch

import (
	"context"
	"slices"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// Limits of the answerer, those of boxo's server.
const (
	maxWants   = 1024 // kept of one peer, and answers that wait for it
	maxCIDSize = 168  // bytes; longer ones are ignored
	maxAnswers = 400  // in a message: about 16 KiB
	answerers  = 8    // messages sent at once

	forgetEvery = time.Minute
)

// answerer is the Bitswap server of a node without blocks: it answers DONT_HAVE to who asks for
// that, and keeps what each connected peer waits for. boxo's server does the same with a ledger,
// queues and maps for each peer and CID, which serve those who have blocks.
type answerer struct {
	network bsnetwork.BitSwapNetwork
	guard   *guard.Guard

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	queue  chan struct{} // has one element for each asker in waiting, up to its capacity

	mu      sync.Mutex
	scratch []bsmsg.Entry
	askers  map[peer.ID]*asker
	waiting []*asker // those with answers that no worker sends yet, the longest waiting first
}

// asker is a peer with wants, or with answers that wait for it.
type asker struct {
	id      peer.ID
	wants   cidSet
	answers cidSet // CIDs to be answered with DONT_HAVE
	queued  bool   // it is in waiting, or a worker has it
}

var (
	_ bsnetwork.Receiver = (*answerer)(nil)
	_ nodestate.Ledgers  = (*answerer)(nil)
)

// newAnswerer starts a server that answers over a network. Close ends it.
func newAnswerer(n bsnetwork.BitSwapNetwork, g *guard.Guard) *answerer {
	a := &answerer{network: n, guard: g, queue: make(chan struct{}, answerers), askers: map[peer.ID]*asker{}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	for range answerers {
		a.tasks.Go(a.work)
	}
	a.tasks.Go(a.forget)
	return a
}

// Close ends the answers.
func (a *answerer) Close() {
	a.cancel()
	a.tasks.Wait()
}

// ReceiveMessage implements bsnetwork.Receiver.
func (a *answerer) ReceiveMessage(ctx context.Context, from peer.ID, m bsmsg.BitSwapMessage) {
	if !m.Full() && m.Empty() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	entries := m.FillWantlist(a.scratch)
	if a.scratch = entries; cap(entries) > maxWants {
		a.scratch = nil
	}
	p := a.askers[from]
	if p == nil {
		// A peer that has gone is not remembered: its PeerDisconnected may have been.
		if len(entries) == 0 || !a.network.IsConnectedToPeer(ctx, from) {
			return
		}
		p = &asker{id: from}
		a.askers[from] = p
	}
	if m.Full() {
		p.wants = cidSet{}
	}
	for i := range entries {
		p.note(&entries[i])
	}
	if p.answers.len() > 0 && !p.queued {
		p.queued = true
		a.waiting = append(a.waiting, p)
		a.wake()
	}
	a.drop(p)
}

// note takes an entry of a wantlist.
func (p *asker) note(e *bsmsg.Entry) {
	c := e.Cid
	if c.ByteLen() > maxCIDSize {
		return
	}
	if e.Cancel {
		p.wants.remove(c)
		p.answers.remove(c)
		return
	}
	if c.Prefix().MhType == mh.IDENTITY {
		return
	}
	p.wants.add(c)
	if e.SendDontHave {
		p.answers.add(c)
	}
}

// drop forgets a peer of which nothing is kept; a.mu is held.
func (a *answerer) drop(p *asker) {
	if p.wants.len() == 0 && !p.queued && a.askers[p.id] == p {
		delete(a.askers, p.id)
	}
}

// wake makes a worker look at waiting.
func (a *answerer) wake() {
	select {
	case a.queue <- struct{}{}:
	default: // so many look already
	}
}

// work sends answers until the answerer is closed.
func (a *answerer) work() {
	for {
		select {
		case <-a.queue:
		case <-a.ctx.Done():
			return
		}
		for p, cids := a.take(); p != nil; p, cids = a.take() {
			a.send(p, cids)
		}
	}
}

// take returns the peer that waits longest, and what it is answered in one message; nil: none.
func (a *answerer) take() (*asker, []cid.Cid) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.waiting) > 0 && a.ctx.Err() == nil {
		p := a.waiting[0]
		a.waiting[0] = nil
		if a.waiting = a.waiting[1:]; len(a.waiting) == 0 {
			a.waiting = nil
		}
		if p.answers.len() == 0 { // cancelled, or it has gone
			p.queued = false
			a.drop(p)
			continue
		}
		return p, p.answers.pop(maxAnswers)
	}
	return nil, nil
}

// send sends one message, and lets the peer wait again if it has more.
func (a *answerer) send(p *asker, cids []cid.Cid) {
	defer a.guard.Recover("watch: answer a peer")
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if p.queued = p.answers.len() > 0; p.queued {
			a.waiting = append(a.waiting, p)
			a.wake()
		}
		a.drop(p)
	}()
	m := bsmsg.New(false)
	for _, c := range cids {
		m.AddDontHave(c)
	}
	_ = a.network.SendMessage(a.ctx, p.id, m) // the capture reports an error
}

// ReceiveError implements bsnetwork.Receiver: of a stream of a peer, which has been closed.
func (*answerer) ReceiveError(error) {}

// PeerConnected implements bsnetwork.Receiver.
func (*answerer) PeerConnected(peer.ID) {}

// PeerDisconnected implements bsnetwork.Receiver: nothing is kept of a peer that has gone.
func (a *answerer) PeerDisconnected(id peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.askers[id]; p != nil {
		p.wants, p.answers = cidSet{}, cidSet{}
		delete(a.askers, id)
	}
}

// Account implements nodestate.Ledgers: no blocks are exchanged.
func (*answerer) Account(peer.ID) nodestate.Account { return nodestate.Account{} }

// Wants implements nodestate.Ledgers.
func (a *answerer) Wants(id peer.ID, most int) ([]cid.Cid, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.askers[id]
	if p == nil {
		return nil, 0
	}
	return slices.Clone(p.wants.list[:min(most, p.wants.len())]), p.wants.len()
}

// Waiting implements nodestate.Ledgers.
func (a *answerer) Waiting() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.askers {
		if p.wants.len() > 0 {
			n++
		}
	}
	return n
}

// forget drops peers that are not connected, until the answerer is closed: a connection that
// ends while it begins may not be notified.
func (a *answerer) forget() {
	for backoff.Sleep(a.ctx, forgetEvery) == nil {
		a.mu.Lock()
		for id, p := range a.askers {
			if !p.queued && !a.network.IsConnectedToPeer(a.ctx, id) {
				delete(a.askers, id)
			}
		}
		a.mu.Unlock()
	}
}

// fewCIDs is up to how many CIDs a cidSet is searched linearly.
const fewCIDs = 16

// cidSet is a set of at most maxWants CIDs, in which each step is short whatever a peer puts in.
type cidSet struct {
	list []cid.Cid
	at   map[cid.Cid]int32 // where each is in list; nil for a short list
}

func (s *cidSet) len() int { return len(s.list) }

func (s *cidSet) index(c cid.Cid) int {
	if s.at == nil {
		return slices.Index(s.list, c)
	}
	if i, there := s.at[c]; there {
		return int(i)
	}
	return -1
}

// add adds a CID, unless the set is full.
func (s *cidSet) add(c cid.Cid) {
	if len(s.list) == maxWants || s.index(c) >= 0 {
		return
	}
	s.list = append(s.list, c)
	switch {
	case s.at != nil:
		s.at[c] = int32(len(s.list) - 1)
	case len(s.list) > fewCIDs:
		s.at = make(map[cid.Cid]int32, 2*fewCIDs)
		for i, c := range s.list {
			s.at[c] = int32(i)
		}
	}
}

// remove removes a CID; the last one takes its place.
func (s *cidSet) remove(c cid.Cid) {
	i := s.index(c)
	if i < 0 {
		return
	}
	last := len(s.list) - 1
	if s.at != nil {
		s.at[s.list[last]] = int32(i)
		delete(s.at, c)
	}
	s.list[i], s.list[last] = s.list[last], cid.Undef
	s.shrink(last)
}

// shrink makes the list as short as n; what is behind is not in the map any more.
func (s *cidSet) shrink(n int) {
	s.list = s.list[:n]
	if n == 0 {
		*s = cidSet{}
	}
}

// pop removes and returns CIDs, at most that many.
func (s *cidSet) pop(most int) []cid.Cid {
	if len(s.list) <= most {
		out := s.list
		*s = cidSet{}
		return out
	}
	n := len(s.list) - most
	out := slices.Clone(s.list[n:])
	for _, c := range out {
		delete(s.at, c)
	}
	clear(s.list[n:])
	s.shrink(n)
	return out
}
