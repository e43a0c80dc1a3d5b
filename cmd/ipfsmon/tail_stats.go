package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/topn"
	"github.com/ipfsmon/ipfsmon/stream"
)

const (
	// maxAgents is the most peers whose agent is remembered.
	maxAgents = 50_000
	// shownNames is the most agents, and the most countries, in a table; the rest
	// is summed in one line.
	shownNames = 15
	// shownName is the most characters of a name in a table.
	shownName = 36
)

// knownAgents are the agents of peers, from identify events.
type knownAgents map[string]string

// of remembers the agent of an identify event, and returns the agent of the
// event's peer, "" if it is not known.
func (k knownAgents) of(e *stream.Event) string {
	if i := e.Identify; i != nil {
		if len(k) >= maxAgents {
			clear(k) // it fills again with the next identify events
		}
		k[e.Peer] = i.Agent
	}
	return k[e.Peer]
}

// rates counts events by type, agent and country and shows all three as a table.
type rates struct {
	out      *bufio.Writer
	interval time.Duration
	live     bool // on a terminal: each table replaces the one before

	mu        sync.Mutex
	events    uint64
	missed    uint64
	types     map[string]uint64
	agents    map[string]uint64 // entries and connections of peers with this agent
	known     knownAgents
	countries map[string]uint64 // the same entries and connections by country; after Clean it has two letters or none
	err       error             // of the last write
}

func newRates(out *bufio.Writer, interval time.Duration, live bool) *rates {
	return &rates{
		out: out, interval: interval, live: live,
		types: map[string]uint64{}, agents: map[string]uint64{}, known: knownAgents{}, countries: map[string]uint64{},
	}
}

// add counts an event; Clean it first. It returns the error of the last table.
func (r *rates) add(e *stream.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Gap != nil {
		r.missed += e.Gap.Missed()
		return r.err
	}
	r.events++
	n := r.count(e)
	if e.Peer == "" {
		return r.err // notes and the like
	}
	agent := r.known.of(e)
	if agent == "" {
		agent = "(not seen yet)"
	}
	if _, ok := r.agents[agent]; !ok && len(r.agents) >= maxAgents {
		agent = string(event.OthersAgent)
	}
	r.agents[agent] += n
	r.countries[cmp.Or(e.Country, "(not known)")] += n
	return r.err
}

// count adds the parts of an event and returns how many of them are a peer's.
func (r *rates) count(e *stream.Event) uint64 {
	switch {
	case e.Connection != nil && e.Connection.Type == 1:
		r.types["connection closed"]++
	case e.Connection != nil:
		r.types["connection opened"]++
	case e.Identify != nil:
		r.types["identify"]++
	case e.Note != nil:
		r.types["note"]++
		return 0
	case e.Origins != nil:
		r.types["origins"]++
		return 0
	case e.Flood != nil:
		r.types["flood "+e.Flood.State]++
	case e.DHT != nil:
		r.types["dht "+e.DHT.Direction]++
	case e.Request != nil:
		r.types["http request"]++
	case e.Retrieval != nil:
		r.types["retrieval "+e.Retrieval.Source]++
	case e.Search != nil:
		r.types["search "+e.Search.State]++
		if e.Peer == "" {
			return 0
		}
	default:
		return r.message(e.Message, "received ") + r.message(e.Sent, "sent ")
	}
	return 1
}

func (r *rates) message(m *stream.Message, direction string) (n uint64) {
	if m == nil {
		return 0
	}
	r.types[direction+"messages"]++
	for i := range m.Wants {
		w := event.Want{Type: event.WantType(m.Wants[i].WantType), Cancel: m.Wants[i].Cancel}
		r.types[direction+w.TypeName()]++
	}
	for _, p := range m.Presences {
		r.types[direction+event.PresenceType(p.Type).String()]++
	}
	r.types[direction+"block"] += uint64(len(m.Blocks))
	return uint64(len(m.Wants) + len(m.Presences) + len(m.Blocks))
}

// run shows a table every interval until ctx ends, and one at the end.
func (r *rates) run(ctx context.Context) {
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case now := <-tick.C:
			r.show(now.Sub(last))
			last = now
		case <-ctx.Done():
			if r.some() { // the rest since the last table
				r.show(max(time.Since(last), time.Millisecond))
			}
			return
		}
	}
}

// some reports whether anything was counted since the last table.
func (r *rates) some() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events > 0
}

// show writes the rates since the last table and resets the counts.
func (r *rates) show(in time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live {
		fmt.Fprint(r.out, "\x1b[H\x1b[2J")
	}
	fmt.Fprintf(r.out, "%s  %s events/s, %d missed\n\n", time.Now().Format(time.TimeOnly), perSecond(r.events, in), r.missed)
	t := textout.NewNumbers(r.out)
	t.Row("type", "per second")
	top, _, _ := topn.Of(r.types, len(r.types), "")
	for _, k := range top {
		if k.N > 0 {
			t.Row(k.Name, perSecond(k.N, in))
		}
	}
	most(t, "agent", r.agents, in)
	most(t, "country", r.countries, in)
	t.Row()
	if err := errors.Join(t.Flush(), r.out.Flush()); err != nil && r.err == nil {
		r.err = err
	}
	r.events = 0
	clear(r.types)
	clear(r.agents)
	clear(r.countries)
}

// most writes the rates of the most frequent names, and the sum of all others.
func most(t *textout.Table, of string, counts map[string]uint64, in time.Duration) {
	t.Row()
	t.Row(of+" (entries and events)", "per second")
	top, rest, _ := topn.Of(counts, shownNames, string(event.OthersAgent))
	for _, k := range top {
		t.Row(textout.Short(k.Name, shownName), perSecond(k.N, in))
	}
	if rest > 0 {
		t.Row("others", perSecond(rest, in))
	}
}
