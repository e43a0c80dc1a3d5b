package unify

import (
	"cmp"
	"slices"
	"time"
)

// This file is a slow and obvious form of what this package promises: a list of
// events in order, a map of wants for each peer and monitor, and for each peer
// one queue of past entries of all monitors, which is scanned for each entry.

// refLedger is what a monitor knows of a peer.
type refLedger struct {
	conns     int
	connected int64
	wants     map[string]refWant
	before    map[string]refWant // what the peer wanted when it disconnected
}

type refWant struct {
	have bool
	time int64
}

// refPast is an entry of a peer's queue.
type refPast struct {
	e       Entry
	matched bool
}

type reference struct {
	cfg     Config
	ledgers map[[2]any]*refLedger
	queues  map[string][]*refPast
	id      int64
	out     []Entry
}

// refUnify returns the unified entries of events in any order.
func refUnify(cfg Config, events []Event) []Entry {
	cfg = cfg.withDefaults()
	r := &reference{cfg: cfg, ledgers: map[[2]any]*refLedger{}, queues: map[string][]*refPast{}}
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Monitor, b.Monitor), cmp.Compare(a.Seq, b.Seq))
	})
	for i := range events {
		r.event(&events[i])
	}
	return r.out
}

func (r *reference) event(e *Event) {
	if e.Kind == Restarted {
		for key := range r.ledgers {
			if key[0] == e.Monitor {
				delete(r.ledgers, key)
			}
		}
		return
	}
	r.id++
	key := [2]any{e.Monitor, e.Peer}
	l := r.ledgers[key]
	switch e.Kind {
	case Connected:
		if l == nil {
			l = &refLedger{wants: map[string]refWant{}, before: map[string]refWant{}}
			r.ledgers[key] = l
		}
		if l.conns == 0 {
			l.connected = e.Time
		}
		l.conns++
	case Disconnected:
		if l == nil || l.conns == 0 {
			return
		}
		if l.conns--; l.conns > 0 {
			return
		}
		if len(l.wants) > 0 {
			r.finish(e, r.cancels(e, keys(l.wants), SyntheticDisconnect))
			l.before, l.wants = l.wants, map[string]refWant{}
		}
	case Message:
		if l == nil {
			l = &refLedger{wants: map[string]refWant{}, before: map[string]refWant{}}
			r.ledgers[key] = l
		}
		if l.conns == 0 {
			l.conns, l.connected = 1, e.Time
		}
		r.message(l, e)
	}
}

func keys(m map[string]refWant) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// cancels are synthetic cancels of CIDs.
func (r *reference) cancels(e *Event, cids []string, kind EntryType) (out []Entry) {
	for _, c := range cids {
		out = append(out, Entry{Monitor: e.Monitor, MessageID: r.id, Message: Synthetic, Time: e.Time, Peer: e.Peer, Address: e.Address, Type: kind, CID: cidOf(c)})
	}
	return out
}

func (r *reference) message(l *refLedger, e *Event) {
	isRequest := func(t EntryType) bool {
		return t == WantBlock || t == WantBlockDontHave || t == WantHave || t == WantHaveDontHave
	}
	isHave := func(t EntryType) bool { return t == WantHave || t == WantHaveDontHave }

	// Entries with what the ledger had before the message.
	var out []Entry
	for _, w := range e.Wants {
		if w.Type == 0 {
			continue
		}
		o := Entry{Monitor: e.Monitor, MessageID: r.id, Message: Incremental, Time: e.Time, Peer: e.Peer, Address: e.Address, Priority: w.Priority, Type: w.Type, CID: w.CID}
		if e.Full {
			o.Message = FullList
		}
		old, had := l.wants[w.CID.KeyString()]
		since := uint32((e.Time - old.time) / int64(time.Second))
		if since == 0 {
			since = 1
		}
		sameMessageCancels := false
		for _, other := range e.Wants {
			if other.Type == Cancel && other.CID == w.CID {
				sameMessageCancels = true
			}
		}
		switch {
		case !had:
		case w.Type == Cancel:
			o.Since = since
		case sameMessageCancels:
		case old.have == isHave(w.Type):
			o.Since = since
			for _, window := range r.cfg.Sliding {
				if window > since {
					o.Window = window
					o.Repeats += RepeatsSliding
					break
				}
			}
		case old.have:
			o.Upgrades = true
		}
		out = append(out, o)
	}

	// The ledger after it.
	old := l.wants
	next := map[string]refWant{}
	if !e.Full {
		for k, v := range old {
			next[k] = v
		}
		for _, o := range out {
			if o.Type == Cancel {
				delete(next, o.CID.KeyString())
			}
		}
	}
	for _, o := range out {
		if isRequest(o.Type) {
			next[o.CID.KeyString()] = refWant{isHave(o.Type), e.Time}
		}
	}
	l.wants = next

	// A full wantlist repeats what the ledger had, and ends what it omits.
	if e.Full {
		var omitted []string
		for _, k := range keys(old) {
			now, still := next[k]
			if !still || now.have != old[k].have {
				omitted = append(omitted, k)
				continue
			}
			for i := range out {
				if isRequest(out[i].Type) && out[i].CID.KeyString() == k && isHave(out[i].Type) == now.have {
					out[i].Repeats += RepeatsFull
				}
			}
		}
		out = append(out, r.cancels(e, omitted, SyntheticFull)...)
	}

	// Soon after a reconnect the peer may repeat what it wanted before.
	if len(l.before) > 0 {
		if e.Time >= l.connected+int64(r.cfg.Reconnect) {
			l.before = map[string]refWant{}
		}
		for _, k := range keys(l.before) {
			now, wanted := next[k]
			if !wanted || now.have != l.before[k].have {
				continue
			}
			again := false
			for i := range out {
				if isRequest(out[i].Type) && out[i].CID.KeyString() == k && isHave(out[i].Type) == now.have {
					out[i].Repeats += RepeatsReconnect
					again = true
				}
			}
			if again {
				delete(l.before, k)
			}
		}
	}
	r.finish(e, out)
}

// finish matches entries with the queue of the peer, and appends them to it.
func (r *reference) finish(e *Event, out []Entry) {
	queue := r.queues[string(e.Peer)]
	ms := func(ns int64) int64 { return ns / 1e6 }
	isRequest := func(t EntryType) bool { return t.Request() }
	matched := make([]bool, len(out))
	for i := range out {
		o := &out[i]
		if o.Message == Synthetic {
			continue
		}
		for _, q := range queue { // the oldest first
			after := ms(o.Time) - ms(q.e.Time)
			if !q.matched && q.e.Monitor != o.Monitor && q.e.CID == o.CID && isRequest(q.e.Type) == isRequest(o.Type) && after <= r.cfg.Match.Milliseconds() {
				o.Matched, o.MatchedTo, o.MatchAfter = true, q.e.Monitor, time.Duration(after)*time.Millisecond
				q.matched, matched[i] = true, true
				break
			}
		}
	}
	for i := range out {
		o := &out[i]
		for _, q := range slices.Backward(queue) { // the newest first
			after := ms(o.Time) - ms(q.e.Time)
			if q.e.CID == o.CID && isRequest(q.e.Type) == isRequest(o.Type) && after <= r.cfg.Duplicate.Milliseconds() {
				o.Duplicate, o.DuplicateAfter = true, time.Duration(after)*time.Millisecond
				break
			}
		}
	}
	for i := range out {
		if out[i].Message != Synthetic {
			queue = append(queue, &refPast{out[i], matched[i]})
		}
	}
	r.queues[string(e.Peer)] = queue
	r.out = append(r.out, out...)
}
