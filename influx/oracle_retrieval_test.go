//go:build !race

package influx

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

func init() {
	maps.Copy(oracles, retrievalOracles)
	maps.Copy(panelOracles, retrievalPanels)
}

var oracleHosts = []event.Text{"/dns4/a.example/tcp/443/tls/http", "/dns4/b.example/tcp/8080/http"}

// retrievalEvents emits what is seen of a minute over HTTP and of wanted blocks,
// and fills in their totals. What Bitswap's panels must leave out is large.
func retrievalEvents(r *rand.Rand, at int64, emit func(event.Event), s *event.Sample, u *event.Summary) {
	between := func(most int) uint64 { return uint64(r.IntN(most)) }
	micros := func() time.Duration { return time.Duration(1+r.IntN(1e6)) * time.Microsecond }
	times := func(n uint64) event.LatencyStats {
		return event.LatencyStats{Count: n, Sum: time.Duration(n) * micros(), P50: micros(), P90: micros(), P99: micros(), Max: micros()}
	}
	at += int64(r.IntN(int(900 * time.Millisecond))) // the nodes' differ
	for i := range r.IntN(3) {
		at := at + int64(10*i)
		p := influxtest.Peer(1000 + r.IntN(3))
		b := event.Block{CID: influxtest.CID(r.IntN(oracleCIDs)), Size: int32(1 + r.IntN(1000))}
		emit(event.Event{Time: at, Kind: event.KindMessage, Transport: event.HTTP, Peer: p, Blocks: []event.Block{b}})
		s.HTTP[event.Received].Messages++
		s.HTTP[event.Received].Blocks++
		s.HTTP[event.Received].BlockBytes += uint64(b.Size)
		emit(event.Event{Time: at + 1, Kind: event.KindRequest, Dir: event.Sent, Transport: event.HTTP, Peer: p, Addrs: oracleHosts[r.IntN(2):],
			Request: &event.Request{CID: b.CID, Want: event.WantType(r.IntN(2)), Outcome: event.RequestOutcome(r.IntN(int(event.RequestOutcomes))), Elapsed: micros(), Size: b.Size}})
		emit(event.Event{Time: at + 2, Kind: event.KindRetrieval, Peer: p,
			Retrieval: &event.Retrieval{CID: b.CID, Size: b.Size, Source: event.Source(r.IntN(int(event.Sources))), ToProvider: micros(), ToBlock: micros()}})
	}
	s.HTTP[event.Received].Have, s.HTTP[event.Sent].Messages, s.HTTP[event.Sent].WantHave = 1000+between(9), 1000+between(9), 1000+between(9)
	for i := range u.Retrieval.Sources {
		n := between(3)
		u.Retrieval.Sources[i] = event.SourceStats{Blocks: n, Bytes: n * between(1000), ToProvider: times(n), ToBlock: times(n)}
	}
	x := &u.Retrieval
	x.Wanted, x.GivenUp, x.Unanswered, x.Surplus, x.Searches, x.Providers, x.NotFound = between(9), between(9), between(9), between(9), between(9), between(9), between(9)
	for want := range u.Requests {
		for o := range u.Requests[want] {
			u.Requests[want][o] = event.RequestStats{Bytes: between(1000), Took: times(between(3))}
		}
	}
	for via := range u.Sending {
		u.Sending[via].Took = times(between(3))
		for c := range u.Sending[via].Errors {
			u.Sending[via].Errors[c].Messages = between(3)
		}
	}
}

// summaries calls f for each summary within the hour.
func (o *oracle) summaries(f func(s *event.Summary)) {
	for _, e := range o.events {
		if e.Kind == event.KindSummary {
			f(e.Summary)
		}
	}
}

var viaNames = []string{event.Libp2p.String(), event.HTTP.String()}

func host(e seen) string {
	return map[event.Text]string{oracleHosts[0]: "a.example:443", oracleHosts[1]: "b.example:8080"}[e.Addrs[0]]
}

var retrievalOracles = map[string]func(o *oracle, flux bool) []row{
	"sources": func(o *oracle, _ bool) []row {
		t := adding("source")
		o.summaries(func(s *event.Summary) {
			for i, x := range s.Retrieval.Sources {
				if x.Blocks == 0 {
					continue
				}
				r := t.at(event.SourceNames[i])
				r.add("blocks", float64(x.Blocks))
				r.add("bytes", float64(x.Bytes))
				r.add("mean_provider_us", float64(x.ToProvider.Sum.Microseconds()))
				r.add("mean_block_us", float64(x.ToBlock.Sum.Microseconds()))
				r.most("worst_p90_us", float64(x.ToBlock.P90.Microseconds()))
				r.most("max_us", float64(x.ToBlock.Max.Microseconds()))
			}
		})
		for _, r := range t.rows {
			for _, c := range []string{"mean_provider_us", "mean_block_us"} {
				r[c] = r[c].(float64) / r["blocks"].(float64)
			}
		}
		return t.sorted("blocks", 0)
	},
	"wanted": func(o *oracle, _ bool) []row {
		r := row{}
		o.summaries(func(s *event.Summary) {
			x := &s.Retrieval
			for name, n := range map[string]uint64{"wanted": x.Wanted, "given_up": x.GivenUp, "unanswered": x.Unanswered, "surplus": x.Surplus,
				"searches": x.Searches, "providers": x.Providers, "not_found": x.NotFound} {
				r.add(name, float64(n))
			}
		})
		return []row{r}
	},
	"slow-blocks": func(o *oracle, _ bool) (out []row) {
		for _, e := range o.events {
			if x := e.Retrieval; e.Kind == event.KindRetrieval {
				out = append(out, row{"us": float64(x.ToBlock.Microseconds()), "provider_us": float64(x.ToProvider.Microseconds()), "cid": x.CID.String(), "peer": e.Peer.String(), "source": x.Source.String()})
			}
		}
		slices.SortFunc(out, func(a, b row) int { return cmp.Compare(b["us"].(float64), a["us"].(float64)) })
		return out[:10]
	},
	"http": func(o *oracle, _ bool) []row {
		t := adding("host", "method", "outcome")
		for _, e := range o.events {
			if x := e.Request; e.Kind == event.KindRequest {
				r := t.at(host(e), event.RequestMethods[x.Want], x.Outcome.String())
				r.add("requests", 1)
				r.add("bytes", float64(x.Size))
				r.most("max_us", float64(x.Elapsed.Microseconds()))
			}
		}
		return t.sorted("requests", 50)
	},
	"sending": func(o *oracle, _ bool) []row {
		t := adding("transport")
		o.summaries(func(s *event.Summary) {
			for via, x := range s.Sending {
				r := t.at(viaNames[via])
				r.add("messages", float64(x.Took.Count))
				r.most("worst_p99_us", float64(x.Took.P99.Microseconds()))
				r.most("max_us", float64(x.Took.Max.Microseconds()))
				for _, c := range x.Errors {
					r.add("errors", float64(c.Messages))
				}
			}
		})
		return t.sorted("messages", 0)
	},
}

// bySource is a rate of the blocks that were wanted, by source.
func bySource(f func(x *event.SourceStats) uint64) func(o *oracle) any {
	return func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			for i := range s.Retrieval.Sources {
				put(event.SourceNames[i], float64(f(&s.Retrieval.Sources[i])))
			}
		}))
	}
}

// worstOf is the greatest of each step of a figure by name.
func worstOf(f func(s *event.Summary, put put)) func(o *oracle) any {
	return func(o *oracle) any { return o.most(ofSummary(f)) }
}

// ofRequests calls f for the requests of each method and outcome.
func ofRequests(s *event.Summary, f func(method, outcome string, x *event.RequestStats)) {
	for want := range s.Requests {
		for o := range s.Requests[want] {
			f(event.RequestMethods[want], event.RequestOutcomeNames[o], &s.Requests[want][o])
		}
	}
}

const (
	sourcesRow = "Content / Where blocks come from / "
	webRow     = "Latency / Over HTTP / "
	sendingRow = "Latency / Sending / "
)

var retrievalPanels = map[string]func(o *oracle) any{
	sourcesRow + "Blocks by source": bySource(func(x *event.SourceStats) uint64 { return x.Blocks }),
	sourcesRow + "Data by source":   bySource(func(x *event.SourceStats) uint64 { return x.Bytes }),
	sourcesRow + "Wants without a block": func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			put("given up", float64(s.Retrieval.GivenUp))
			put("unanswered", float64(s.Retrieval.Unanswered))
			put("surplus", float64(s.Retrieval.Surplus))
		}))
	},
	sourcesRow + "Time to the first provider": worstOf(func(s *event.Summary, put put) {
		for i, x := range s.Retrieval.Sources {
			if x.Blocks > 0 {
				put(event.SourceNames[i], float64(x.ToProvider.P90.Microseconds()))
			}
		}
	}),
	sourcesRow + "Time to the block, by source": worstOf(func(s *event.Summary, put put) {
		for i, x := range s.Retrieval.Sources {
			if x.Blocks > 0 {
				put(event.SourceNames[i], float64(x.ToBlock.P90.Microseconds()))
			}
		}
	}),
	sourcesRow + "Searches for providers": func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			put("searches", float64(s.Retrieval.Searches))
			put("providers", float64(s.Retrieval.Providers))
			put("nothing found", float64(s.Retrieval.NotFound))
		}))
	},
	sourcesRow + "Blocks that were wanted last": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			if x := e.Retrieval; e.Kind == event.KindRetrieval {
				put(row{"cid": x.CID.String(), "source": x.Source.String(), "size": float64(x.Size), "provider_us": float64(x.ToProvider.Microseconds()),
					"block_us": float64(x.ToBlock.Microseconds()), "peer": e.Peer.String()})
			}
		})
	},
	webRow + "Requests by outcome": func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			ofRequests(s, func(method, outcome string, x *event.RequestStats) { put(method+" "+outcome, float64(x.Took.Count)) })
		}))
	},
	webRow + "Time of a request": worstOf(func(s *event.Summary, put put) {
		ofRequests(s, func(_, outcome string, x *event.RequestStats) {
			if x.Took.Count > 0 {
				put(outcome, float64(x.Took.P90.Microseconds()))
			}
		})
	}),
	webRow + "Data over HTTP": func(o *oracle) any {
		return o.perSecond(event.KindSample, ofSample(func(s *event.Sample, _ seen, put put) { put("received", float64(s.HTTP[event.Received].BlockBytes)) }))
	},
	webRow + "Requests that ended last": func(o *oracle) any {
		return o.newest(50, func(e seen, put func(r row)) {
			if x := e.Request; e.Kind == event.KindRequest {
				put(row{"host": host(e), "method": event.RequestMethods[x.Want], "outcome": x.Outcome.String(), "elapsed_us": float64(x.Elapsed.Microseconds()), "cid": x.CID.String()})
			}
		})
	},
	sendingRow + "Time to send": worstOf(func(s *event.Summary, put put) {
		for via, x := range s.Sending {
			if x.Took.Count > 0 {
				put(viaNames[via], float64(x.Took.P99.Microseconds()))
			}
		}
	}),
	sendingRow + "Messages not sent": func(o *oracle) any {
		return o.perSecond(event.KindSummary, ofSummary(func(s *event.Summary, put put) {
			for via := range s.Sending {
				for c, x := range s.Sending[via].Errors {
					put(fmt.Sprint(event.SendErrors[c], " ", viaNames[via]), float64(x.Messages))
				}
			}
		}))
	},
}
