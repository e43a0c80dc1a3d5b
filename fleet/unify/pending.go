package unify

// pending is a heap of the events that wait until nothing older can come: the
// oldest is on top. Events of one time are in the order of monitors, of one
// monitor in the order of sequence numbers, then of arrival.
type pending struct {
	heap    []waiting
	events  slab[Event]
	arrived uint64
}

type waiting struct {
	time    int64
	seq     uint64
	arrived uint64
	monitor int32
	event   uint32 // in events
}

func (w *waiting) before(o *waiting) bool {
	switch {
	case w.time != o.time:
		return w.time < o.time
	case w.monitor != o.monitor:
		return w.monitor < o.monitor
	case w.seq != o.seq:
		return w.seq < o.seq
	}
	return w.arrived < o.arrived
}

// push adds a copy of the event, which shares its wants.
func (p *pending) push(e *Event) {
	id := p.events.take()
	*p.events.at(id) = *e
	p.arrived++
	p.heap = append(p.heap, waiting{e.Time, e.Seq, p.arrived, int32(e.Monitor), id})
	i := len(p.heap) - 1
	for w := p.heap[i]; i > 0; {
		up := (i - 1) / 2
		if !w.before(&p.heap[up]) {
			break
		}
		p.heap[i], p.heap[up] = p.heap[up], w
		i = up
	}
}

// oldest returns the time of the oldest event; ok is false if there is none.
func (p *pending) oldest() (at int64, ok bool) {
	if len(p.heap) == 0 {
		return 0, false
	}
	return p.heap[0].time, true
}

// pop removes the oldest event and returns a copy.
func (p *pending) pop() Event {
	top := p.heap[0].event
	last := len(p.heap) - 1
	w := p.heap[last]
	p.heap = p.heap[:last]
	i := 0
	for last > 0 {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && p.heap[down+1].before(&p.heap[down]) {
			down++
		}
		if !p.heap[down].before(&w) {
			break
		}
		p.heap[i] = p.heap[down]
		i = down
	}
	if last > 0 {
		p.heap[i] = w
	}
	e := *p.events.at(top)
	p.events.free(top)
	return e
}
