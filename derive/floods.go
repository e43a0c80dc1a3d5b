package derive

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// Defaults of FloodConfig.
const (
	DefaultFloodWants    = 200
	DefaultFloodMessages = 100
	DefaultFloodShare    = 20
	DefaultFloodRepeats  = 50
)

const (
	floodWindow   = 2 * time.Second
	floodAfter    = 3    // windows in a row with too much, until it is a flood: 6 to 8 s
	floodOver     = 5    // windows in a row without, until it is over
	floodCounters = 1024 // peers counted in a window
	maxSuspects   = 64   // peers with too much at the same time
	maxEnded      = 20   // floods kept for Floods after their end
)

// FloodConfig says when a peer floods the node. It does if it sends too many
// messages, or too many wants, for three windows of 2 s in a row, and these are a
// large part of all that the node receives, or its wants mostly repeat each other.
// What the node serves is not a flood, except repeats: two wants and three
// messages for each block that it sends the peer do not count.
type FloodConfig struct {
	// WantsPerSecond is how many wants of a peer in a second are too many. A node with a
	// thousand peers receives one or two a second of each. Default: 200. Since 0.2.
	WantsPerSecond int `json:",omitempty" split_words:"true"`
	// MessagesPerSecond is how many messages of a peer in a second are too many;
	// boxo sends at most 50. Default: 100. Since 0.2.
	MessagesPerSecond int `json:",omitempty" split_words:"true"`
	// SharePercent is how large its part of all that is received must be, in
	// percent. Default: 20. Since 0.2.
	SharePercent int `json:",omitempty" split_words:"true"`
	// RepeatsPercent is how many of its wants must repeat one of the last 31
	// seconds, in percent, where its part is smaller. Default: 50. Since 0.2.
	RepeatsPercent int `json:",omitempty" split_words:"true"`
}

// Validate returns all that is wrong with the configuration. 0 is the default.
func (c FloodConfig) Validate() error {
	var errs []error
	for _, v := range []struct {
		name    string
		n, most int
	}{
		{"WantsPerSecond", c.WantsPerSecond, 20_000}, {"MessagesPerSecond", c.MessagesPerSecond, 20_000},
		{"SharePercent", c.SharePercent, 100}, {"RepeatsPercent", c.RepeatsPercent, 100},
	} {
		if v.n < 0 || v.n > v.most {
			errs = append(errs, fmt.Errorf("%s: %d: want 1 to %d, or 0 for the default", v.name, v.n, v.most))
		}
	}
	return errors.Join(errs...)
}

func (c FloodConfig) withDefaults() FloodConfig {
	orDefault(&c.WantsPerSecond, DefaultFloodWants)
	orDefault(&c.MessagesPerSecond, DefaultFloodMessages)
	orDefault(&c.SharePercent, DefaultFloodShare)
	orDefault(&c.RepeatsPercent, DefaultFloodRepeats)
	return c
}

// sender is what one peer sent in a window.
type sender struct {
	peer                             peer.ID
	addrs                            []event.Text
	country                          string
	gateway                          bool
	side                             event.Side
	messages, wants, repeats, served uint64
}

// floods finds the peers that flood the node.
type floods struct {
	cfg             FloodConfig
	senders         *heavy[sender] // of the running window
	messages, wants uint64         // of all peers in it
	began           time.Time      // of it; zero: there is none yet
	suspects        map[peer.ID]*suspect
	ended           []*event.Event // the last of each flood that is over, oldest first
	out             []*event.Event // to be published
	found           uint64
	lost            uint64 // suspects without a place
}

// suspect is a peer that sent too much in the last window, or that floods.
type suspect struct {
	sender
	since                   time.Time
	loud, quiet             int // windows in a row
	allMessages, allWants   uint64
	share                   uint16 // of the last loud window
	flooding                bool
	lastWants, lastMessages uint64 // per second, of the last loud window
	lastRepeats             uint16
}

func newFloods(cfg FloodConfig) *floods {
	return &floods{cfg: cfg.withDefaults(), senders: newHeavy[sender](floodCounters), suspects: map[peer.ID]*suspect{}}
}

// received counts a message of the peer with that hash; wants are those in it, of
// which some repeat earlier ones.
func (f *floods) received(e *event.Event, from, wants, repeats uint64) {
	if e.Side == event.Downstream || e.Transport != event.Libp2p {
		return // the owner's own nodes, and answers to the node's own requests
	}
	wants += uint64(e.Truncated)
	f.messages++
	f.wants += wants
	s := &f.senders.addN(from, sender{peer: e.Peer}, 1+wants).key
	if s.messages == 0 {
		s.addrs, s.country, s.gateway, s.side = e.Addrs, e.Country, e.Gateway, e.Side
	}
	s.messages++
	s.wants += wants
	s.repeats += repeats
}

// sent counts blocks that the node sent the peer with that hash.
func (f *floods) sent(from uint64, blocks int) {
	if c := f.senders.get(from); c != nil {
		c.key.served += uint64(blocks)
	}
}

// due returns how long the running window still takes.
func (f *floods) due(now time.Time) time.Duration {
	if f.began.IsZero() {
		f.began = now
	}
	return f.began.Add(floodWindow).Sub(now)
}

// less returns a-b, and 0 if b is more.
func less(a, b uint64) uint64 { return a - min(a, b) }

// thousandths returns the part of a in b, of at most 1000.
func thousandths(a, b uint64) uint16 {
	if b == 0 {
		return 0
	}
	return uint16(min(1000, a*1000/b))
}

// loud reports whether a peer sent too much in a window of so many seconds, and
// which part of everything that was.
func (f *floods) loud(s *sender, seconds float64) (share uint16, loud bool) {
	messages, wants := less(s.messages, 3*s.served), less(s.wants, 2*s.served)
	manyMessages := float64(messages) >= float64(f.cfg.MessagesPerSecond)*seconds
	manyWants := float64(wants) >= float64(f.cfg.WantsPerSecond)*seconds
	ofMessages, ofWants := thousandths(messages, f.messages), thousandths(wants, f.wants)
	enough := uint16(f.cfg.SharePercent * 10)
	loud = manyMessages && ofMessages >= enough || manyWants && ofWants >= enough ||
		float64(s.wants) >= float64(f.cfg.WantsPerSecond)*seconds && thousandths(s.repeats, s.wants) >= uint16(f.cfg.RepeatsPercent*10)
	return max(ofMessages, ofWants), loud
}

// window ends the running window.
func (f *floods) window(now time.Time, agents *peers) {
	seconds := now.Sub(f.began).Seconds()
	if seconds <= 0 { // the clock was set; the window counts for nothing
		seconds = floodWindow.Seconds()
	}
	for _, s := range f.suspects {
		s.quiet++
	}
	slots := make([]*sender, 0, 16)
	few := min(f.cfg.MessagesPerSecond, f.cfg.WantsPerSecond)
	for i := range f.senders.slots {
		s := &f.senders.slots[i].key
		if float64(s.messages+s.wants) >= float64(few)*seconds || f.suspects[s.peer] != nil {
			slots = append(slots, s)
		}
	}
	slices.SortFunc(slots, func(a, b *sender) int { return cmp.Compare(b.wants+b.messages, a.wants+a.messages) })
	for _, s := range slots {
		share, loud := f.loud(s, seconds)
		x := f.suspects[s.peer]
		if x == nil {
			if !loud {
				continue
			}
			if len(f.suspects) >= maxSuspects {
				f.lost++
				continue
			}
			x = &suspect{since: f.began}
			f.suspects[s.peer] = x
		}
		x.sender = *s
		x.allMessages += s.messages
		x.allWants += s.wants
		if !loud {
			continue
		}
		x.quiet, x.share = 0, share
		x.loud++
		x.lastWants, x.lastMessages = uint64(float64(s.wants)/seconds), uint64(float64(s.messages)/seconds)
		x.lastRepeats = thousandths(s.repeats, s.wants)
		if x.loud >= floodAfter && !x.flooding {
			x.flooding = true
			f.found++
			f.out = append(f.out, f.event(x, event.FloodBegan, now, agents))
		}
	}
	for p, x := range f.suspects {
		switch {
		case x.quiet == 0:
		case !x.flooding:
			delete(f.suspects, p)
		case x.quiet >= floodOver:
			e := f.event(x, event.FloodEnded, now, agents)
			f.out = append(f.out, e)
			if f.ended = append(f.ended, e); len(f.ended) > maxEnded {
				f.ended = slices.Delete(f.ended, 0, 1)
			}
			delete(f.suspects, p)
		}
	}
	f.senders.reset()
	f.messages, f.wants, f.began = 0, 0, now
}

// running returns an event of each flood that has not ended, those with most
// wants first.
func (f *floods) running(now time.Time, agents *peers) []*event.Event {
	var out []*event.Event
	for _, x := range f.suspects {
		if x.flooding {
			out = append(out, f.event(x, event.FloodRuns, now, agents))
		}
	}
	slices.SortFunc(out, func(a, b *event.Event) int {
		return cmp.Or(cmp.Compare(b.Flood.Wants+b.Flood.Messages, a.Flood.Wants+a.Flood.Messages), cmp.Compare(a.Peer, b.Peer))
	})
	return out
}

func (f *floods) event(x *suspect, state event.FloodState, now time.Time, agents *peers) *event.Event {
	fl := &event.Flood{
		State: state, Since: x.since.UTC(), Agent: agents.agent(x.peer), Wants: x.allWants, Messages: x.allMessages,
		WantRate: x.lastWants, MessageRate: x.lastMessages, Share: x.share, Repeats: x.lastRepeats, Block: blockCommand(x.peer, x.addrs),
	}
	return &event.Event{
		Time: now.UnixNano(), Kind: event.KindFlood, Peer: x.peer, Country: x.country, Gateway: x.gateway, Side: x.side, Addrs: x.addrs, Flood: fl,
	}
}

// flood ends a window of the floods. The caller holds mu.
func (d *Deriver) flood(now time.Time) {
	defer d.guard.Recover("derive: look for floods")
	d.floods.window(now, &d.peers)
	d.out = append(d.out, d.floods.out...)
	d.floods.out = nil
}

// Floods returns the floods that have not ended, and the last ones that have,
// newest first. The events are not to be changed.
func (d *Deriver) Floods() (running, ended []*event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ended = slices.Clone(d.floods.ended)
	slices.Reverse(ended)
	return d.floods.running(time.Now(), &d.peers), ended
}
