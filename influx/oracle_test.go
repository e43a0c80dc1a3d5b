//go:build !race

// The oracles of questions, panels and alerts are left out under the race
// detector: one goroutine asks a store in another process, which takes several
// times as long then.

package influx

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// The oracle computes the answer to each question from the events of two nodes, in the simplest
// Go, and does not use the store. Its events lie in an hour and a half, so that some are before
// the hour that is asked about.
type oracle struct {
	now    time.Time // when a question is asked
	begin  time.Time // of the hour; no event is near it
	events []seen    // within the hour, in order of time
	all    []seen    // those before it too

	// What a panel is asked about.
	from, to int64 // nanoseconds
	every    time.Duration
}

type seen struct {
	*event.Event
	node string
	pipe *pipeline.Pipeline // of a sample

	starts bool // the node did before it
}

const (
	oracleSteps = 90  // minutes
	oracleCIDs  = 150 // more than a list has
	oraclePeers = 70
)

// writer writes what the encoder makes of an event and of what is derived from it
// at once, which it returns.
type writer func(node string, e seen) (derived []*event.Event)

// makeOracle makes the events, and writes what the encoder makes of them.
func makeOracle(now time.Time, write writer) *oracle {
	o := &oracle{now: now, begin: now.Add(-time.Hour)}
	for n, node := range []string{"one", "two"} {
		r := rand.New(rand.NewPCG(uint64(n), 7))
		some := func(of int) int { // the small ones more often
			return int(math.Pow(r.Float64(), 3) * float64(of))
		}
		minute := map[string]int{} // received wants of the minute by codec
		versions := map[string]int{}
		byCID, byPeer, missing := map[cid.Cid]uint64{}, map[peer.ID]uint64{}, map[cid.Cid]uint64{}
		cidPeers := map[cid.Cid]map[peer.ID]bool{}
		traffic := [2]event.Traffic{}
		lost, cpu := uint64(0), 0.0
		bytes := int64(0)
		emit := func(e event.Event, pipe *pipeline.Pipeline) {
			s := seen{Event: &e, node: node, pipe: pipe}
			all := []seen{s}
			for _, d := range write(node, s) {
				if d.Kind == event.KindNote { // the other questions' answers are computed from what was seen
					all = append(all, seen{Event: d, node: node})
				}
			}
			for _, s := range all {
				o.all = append(o.all, s)
				if s.Time > o.begin.UnixNano() {
					o.events = append(o.events, s)
				}
			}
		}
		start := now.Add(-oracleSteps * time.Minute).Truncate(time.Minute)
		for m := range oracleSteps - 1 {
			if age := oracleSteps - m; age >= 59 && age <= 62 {
				continue // nothing is at the border of the hour
			}
			at := start.Add(time.Duration(m) * time.Minute).UnixNano()
			if node == "two" && m == 70 { // it was started again
				lost, cpu, bytes = 0, 0, 0
			}
			for i := range 25 {
				at += int64(r.IntN(int(2 * time.Second)))
				dir := event.Direction(r.IntN(2))
				from := some(oraclePeers)
				e := event.Event{Time: at, Kind: event.KindMessage, Dir: dir, Peer: influxtest.Peer(from), Gateway: from%7 == 3, Full: i%8 == 1, Country: []string{"DE", "FR", ""}[r.IntN(3)]}
				x := &traffic[dir]
				x.Messages++
				for range r.IntN(4) {
					w := event.Want{CID: influxtest.CID(some(oracleCIDs)), Type: event.WantType(r.IntN(2)), Cancel: r.IntN(4) == 0, SendDontHave: r.IntN(3) > 0}
					e.Wants = append(e.Wants, w)
					switch {
					case w.Cancel:
						x.Cancel++
					case w.Type == event.WantHave:
						x.WantHave++
					default:
						x.WantBlock++
					}
					if dir == event.Received && !w.Cancel {
						minute[codecOf(w.CID)]++
						versions[fmt.Sprint(w.CID.Version())]++
						byCID[w.CID]++
						byPeer[e.Peer]++
						if cidPeers[w.CID] == nil {
							cidPeers[w.CID] = map[peer.ID]bool{}
						}
						cidPeers[w.CID][e.Peer] = true
					}
				}
				for range r.IntN(3) {
					p := event.Presence{CID: influxtest.CID(some(oracleCIDs)), Type: event.PresenceType(r.IntN(2))}
					e.Presences = append(e.Presences, p)
					if p.Type == event.Have {
						x.Have++
					} else {
						x.DontHave++
						if dir == event.Sent {
							missing[p.CID]++
						}
					}
				}
				for range r.IntN(2) {
					b := event.Block{CID: influxtest.CID(some(oracleCIDs)), Size: int32(r.IntN(1 << 20))}
					e.Blocks = append(e.Blocks, b)
					x.Blocks++
					x.BlockBytes += uint64(b.Size)
				}
				emit(e, nil)
				if r.IntN(3) == 0 {
					emit(event.Event{Time: at + 10, Kind: event.KindLatency, Dir: dir, Peer: e.Peer, Latency: &event.Latency{CID: influxtest.CID(some(oracleCIDs)),
						Answer: event.AnswerType(r.IntN(3)), Elapsed: time.Duration(r.IntN(1e9)) / 1000 * 1000}}, nil)
				}
				if r.IntN(5) == 0 {
					emit(event.Event{Time: at + 20, Kind: event.KindConnection, Peer: e.Peer, Conn: &event.Conn{Closed: r.IntN(2) == 0, Inbound: r.IntN(2) == 0,
						Transport: []string{"tcp", "quic-v1"}[r.IntN(2)], Security: "noise", Muxer: "yamux", Duration: time.Duration(r.IntN(1e6)) * time.Millisecond, Unmatched: r.IntN(6) == 0}}, nil)
				}
				if r.IntN(9) == 0 {
					emit(event.Event{Time: at + 30, Kind: event.KindIdentify, Peer: e.Peer,
						Identify: &event.Identify{Agent: event.Text(fmt.Sprintf("agent/%d", r.IntN(4))), Protocols: make([]event.Text, r.IntN(9))}}, nil)
				}
			}
			at = start.Add(time.Duration(m)*time.Minute+55*time.Second).UnixNano() + int64(n) // notes of both nodes have an order
			lost += uint64(r.IntN(3))
			cpu += r.Float64()
			bytes += int64(r.IntN(1000))
			traffic[event.Received].Truncated = uint64(m % 4)
			s := &event.Sample{Interval: time.Minute, Traffic: traffic, Conns: 5 + m%7, Known: 1000 + m,
				Streams: []event.StreamCount{{Protocol: "/ipfs/bitswap/1.2.0", Direction: "inbound", Streams: m % 6}, {Protocol: "/ipfs/bitswap/1.2.0", Direction: "outbound", Streams: 1}, {Protocol: "/ipfs/ping/1.0.0", Direction: "inbound", Streams: 2}},
				Peers:   []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 1 + m%3}, {Transport: "quic-v1", Peers: m % 5}},
				Agents:  []event.AgentCount{{Agent: "kubo", Peers: 3 + m%2}}, Protocols: []event.ProtocolCount{{Protocol: "/ipfs/kad/1.0.0", Peers: 2}, {Protocol: "/ipfs/bitswap/1.2.0", Peers: 4 + m%2}, {Protocol: "/ipfs/bitswap/1.1.0", Peers: 1}},
				Node: event.Node{Wantlist: m, Ledgers: m / 2, RepoBytes: int64(m) << 20, BandwidthTotal: event.Bandwidth{InBytes: 3 * bytes, OutBytes: 4 * bytes},
					Routing: []event.RoutingTable{{Name: "wan", Peers: 200 + m}, {Name: "lan", Peers: m % 3}}, Process: event.Process{CPUSeconds: cpu, ResidentMem: int64(100 + m%11), HeapBytes: int64(50 + m%7), Goroutines: 300 + m%13, OpenFiles: 40},
					Bandwidth: []event.Bandwidth{{Protocol: "/ipfs/kad/1.0.0", InBytes: bytes, OutBytes: 2 * bytes}, {Protocol: "/ipfs/ping/1.0.0", InBytes: bytes / 7, OutBytes: 5}}}}
			if m < oracleSteps-3 { // this one has left
				s.Agents = append(s.Agents, event.AgentCount{Agent: "gone", Peers: 99})
				s.Protocols = append(s.Protocols, event.ProtocolCount{Protocol: "/gone", Peers: 99})
			}
			u := &event.Summary{}
			retrievalEvents(r, at-int64(time.Second), func(e event.Event) { emit(e, nil) }, s, u)
			emit(event.Event{Time: at, Kind: event.KindSample, Sample: s}, &pipeline.Pipeline{
				Capture: pipeline.Capture{Limited: 3 * lost, SendErrors: lost, Panics: lost / 3},
				Bus:     pipeline.Bus{Published: 100 * lost, HeldBytes: uint64(m % 5 * 100), Readers: []pipeline.Reader{{Missed: lost / 2}, {Missed: lost / 4}}},
				Stream:  &pipeline.Stream{Subscribers: uint64(m % 3), DroppedEvents: 4 * lost},
				Influx:  &pipeline.Influx{Delivery: pipeline.Delivery{Accepted: 50 * lost, Stored: 49 * lost, Dropped: lost, Rejected: 2 * lost, Queued: uint64(m), QueueBytes: uint64(m * 10), LagSeconds: float64(m % 17)}}})
			retrieval, requests, sending := u.Retrieval, u.Requests, u.Sending
			*u = event.Summary{Retrieval: retrieval, Requests: requests, Sending: sending, Interval: time.Minute, UniqueCIDs: [2]uint64{uint64(len(byCID)), 3}, UniquePeers: [2]uint64{uint64(len(byPeer)) + 2, 2}, Askers: [2]uint64{uint64(len(byPeer)), 2},
				Missed: uint64(m % 3), Pending: m, Lost: uint64(m % 2),
				Duplicates: [2]uint64{uint64(r.IntN(9)), uint64(r.IntN(9))}, Rebroadcasts: [2]uint64{uint64(r.IntN(9)), 0}}
			for _, c := range sortedBy(byCID, func(c cid.Cid) string { return c.String() }) {
				over := uint64(r.IntN(3)) // as a sketch errs
				u.TopCIDs = append(u.TopCIDs, event.TopCID{CID: c, Wants: byCID[c] + over, Error: over, Peers: uint64(len(cidPeers[c]))})
			}
			for _, c := range sortedBy(missing, func(c cid.Cid) string { return c.String() }) {
				over := uint64(r.IntN(3))
				u.TopMissing = append(u.TopMissing, event.TopCID{CID: c, Wants: missing[c] + over, Error: over})
			}
			for _, p := range sortedBy(byPeer, func(p peer.ID) string { return p.String() }) {
				u.TopPeers = append(u.TopPeers, event.TopPeer{Peer: p, Agent: "listed", Wants: byPeer[p]})
			}
			slices.SortStableFunc(u.TopCIDs, func(a, b event.TopCID) int { return cmp.Compare(b.Wants, a.Wants) })
			u.TopCIDsByPeers = slices.Clone(u.TopCIDs)
			slices.SortStableFunc(u.TopCIDsByPeers, func(a, b event.TopCID) int { return cmp.Compare(b.Peers, a.Peers) })
			u.TopCIDsByPeers = u.TopCIDsByPeers[:min(len(u.TopCIDsByPeers), schema.MaxRank)]
			u.TopCIDs, u.TopPeers = u.TopCIDs[:min(len(u.TopCIDs), schema.MaxRank)], u.TopPeers[:min(len(u.TopPeers), schema.MaxRank)]
			for k, v := range minute {
				u.Codecs = append(u.Codecs, event.Share{Name: k, N: uint64(v)})
			}
			for k, v := range versions {
				u.Versions = append(u.Versions, event.Share{Name: k, N: uint64(v)})
				u.Hashes = append(u.Hashes, event.Share{Name: "sha2-256", N: uint64(v)})
			}
			for d := range u.Latency {
				for a := range u.Latency[d] {
					l := &u.Latency[d][a]
					*l = event.LatencyStats{Count: uint64(r.IntN(4)), Sum: time.Duration(r.IntN(1e6)) * time.Microsecond,
						P50: time.Duration(r.IntN(1e6)) * time.Microsecond, P99: time.Duration(r.IntN(1e6)) * time.Microsecond, Max: time.Duration(r.IntN(1e6)) * time.Microsecond}
					l.P90 = (l.P50 + l.P99) / 2
				}
			}
			dht := rand.New(rand.NewPCG(uint64(m), uint64(n)))
			u.DHT = dhtSummary(dht)
			emit(dhtRequest(dht, at-int64(time.Duration(1+n)*time.Millisecond)), nil)
			addLine(u, m)
			emit(event.Event{Time: at + 1, Kind: event.KindSummary, Summary: u}, nil)
			emit(fleetOf(m, n, at+3), nil)
			if f := floodOf(m, at+2); f != nil {
				emit(*f, nil)
			}
			traffic, minute, versions = [2]event.Traffic{}, map[string]int{}, map[string]int{}
			byCID, byPeer, cidPeers, missing = map[cid.Cid]uint64{}, map[peer.ID]uint64{}, map[cid.Cid]map[peer.ID]bool{}, map[cid.Cid]uint64{}
		}
	}
	o.inOrder()
	return o
}

func (o *oracle) inOrder() {
	for _, list := range [][]seen{o.events, o.all} {
		slices.SortStableFunc(list, func(a, b seen) int { return cmp.Compare(a.Time, b.Time) })
	}
}

// sortedBy lists the keys of counts, the most first.
func sortedBy[K comparable](counts map[K]uint64, name func(K) string) (keys []K) {
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(name(b), name(a))) })
	return keys
}

func codecOf(c cid.Cid) string {
	return map[uint64]string{cid.Raw: "raw", cid.DagProtobuf: "dag-pb", cid.DagCBOR: "dag-cbor"}[c.Type()]
}

// row is an expected row, a value for each column; numbers are float64.
type row map[string]any

// addition adds up: by has the columns that make a row in their order, then the
// others by their names.
type addition struct {
	by   []string
	rows map[string]row
}

func adding(by ...string) *addition { return &addition{by, map[string]row{}} }

func (t *addition) at(key ...string) row {
	id := strings.Join(key, "\x00")
	if t.rows[id] == nil {
		t.rows[id] = row{}
		for i, b := range t.by {
			t.rows[id][b] = key[i]
		}
	}
	return t.rows[id]
}

func (r row) add(column string, v float64) {
	old, _ := r[column].(float64)
	r[column] = old + v
}

func (r row) most(column string, v float64) {
	if old, ok := r[column].(float64); !ok || v > old {
		r[column] = v
	}
}

// sorted lists the rows by a column, the most first, equal ones by the keys
// backwards.
func (t *addition) sorted(column string, limit int) (out []row) {
	for _, r := range t.rows {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b row) int {
		x, _ := a[column].(float64)
		y, _ := b[column].(float64)
		c := cmp.Compare(y, x)
		for _, k := range t.by {
			c = cmp.Or(c, cmp.Compare(fmt.Sprint(b[k]), fmt.Sprint(a[k])))
		}
		return c
	})
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

func directionOf(e seen) string { return schema.TagDirection.Values[e.Dir] }

func inOut(inbound bool) string { return schema.TagInOut.Values[sets.Bit(!inbound)] }

func wantType(w event.Want) string {
	switch {
	case w.Cancel:
		return "cancel"
	case w.Type == event.WantHave:
		return "want_have"
	}
	return "want_block"
}

func country(e seen) string { return cmp.Or(e.Country, "none") }

// wants calls f for each want without cancels.
func (o *oracle) wants(f func(e seen, w event.Want)) {
	for _, e := range o.events {
		for _, w := range e.Wants {
			if !w.Cancel {
				f(e, w)
			}
		}
	}
}

// steps is like adding, by the minute too; without an event in it there is
// no row, unless all is set: then every minute of the hour has one.
func (o *oracle) step(e seen) string {
	return time.Unix(0, e.Time).UTC().Truncate(time.Minute).Format(time.RFC3339)
}

func (o *oracle) everyStep(t *addition, columns []string, keys ...string) {
	for at := o.now.Add(-time.Hour).Truncate(time.Minute); !at.After(o.now); at = at.Add(time.Minute) {
		for _, k := range keys {
			r := t.at(at.UTC().Format(time.RFC3339), k)
			for _, c := range columns {
				r.add(c, 0)
			}
		}
	}
}

// byTime sorts rows by key and time.
func (t *addition) byTime() (out []row) {
	out = t.sorted("", 0)
	slices.SortFunc(out, func(a, b row) int {
		for _, k := range append(append([]string(nil), t.by[1:]...), t.by[0]) {
			if c := cmp.Compare(fmt.Sprint(a[k]), fmt.Sprint(b[k])); c != 0 {
				return c
			}
		}
		return 0
	})
	return out
}

// rank is a percentile's place among n values: InfluxQL rounds, Flux takes the
// next.
func rank(values []float64, p float64, flux bool) float64 {
	slices.Sort(values)
	n := float64(len(values))
	i := int(math.Floor(n*p/100+0.5)) - 1
	if flux {
		i = int(math.Ceil(n*p/100)) - 1
	}
	return values[i]
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// lastSample is the newest of a node.
func (o *oracle) lastSample(node string) (last seen) {
	for _, e := range o.events {
		if e.Kind == event.KindSample && e.node == node {
			last = e
		}
	}
	return last
}

// oracles has the answer to each question; flux where the languages differ.
var oracles = map[string]func(o *oracle, flux bool) []row{
	"dht-requests": oracleDHTRequests, "dht-keys": oracleDHTKeys, "dht-agents": oracleDHTAgents,
	"wants": func(o *oracle, _ bool) []row {
		t := adding("time", "direction")
		o.wants(func(e seen, _ event.Want) { t.at(o.step(e), directionOf(e)).add("wants", 1) })
		o.everyStep(t, []string{"wants"}, "received", "sent")
		return t.byTime()
	},
	"top-cids": func(o *oracle, _ bool) []row {
		t, pairs := adding("cid"), map[string]bool{}
		o.wants(func(e seen, w event.Want) {
			if e.Dir != event.Received {
				return
			}
			r := t.at(w.CID.String())
			r.add("wants", 1)
			if pair := w.CID.String() + e.Peer.String(); !pairs[pair] {
				pairs[pair] = true
				r.add("peers", 1)
			}
		})
		return t.sorted("wants", 20)
	},
	"top-peers": func(o *oracle, _ bool) []row {
		t := adding("peer")
		o.wants(func(e seen, _ event.Want) {
			if e.Dir == event.Received {
				t.at(e.Peer.String()).add("wants", 1)
			}
		})
		for _, r := range t.rows {
			r["agent"] = o.agent(r["peer"].(string))
		}
		return t.sorted("wants", 20)
	},
	"blocks": func(o *oracle, _ bool) []row {
		t := adding("time", "direction")
		for _, e := range o.events {
			if e.Kind == event.KindSample {
				for d, x := range e.Sample.Traffic {
					r := t.at(o.step(e), schema.TagDirection.Values[d])
					r.add("blocks", float64(x.Blocks))
					r.add("bytes", float64(x.BlockBytes))
				}
			}
		}
		o.everyStep(t, []string{"blocks", "bytes"}, "received", "sent")
		return t.byTime()
	},
	"peers": func(o *oracle, _ bool) []row {
		t := adding("direction", "transport")
		for _, node := range []string{"one", "two"} {
			for _, c := range []event.PeerCount{{Inbound: true, Transport: "tcp"}, {Transport: "tcp"}, {Inbound: true, Transport: "quic-v1"}, {Transport: "quic-v1"}} {
				t.at(inOut(c.Inbound), c.Transport).add("peers", 0)
			}
			for _, c := range o.lastSample(node).Sample.Peers {
				t.at(inOut(c.Inbound), c.Transport).add("peers", float64(c.Peers))
			}
		}
		return t.sorted("peers", 0)
	},
	"agents": func(o *oracle, _ bool) []row {
		t := adding("agent")
		for _, node := range []string{"one", "two"} {
			for _, c := range o.lastSample(node).Sample.Agents {
				t.at(string(c.Agent)).add("peers", float64(c.Peers))
			}
		}
		return t.sorted("peers", 0)
	},
	"protocols": func(o *oracle, _ bool) []row {
		t := adding("protocol")
		for _, node := range []string{"one", "two"} {
			for _, c := range o.lastSample(node).Sample.Protocols {
				t.at(string(c.Protocol)).add("peers", float64(c.Peers))
			}
		}
		return t.sorted("peers", 0)
	},
	"latency": func(o *oracle, _ bool) []row {
		t := adding("direction", "answer")
		for _, e := range o.events {
			if e.Kind != event.KindSummary {
				continue
			}
			for d := range e.Summary.Latency {
				for a, l := range e.Summary.Latency[d] {
					if l.Count == 0 {
						continue
					}
					r := t.at(schema.TagDirection.Values[d], schema.TagAnswer.Values[a])
					r.add("answers", float64(l.Count))
					r.add("mean_us", float64(l.Sum.Microseconds()))
					r.most("worst_p50_us", float64(l.P50.Microseconds()))
					r.most("worst_p99_us", float64(l.P99.Microseconds()))
					r.most("max_us", float64(l.Max.Microseconds()))
				}
			}
		}
		for _, r := range t.rows {
			r["mean_us"] = r["mean_us"].(float64) / r["answers"].(float64)
		}
		return t.sorted("answers", 0)
	},
	"durations": func(o *oracle, _ bool) []row {
		t, of := adding("transport", "direction"), map[string][]float64{}
		for _, e := range o.events {
			if e.Kind == event.KindConnection && e.Conn.Closed && !e.Conn.Unmatched {
				r := t.at(e.Conn.Transport, inOut(e.Conn.Inbound))
				r.add("connections", 1)
				id := fmt.Sprint(r["transport"], r["direction"])
				of[id] = append(of[id], float64(e.Conn.Duration.Milliseconds()))
				r["median_ms"] = median(of[id])
			}
		}
		return t.sorted("connections", 0)
	},
	"who-has": func(o *oracle, _ bool) (out []row) {
		for _, e := range o.events {
			for _, p := range e.Presences {
				if e.Dir == event.Received && p.Type == event.Have {
					out = append(out, row{"cid": p.CID.String(), "peer": e.Peer.String(), "country": country(e)})
				}
			}
		}
		slices.Reverse(out)
		return out[:20]
	},
	"unique": func(o *oracle, _ bool) []row {
		t, there := adding("direction"), map[string]bool{}
		o.wants(func(e seen, w event.Want) {
			for column, what := range map[string]string{"cids": w.CID.String(), "peers": e.Peer.String()} {
				if id := directionOf(e) + column + what; !there[id] {
					there[id] = true
					t.at(directionOf(e)).add(column, 1)
				}
			}
		})
		return t.sorted("cids", 0)
	},
	"duplicates": func(o *oracle, _ bool) []row {
		t := adding("direction")
		for _, e := range o.events {
			if e.Kind == event.KindSummary {
				for d := range e.Summary.Duplicates {
					t.at(schema.TagDirection.Values[d]).add("duplicates", float64(e.Summary.Duplicates[d]))
					t.at(schema.TagDirection.Values[d]).add("rebroadcasts", float64(e.Summary.Rebroadcasts[d]))
				}
			}
		}
		return t.sorted("duplicates", 0)
	},
	"codecs": func(o *oracle, _ bool) []row {
		t := adding("codec")
		o.wants(func(e seen, w event.Want) {
			if e.Dir == event.Received {
				t.at(codecOf(w.CID)).add("wants", 1)
			}
		})
		return t.sorted("wants", 0)
	},
	"countries": func(o *oracle, _ bool) []row {
		t := adding("country", "gateway")
		for _, e := range o.events {
			if e.Kind == event.KindMessage && e.Dir == event.Received {
				t.at(country(e), fmt.Sprint(e.Gateway)).add("wants", 0) // messages without a want make a row too
			}
		}
		o.wants(func(e seen, _ event.Want) {
			if e.Dir == event.Received {
				t.at(country(e), fmt.Sprint(e.Gateway)).add("wants", 1)
			}
		})
		return t.sorted("wants", 0)
	},
	"bandwidth": func(o *oracle, _ bool) []row {
		t := adding("protocol")
		for _, node := range []string{"one", "two"} {
			var before []event.Bandwidth
			for _, e := range o.events {
				if e.Kind != event.KindSample || e.node != node {
					continue
				}
				for i, b := range e.Sample.Node.Bandwidth {
					in, out := int64(0), int64(0)
					if before != nil {
						in, out = b.InBytes-before[i].InBytes, b.OutBytes-before[i].OutBytes
						if in < 0 {
							in = b.InBytes
						}
						if out < 0 {
							out = b.OutBytes
						}
					}
					t.at(string(b.Protocol)).add("received_bytes", float64(in))
					t.at(string(b.Protocol)).add("sent_bytes", float64(out))
				}
				before = e.Sample.Node.Bandwidth
			}
		}
		return t.sorted("received_bytes", 0)
	},
	"losses": func(o *oracle, _ bool) []row {
		t := adding("node")
		o.grew(t, func(e seen, r row, grew func(string, float64)) {
			missed := uint64(0)
			for _, b := range e.pipe.Bus.Readers {
				missed += b.Missed
			}
			grew("missed", float64(missed))
			grew("dropped", float64(e.pipe.Influx.Dropped))
			grew("rejected", float64(e.pipe.Influx.Rejected))
			r.most("max_lag_ms", e.pipe.Influx.LagSeconds*1000)
		})
		return t.sorted("dropped", 0)
	},
	"missing-agent": func(o *oracle, _ bool) []row {
		t, asked := adding("agent"), map[string]bool{}
		o.missing(func(e seen, _ event.Presence) {
			agent := o.agent(e.Peer.String())
			r := t.at(agent)
			r.add("missing", 1)
			if !asked[e.Peer.String()] {
				asked[e.Peer.String()] = true
				r.add("peers", 1)
			}
		})
		return t.sorted("missing", 20)
	},
	"missing-cids": func(o *oracle, _ bool) []row {
		t, asked := adding("cid"), map[string]bool{}
		o.missing(func(e seen, p event.Presence) {
			r := t.at(p.CID.String())
			r.add("asked", 1)
			if id := p.CID.String() + e.Peer.String(); !asked[id] {
				asked[id] = true
				r.add("peers", 1)
			}
		})
		return t.sorted("asked", 20)
	},
	"hits": func(o *oracle, _ bool) []row {
		r := row{}
		for _, e := range o.events {
			if e.Kind == event.KindMessage && e.Dir == event.Sent {
				r.add("blocks", float64(len(e.Blocks)))
				for _, p := range e.Presences {
					r.add(map[bool]string{true: "have", false: "dont_have"}[p.Type == event.Have], 1)
				}
			}
		}
		hits := r["have"].(float64) + r["blocks"].(float64)
		r["hits"] = hits / (hits + r["dont_have"].(float64))
		return []row{r}
	},
	"notes": func(o *oracle, _ bool) (out []row) {
		for _, e := range o.events {
			if e.Kind == event.KindNote {
				out = append(out, row{"kind": e.Note.Kind.String(), "text": string(e.Note.Text), "value": float64(e.Note.Value)})
			}
		}
		slices.Reverse(out)
		return out[:min(len(out), 50)]
	},
	"want-kinds": func(o *oracle, _ bool) []row {
		t := adding("direction")
		for _, e := range o.events {
			for _, w := range e.Wants {
				t.at(directionOf(e)).add(wantType(w), 1)
			}
		}
		return t.sorted("want_have", 0)
	},
	"old-clients": func(o *oracle, _ bool) []row {
		t := adding("type")
		o.wants(func(e seen, w event.Want) {
			if e.Dir == event.Received && !w.SendDontHave {
				t.at(wantType(w)).add("wants", 1)
			}
		})
		return t.sorted("wants", 0)
	},
	"askers": func(o *oracle, _ bool) []row {
		t, there := adding("time"), map[string]bool{}
		o.wants(func(e seen, _ event.Want) {
			if id := o.step(e) + e.Peer.String(); e.Dir == event.Received && !there[id] {
				there[id] = true
				t.at(o.step(e)).add("peers", 1)
			}
		})
		return t.byTime()
	},
	"slowest": func(o *oracle, _ bool) (out []row) {
		for _, e := range o.events {
			if e.Kind == event.KindLatency && e.Dir == event.Sent {
				out = append(out, row{"us": float64(e.Latency.Elapsed.Microseconds()), "cid": e.Latency.CID.String(), "peer": e.Peer.String(), "answer": e.Latency.Answer.String()})
			}
		}
		slices.SortFunc(out, func(a, b row) int { return cmp.Compare(b["us"].(float64), a["us"].(float64)) })
		return out[:10]
	},
	"percentiles": func(o *oracle, flux bool) []row {
		t, of := adding("direction", "answer"), map[string][]float64{}
		for _, e := range o.events {
			if e.Kind == event.KindLatency {
				r := t.at(directionOf(e), e.Latency.Answer.String())
				r.add("answers", 1)
				id := fmt.Sprint(r["direction"], r["answer"])
				of[id] = append(of[id], float64(e.Latency.Elapsed.Microseconds()))
				for _, p := range []float64{50, 95, 99} {
					r[fmt.Sprintf("p%.0f_us", p)] = rank(of[id], p, flux)
				}
			}
		}
		return t.sorted("answers", 0)
	},
	"block-sizes": func(o *oracle, flux bool) []row {
		t, of := adding("direction", "codec"), map[string][]float64{}
		for _, e := range o.events {
			for _, b := range e.Blocks {
				r := t.at(directionOf(e), codecOf(b.CID))
				r.add("blocks", 1)
				id := fmt.Sprint(r["direction"], r["codec"])
				of[id] = append(of[id], float64(b.Size))
				r["median"], r["p95"], r["max"] = median(of[id]), rank(of[id], 95, flux), slices.Max(of[id])
			}
		}
		return t.sorted("blocks", 0)
	},
	"largest-blocks": func(o *oracle, _ bool) (out []row) {
		for _, e := range o.events {
			for _, b := range e.Blocks {
				out = append(out, row{"size": float64(b.Size), "cid": b.CID.String(), "peer": e.Peer.String(), "direction": directionOf(e)})
			}
		}
		slices.SortFunc(out, func(a, b row) int { return cmp.Compare(b["size"].(float64), a["size"].(float64)) })
		return out[:10]
	},
	"served": func(o *oracle, _ bool) []row {
		t := adding("peer")
		for _, e := range o.events {
			for _, b := range e.Blocks {
				if e.Dir == event.Sent {
					r := t.at(e.Peer.String())
					r.add("blocks", 1)
					r.add("bytes", float64(b.Size))
					// The country is the last one; a peer has one, except this test's peers.
				}
			}
		}
		return t.sorted("bytes", 20)
	},
	"churn": func(o *oracle, _ bool) []row {
		t := adding("time", "state")
		for _, e := range o.events {
			if e.Kind == event.KindConnection {
				t.at(o.step(e), []string{"opened", "closed"}[sets.Bit(e.Conn.Closed)]).add("connections", 1)
			}
		}
		return t.byTime()
	},
	"transports": func(o *oracle, _ bool) []row {
		t := adding("transport", "security", "muxer", "direction")
		for _, e := range o.events {
			if e.Kind == event.KindConnection && !e.Conn.Closed {
				t.at(e.Conn.Transport, e.Conn.Security, e.Conn.Muxer, inOut(e.Conn.Inbound)).add("connections", 1)
			}
		}
		return t.sorted("connections", 0)
	},
	"newcomers": func(o *oracle, _ bool) (out []row) {
		for _, e := range o.events {
			if e.Kind == event.KindIdentify {
				out = append(out, row{"agent": string(e.Identify.Agent), "protocols": float64(len(e.Identify.Protocols)), "peer": e.Peer.String(), "country": country(e)})
			}
		}
		slices.Reverse(out)
		return out[:20]
	},
	"cost": func(o *oracle, _ bool) []row {
		t := adding("node")
		o.grew(t, func(e seen, r row, grew func(string, float64)) {
			p := e.Sample.Node.Process
			grew("cpu_ms", math.Round(p.CPUSeconds*1000))
			r.most("max_resident_bytes", float64(p.ResidentMem))
			r.most("max_goroutines", float64(p.Goroutines))
			r.most("max_open_files", float64(p.OpenFiles))
		})
		return t.sorted("cpu_ms", 0)
	},
	"backlog": func(o *oracle, _ bool) []row {
		t := adding("time", "node")
		for _, e := range o.events {
			if e.Kind == event.KindSample {
				r := t.at(o.step(e), e.node)
				r.most("queued", float64(e.pipe.Influx.Queued))
				r.most("lag_ms", e.pipe.Influx.LagSeconds*1000)
				r.most("spool_permille", 0)
			}
		}
		return t.byTime()
	},
	"nodes": func(o *oracle, _ bool) (out []row) {
		for _, node := range []string{"one", "two"} {
			e := o.lastSample(node)
			out = append(out, row{"node": node, "time": time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano), "connections": float64(e.Sample.Conns),
				"wantlist": float64(e.Sample.Node.Wantlist), "ledgers": float64(e.Sample.Node.Ledgers), "repo_bytes": float64(e.Sample.Node.RepoBytes)})
		}
		return out
	},
	"sides": func(o *oracle, _ bool) []row {
		t := adding("side", "downstream", "direction", "type")
		for _, e := range o.events {
			for _, w := range e.Wants {
				t.at("", "", directionOf(e), wantType(w)).add("wants", 1)
			}
		}
		return t.sorted("wants", 0)
	},
}

// agent is what a peer was identified as last, else "listed" where it is in a
// minute's list.
func (o *oracle) agent(peer string) (agent string) {
	for _, e := range o.events {
		if e.Kind == event.KindSummary && slices.ContainsFunc(e.Summary.TopPeers, func(p event.TopPeer) bool { return p.Peer.String() == peer }) {
			agent = "listed"
		}
	}
	for _, e := range o.events {
		if e.Kind == event.KindIdentify && e.Peer.String() == peer {
			agent = string(e.Identify.Agent)
		}
	}
	return agent
}

// missing calls f for each DONT_HAVE that was sent.
func (o *oracle) missing(f func(e seen, p event.Presence)) {
	for _, e := range o.events {
		for _, p := range e.Presences {
			if e.Dir == event.Sent && p.Type == event.DontHave {
				f(e, p)
			}
		}
	}
}

// grew adds up what counters of each node grew by. A counter below the one
// before began again, and the restart of the node within the hour is at its
// 70th minute.
func (o *oracle) grew(t *addition, f func(e seen, r row, grew func(string, float64))) {
	before := map[string]float64{}
	for _, e := range o.events {
		if e.Kind != event.KindSample {
			continue
		}
		r := t.at(e.node)
		f(e, r, func(column string, v float64) {
			b, ok := before[e.node+column]
			switch {
			case !ok:
				r.add(column, 0)
			case v < b:
				r.add(column, v)
			default:
				r.add(column, v-b)
			}
			before[e.node+column] = v
		})
	}
}

// answerRows is an Output that keeps an answer as rows.
type answerRows struct {
	rows    []row
	labels  []client.Label
	columns []string
}

func (a *answerRows) Series(_ string, labels []client.Label, columns []string) error {
	a.labels, a.columns = labels, columns
	return nil
}

func (a *answerRows) Row(values []any) error {
	r := row{}
	for _, l := range a.labels {
		r[l.Key] = l.Value
	}
	for i, v := range values {
		column := a.columns[i]
		if column == "_time" {
			column = "time"
		}
		switch v := v.(type) {
		case json.Number:
			f, _ := v.Float64()
			r[column] = f
		case nil:
			r[column] = ""
		default:
			r[column] = fmt.Sprint(v)
		}
	}
	a.rows = append(a.rows, r)
	return nil
}

func (a *answerRows) Close() error { return nil }

// same compares an expected row with one of an answer; what the oracle leaves
// open is not compared.
func same(want, got row) bool {
	for k := range got {
		if _, ok := want[k]; !ok && k != "time" && k != "country" && k != "text" {
			return false // a column that nobody asked for
		}
	}
	for k, w := range want {
		g, ok := got[k]
		if !ok {
			return false
		}
		x, isNumber := w.(float64)
		y, both := g.(float64)
		if isNumber != both || isNumber && math.Abs(x-y) > 1e-9*max(1, math.Abs(x)) || !isNumber && fmt.Sprint(w) != fmt.Sprint(g) {
			return false
		}
	}
	return true
}

// oracleStore is a store with what two nodes wrote, with and without history.
func oracleStore(t *testing.T, history bool) (o *oracle, c *client.Client) {
	t.Helper()
	c = filledStore(t, history, func(write writer) { o = makeOracle(time.Now().UTC(), write) })
	return o, c
}

// filledStore is a store with what the encoders of nodes make of the events that
// fill writes, and of what is derived from them at once.
func filledStore(t *testing.T, history bool, fill func(write writer)) *client.Client {
	t.Helper()
	cfg := influxtest.StoreAt(storetest.Start(t))
	cfg.History = &history
	if err := client.Setup(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var lines [schema.Kinds][]byte
	encoders, derivers, sums := map[string]*lineproto.Encoder{}, map[string]*deriver{}, map[string]*rollup.Sums{}
	var pipe pipeline.Pipeline
	fill(func(node string, e seen) (derived []*event.Event) {
		if encoders[node] == nil || e.starts {
			if old := derivers[node]; old != nil {
				old.close()
			}
			encoders[node], derivers[node] = lineproto.NewEncoder(node, history), newDeriver(t)
			if sums[node] == nil {
				sums[node] = rollup.New(e.At().Add(-time.Hour))
			}
			encoders[node].SetRollups(sums[node])
			encoders[node].SetDHTHistory()
			derived = append(derived, event.NewNote(e.Time, event.NoteStart, 0, "started")) // as the monitor does
		}
		if e.pipe != nil {
			pipe = *e.pipe
		}
		derived = append(derived, derivers[node].see(e.Event, pipe)...)
		for _, e := range append([]*event.Event{e.Event}, derived...) {
			lines, _ = encoders[node].Append(lines, e)
		}
		return derived
	})
	for _, d := range derivers {
		d.close()
	}
	for _, s := range sums { // all minutes and hours are over
		lines[schema.Totals], _ = s.Append(lines[schema.Totals], time.Now().Add(48*time.Hour), time.Time{})
	}
	password, err := os.ReadFile(cfg.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	const atOnce = 8 << 20 // the store takes 25 MB at most
	for kind, points := range lines {
		for len(points) > 0 {
			n := len(points)
			if n > atOnce {
				n = bytes.LastIndexByte(points[:atOnce], '\n') + 1
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("%s/write?db=ipfsmon&rp=%s", cfg.URL, schema.Kind(kind)), bytes.NewReader(points[:n]))
			points = points[n:]
			req.SetBasicAuth(cfg.Username, strings.TrimSpace(string(password)))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusNoContent {
				t.Fatalf("write: %s", res.Status)
			}
		}
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := influxtest.Made3()
	s.Auth = true
	s.Behind = &influxtest.Behind3{URL: cfg.URL, Username: cfg.Username, Password: strings.TrimSpace(string(password))}
	asThree, err := client.New(client.Config{URL: s.Start(t).URL, Version: "3", Token: s.Admin("_admin"), History: &history})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(asThree.Close)
	threes.Store(c, asThree)
	t.Cleanup(func() { threes.Delete(c) })
	return c
}

// threes are the stand-ins for InfluxDB 3 in front of the stores of filledStore, by their clients.
var threes sync.Map

// asThree returns the client of the stand-in for InfluxDB 3 in front of a store of filledStore.
func asThree(t *testing.T, c *client.Client) *client.Client {
	t.Helper()
	v, ok := threes.Load(c)
	if !ok {
		t.Fatal("no stand-in before this store")
	}
	return v.(*client.Client)
}

// TestQuestionsAreTrue compares each question's answer, in both languages and in InfluxQL through
// the stand-in for InfluxDB 3, with what the events were. Each has an oracle.
func TestQuestionsAreTrue(t *testing.T) {
	o, c := oracleStore(t, true)
	for _, q := range query.Questions {
		of := oracles[q.Name]
		if of == nil {
			t.Errorf("%s: no oracle has its answer", q.Name)
			continue
		}
		for _, way := range []string{"influxql", "flux", "InfluxDB 3"} {
			flux, c := way == "flux", c
			if way == "InfluxDB 3" {
				c = asThree(t, c)
			}
			var got answerRows
			var err error
			for minute := (time.Time{}); !minute.Equal(o.now.Truncate(time.Minute)); minute = time.Now().UTC().Truncate(time.Minute) {
				// Where the minute ended meanwhile, the hour may be either one's.
				o.now, got = time.Now().UTC(), answerRows{}
				_, err = q.Ask(t.Context(), c, "1h", flux, &got, func(note string) { t.Errorf("%s: %s", q.Name, note) })
			}
			if err != nil {
				t.Errorf("%s, %s: %v", q.Name, way, err)
				continue
			}
			want := of(o, flux)
			if len(want) == 0 {
				t.Errorf("%s: the oracle has no answer", q.Name)
			}
			wrong := 0
			if len(got.rows) != len(want) {
				wrong++
				t.Errorf("%s, %s: %d rows, want %d", q.Name, way, len(got.rows), len(want))
			}
			for i := range min(len(want), len(got.rows)) {
				if wrong < 4 && !same(want[i], got.rows[i]) {
					wrong++
					t.Errorf("%s, %s, row %d:\n got  %v\n want %v", q.Name, way, i+1, got.rows[i], want[i])
				}
			}
		}
	}
	var sums [3]float64
	for _, r := range oracles["coverage"](o, false) {
		for i, what := range []string{"connected", "asked", "broadcast"} {
			sums[i] += r[what].(float64)
		}
	}
	for _, q := range query.Questions {
		want := ""
		if q.OfNetwork() {
			want = fmt.Sprintf("of %v connected peers %v asked it since they connected, %v as", sums[0], sums[1], sums[2])
		}
		if got := q.Coverage(t.Context(), c, "1h"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: coverage %q, want %q in it", q.Name, got, want)
		}
	}
	if len(oracles) != len(query.Questions) {
		t.Errorf("%d oracles for %d questions", len(oracles), len(query.Questions))
	}
}

// classes has the answers by classes that sums have to questions that history answers with medians: each
// class as it is written down here, not as the encoder finds it.
var classes = map[string]func(o *oracle, flux bool) []row{
	"durations": func(o *oracle, _ bool) []row {
		t := adding("transport", "direction", "up_to_s")
		for _, e := range o.events {
			if e.Kind == event.KindConnection && e.Conn.Closed && !e.Conn.Unmatched {
				r := t.at(e.Conn.Transport, inOut(e.Conn.Inbound), classOf(e.Conn.Duration.Seconds(), 1, 10, 60, 300, 900, 3600, 4*3600, 24*3600))
				r.add("connections", 1)
				r.most("max_ms", float64(e.Conn.Duration.Milliseconds()))
			}
		}
		return t.sorted("connections", 0)
	},
	"block-sizes": func(o *oracle, _ bool) []row {
		t := adding("direction", "codec", "up_to_bytes")
		for _, e := range o.events {
			for _, b := range e.Blocks {
				r := t.at(directionOf(e), codecOf(b.CID), classOf(float64(b.Size), 256, 1024, 4096, 16384, 65536, 266240, 524288, 1<<20, 2<<20))
				r.add("blocks", 1)
				r.add("bytes", float64(b.Size))
				r.most("max_bytes", float64(b.Size))
			}
		}
		return t.sorted("blocks", 0)
	},
}

// classOf is the name of the first class that a number is not above.
func classOf(v float64, bounds ...float64) string {
	for _, b := range bounds {
		if v <= b {
			return fmt.Sprintf("%.0f", b)
		}
	}
	return "more"
}

// ofMinutes is the note of answers that are exact for whole minutes.
const ofMinutes = "history has nothing in that time, so these are the sums of its whole minutes"

// exact has what lists and distinct counts of totals are compared with, by question and key.
func (o *oracle) exact() map[string]map[string]row {
	exact := map[string]map[string]row{}
	for name, key := range map[string]string{"top-cids": "cid", "top-peers": "peer", "missing-cids": "cid", "unique": "direction"} {
		exact[name] = map[string]row{}
		t2 := adding(key)
		there := map[string]bool{}
		o.wants(func(e seen, w event.Want) {
			switch {
			case name == "top-cids" && e.Dir == event.Received:
				t2.at(w.CID.String()).add("wants", 1)
			case name == "top-peers" && e.Dir == event.Received:
				t2.at(e.Peer.String()).add("wants", 1)
			case name == "unique" && e.Dir == event.Received:
				for column, what := range map[string]string{"cids": w.CID.String(), "peers": e.Peer.String()} {
					if !there[column+what] {
						there[column+what] = true
						t2.at(directionOf(e)).add(column, 1)
					}
				}
			}
		})
		if name == "missing-cids" {
			o.missing(func(_ seen, p event.Presence) { t2.at(p.CID.String()).add("asked", 1) })
		}
		for _, r := range t2.rows {
			exact[name][r[key].(string)] = r
		}
	}
	return exact
}

// TestTotalsAreWithinTheirError asks the questions that history answers of a
// store without it: what the answer says of its error must hold for the events.
func TestTotalsAreWithinTheirError(t *testing.T) {
	o, c := oracleStore(t, false)
	exact := o.exact()
	for _, q := range query.Questions {
		if q.Else == nil {
			continue
		}
		var answers [2][]row
		for i, flux := range []bool{false, true} {
			var got answerRows
			said := ""
			for minute := (time.Time{}); !minute.Equal(o.now.Truncate(time.Minute)); minute = time.Now().UTC().Truncate(time.Minute) {
				o.now, got = time.Now().UTC(), answerRows{}
				if _, err := q.Ask(t.Context(), c, "1h", flux, &got, func(note string) { said = note }); err != nil {
					t.Fatalf("%s, flux %v: %v", q.Name, flux, err)
				}
			}
			of := oracles[q.Name]
			if classes[q.Name] != nil {
				of = classes[q.Name]
			}
			if strings.HasPrefix(q.Else.Note, ofMinutes) {
				whole := *o
				whole.events = slices.DeleteFunc(slices.Clone(o.events), func(e seen) bool { // those of whole minutes
					return !e.At().Truncate(time.Minute).After(o.now.Add(-time.Hour))
				})
				var want []row
				for _, r := range of(&whole, flux) {
					if r["wants"] != 0.0 { // steps without one
						want = append(want, r)
					}
				}
				if !slices.EqualFunc(got.rows, want, same) {
					t.Errorf("%s, flux %v:\n got  %v\n want %v", q.Name, flux, got.rows, want)
				}
			}
			if answers[i] = got.rows; len(got.rows) == 0 || said != q.Else.Note {
				t.Errorf("%s, flux %v: %d rows, said %q", q.Name, flux, len(got.rows), said)
			}
			for _, r := range got.rows {
				n := func(column string) float64 { v, _ := r[column].(float64); return v }
				switch q.Name {
				case "top-cids", "top-peers", "missing-cids":
					key := map[string]string{"top-cids": "cid", "top-peers": "peer", "missing-cids": "cid"}[q.Name]
					what := map[bool]string{true: "asked", false: "wants"}[q.Name == "missing-cids"]
					w, _ := exact[q.Name][fmt.Sprint(r[key])][what].(float64)
					if w < n(what)-n("error") || w > n(what)+n("unlisted") {
						t.Errorf("%s, flux %v: %v, the truth is %v", q.Name, flux, r, w)
					}
				case "unique":
					truth := exact[q.Name][fmt.Sprint(r["direction"])]
					for _, column := range []string{"cids", "peers"} {
						if w, ok := truth[column].(float64); ok && (w < n(column+"_at_least")*0.99 || w > n(column+"_at_most")*1.01) {
							t.Errorf("%s, flux %v: %v, the truth is %v %s", q.Name, flux, r, w, column)
						}
					}
				case "served":
					want := row{}
					o.summaries(func(s *event.Summary) {
						list := s.Line[event.Sent].Peers
						for _, p := range list {
							if p.Peer.String() == r["peer"] {
								want.add("bytes", float64(p.Bytes))
								want.add("error", float64(p.Error))
							}
						}
						want.add("unlisted", 0)
						if len(list) >= 20 {
							want.add("unlisted", float64(list[19].Bytes))
						}
					})
					for column, w := range want {
						if r[column] != w {
							t.Errorf("%s, flux %v: %v, the truth is %v", q.Name, flux, r, want)
						}
					}
				case "missing-agent":
					missing := 0.0
					o.summaries(func(s *event.Summary) {
						for _, a := range s.Line[event.Sent].Agents {
							if a.Family == r["family"] {
								missing += float64(a.DontHaves)
							}
						}
					})
					if missing != n("missing") || missing == 0 {
						t.Errorf("%s, flux %v: %v, the truth is %v", q.Name, flux, r, missing)
					}
				case "askers":
					peers := map[peer.ID]bool{}
					o.wants(func(e seen, _ event.Want) {
						if e.Dir == event.Received && o.step(e) == r["time"] {
							peers[e.Peer] = true
						}
					})
					if w := float64(len(peers)); w < n("peers_at_least")*0.99 || w > n("peers_at_most")*1.01 || w == 0 {
						t.Errorf("%s, flux %v: %v, the truth is %v", q.Name, flux, r, w)
					}
				case "percentiles":
					want := row{}
					o.summaries(func(s *event.Summary) {
						for d := range s.Latency {
							for a, l := range s.Latency[d] {
								if schema.TagDirection.Values[d] == r["direction"] && schema.TagAnswer.Values[a] == r["answer"] && l.Count > 0 {
									want.add("answers", float64(l.Count))
									want.most("worst_p50_us", float64(l.P50.Microseconds()))
									want.most("worst_p90_us", float64(l.P90.Microseconds()))
									want.most("worst_p99_us", float64(l.P99.Microseconds()))
								}
							}
						}
					})
					for column, w := range want {
						if r[column] != w {
							t.Errorf("%s, flux %v: %v, the truth is %v", q.Name, flux, r, want)
						}
					}
				case "http":
					want := row{}
					o.summaries(func(s *event.Summary) {
						ofRequests(s, func(method, outcome string, x *event.RequestStats) {
							if method == r["method"] && outcome == r["outcome"] {
								want.add("requests", float64(x.Took.Count))
								want.add("bytes", float64(x.Bytes))
								want.most("max_us", float64(x.Took.Max.Microseconds()))
							}
						})
					})
					for column, w := range want {
						if r[column] != w {
							t.Errorf("%s, flux %v: %v, the truth is %v", q.Name, flux, r, want)
						}
					}
					if len(want) == 0 {
						t.Errorf("%s, flux %v: there was nothing of %v", q.Name, flux, r)
					}
				case "wants", "churn", "sides", "durations", "block-sizes", "old-clients", "transports": // exact
				default:
					t.Errorf("%s: nothing states whether its totals are true", q.Name)
				}
			}
		}
		if fmt.Sprint(answers[0]) != fmt.Sprint(answers[1]) {
			t.Errorf("%s:\n InfluxQL %v\n Flux     %v", q.Name, answers[0], answers[1])
		}
	}
	// Of a long time the lists of hours are read.
	whole := *o
	whole.events = o.all
	for name, of := range map[string][2]string{"top-cids": {"cid", "wants"}, "top-peers": {"peer", "wants"}, "missing-cids": {"cid", "asked"}} {
		q, err := query.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		var got answerRows
		said := ""
		if _, err := q.Ask(t.Context(), c, "13h", false, &got, func(note string) { said = note }); err != nil {
			t.Fatal(err)
		}
		if len(got.rows) != 20 || said != q.Else.Note+"; from lists of whole hours, those that begin in that time" {
			t.Errorf("%s of 13h: %d rows, said %q", name, len(got.rows), said)
		}
		exact := whole.exact()[name]
		for _, r := range got.rows {
			n := func(column string) float64 { v, _ := r[column].(float64); return v }
			if w, _ := exact[fmt.Sprint(r[of[0]])][of[1]].(float64); w < n(of[1])-n("error") || w > n(of[1])+n("unlisted") || w == 0 {
				t.Errorf("%s of 13h: %v, the truth is %v", name, r, w)
			}
		}
	}
	// The sum of the lists must differ from the truth, or this test shows nothing.
	if len(exact["top-cids"]) < 60 {
		t.Errorf("%d CIDs, want more than a list has", len(exact["top-cids"]))
	}
}
