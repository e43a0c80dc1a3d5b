package derive

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// settle is how long an answer may take to count against a want that looks like a
// broadcast. Bitswap answers from its store within milliseconds.
const settle = int64(5 * time.Second)

// coverage is what a connected peer has asked this node so far.
type coverage struct {
	asked     bool   // it sent a want
	broadcast bool   // it sent a want that was like a broadcast
	waits     uint64 // hash of the CID of such a want that may yet be answered; 0: none
	since     int64  // event time of that want
}

// want looks at a received want for the CID with hash c. A want is like a
// broadcast if it asks who has the block (WANT_HAVE) and the node answers
// neither HAVE nor the block within settle: it was sent without knowing that
// the node has anything. boxo asks for DONT_HAVE in all wants but its
// broadcasts, so of the families that use it only wants without that count.
func (k *known) want(w *event.Want, c uint64, now int64) {
	k.asked = true
	if k.broadcast || w.Type != event.WantHave || w.SendDontHave && event.BoxoFamily(int(k.family)) {
		return
	}
	if k.settled(now); k.waits == 0 {
		k.waits, k.since = c, now
	}
}

// answer looks at what the node sent the peer about the CID with hash c.
func (k *known) answer(a event.AnswerType, c uint64, now int64) {
	if k.waits == 0 || k.settled(now) || k.waits != c {
		return
	}
	k.waits = 0
	k.broadcast = a == event.AnswerDontHave
}

// settled makes a want that was not answered in time a broadcast, and reports
// whether there is one.
func (k *known) settled(now int64) bool {
	if k.waits != 0 && now-k.since > settle {
		k.waits, k.broadcast = 0, true
	}
	return k.broadcast
}

// coverage counts the connected peers by the family of their agents.
func (ps *peers) coverage(now int64) event.Coverage {
	var sums [maxFamilies]event.FamilyCoverage
	for _, k := range ps.of {
		if !k.connected {
			continue
		}
		s := &sums[k.family]
		s.Connected++
		if k.asked {
			s.Asked++
		}
		if k.settled(now) {
			s.Broadcast++
		}
	}
	out := event.Coverage{Untracked: ps.lost}
	for i, s := range sums[:len(event.AgentFamilies)] {
		if s.Connected > 0 {
			s.Family = event.AgentFamilies[i]
			out.Families = append(out.Families, s)
		}
	}
	return out
}

// Coverage returns that of the last complete interval; empty before there is one.
// Its Families belong to a published event: do not write to them.
func (d *Deriver) Coverage() event.Coverage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		return event.Coverage{}
	}
	return d.last.Coverage
}
