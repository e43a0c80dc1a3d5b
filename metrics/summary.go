package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/event"
)

// sums are what summaries of intervals add up to since the start, and the last of
// them.
type sums struct {
	last *event.Summary

	retrieval event.SummaryRetrieval // its counters; of LatencyStats Count and Sum
	requests  [2][event.RequestOutcomes]event.RequestStats
}

func (s *sums) add(n *event.Summary) {
	s.last = n
	r, of := &s.retrieval, &n.Retrieval
	for i := range r.Sources {
		to, from := &r.Sources[i], &of.Sources[i]
		to.Blocks += from.Blocks
		to.Bytes += from.Bytes
		addTimes(&to.ToProvider, from.ToProvider)
		addTimes(&to.ToBlock, from.ToBlock)
	}
	r.Wanted += of.Wanted
	r.GivenUp += of.GivenUp
	r.Unanswered += of.Unanswered
	r.Surplus += of.Surplus
	r.Searches += of.Searches
	r.Providers += of.Providers
	r.NotFound += of.NotFound
	addTimes(&r.Search, of.Search)
	for m := range s.requests {
		for o := range s.requests[m] {
			s.requests[m][o].Bytes += n.Requests[m][o].Bytes
			addTimes(&s.requests[m][o].Took, n.Requests[m][o].Took)
		}
	}
}

func addTimes(to *event.LatencyStats, from event.LatencyStats) {
	to.Count += from.Count
	to.Sum += from.Sum
}

// emitTimes takes one distribution of a family with the values of its labels: the
// sums since the start, and the quantiles of the last interval.
type emitTimes func(all, last event.LatencyStats, labels ...string)

func (m *Metrics) timesEmitter(family int, to func(prometheus.Metric)) emitTimes {
	return func(all, last event.LatencyStats, labels ...string) {
		quantiles := map[float64]float64{}
		if last.Count > 0 {
			quantiles = map[float64]float64{0.5: last.P50.Seconds(), 0.9: last.P90.Seconds(), 0.99: last.P99.Seconds(), 1: last.Max.Seconds()}
		}
		metric, err := prometheus.NewConstSummary(m.descs[family], all.Count, all.Sum.Seconds(), quantiles, labels...)
		if err == nil {
			to(metric)
		}
	}
}

var source = Label{"source", "where the provider came from: connected (asked because it was connected), routing (found for this block), session (found for another), http, unknown"}

// summaryFamilies are the figures of whole intervals.
var summaryFamilies = []Family{
	perSource("ipfsmon_retrieval_blocks_total", "Blocks that the node wanted and got, each once.", func(s *event.SourceStats) uint64 { return s.Blocks }),
	perSource("ipfsmon_retrieval_block_bytes_total", "Bytes of these blocks.", func(s *event.SourceStats) uint64 { return s.Bytes }),
	{Name: "ipfsmon_retrieval_to_provider_seconds", Kind: Summary, Labels: []Label{source},
		Help: "Time from the first want or search of a block to its first provider. Quantiles are those of the last interval.",
		times: func(s *sums, out emitTimes) {
			s.perSource(out, func(s *event.SourceStats) event.LatencyStats { return s.ToProvider })
		}},
	{Name: "ipfsmon_retrieval_to_block_seconds", Kind: Summary, Labels: []Label{source},
		Help: "Time from the first want or search of a block to the block. Quantiles are those of the last interval.",
		times: func(s *sums, out emitTimes) {
			s.perSource(out, func(s *event.SourceStats) event.LatencyStats { return s.ToBlock })
		}},
	{Name: "ipfsmon_retrieval_wanted_total", Kind: Counter, Help: "Blocks that the node began to want, by outcome; began counts all.",
		Labels: []Label{{"state", "began, given_up (cancelled before a block came), unanswered (no longer asked for, never came)"}},
		summary: func(s *sums, out emit) {
			out(float64(s.retrieval.Wanted), "began")
			out(float64(s.retrieval.GivenUp), "given_up")
			out(float64(s.retrieval.Unanswered), "unanswered")
		}},
	ofRetrieval("ipfsmon_retrieval_waiting", Gauge, "Blocks that the node waited for at the end of the last interval.", func(s *sums) uint64 { return uint64(max(0, s.last.Retrieval.Waiting)) }),
	ofRetrieval("ipfsmon_retrieval_surplus_blocks_total", Counter, "Blocks received that were not waited for: mostly second copies.", func(s *sums) uint64 { return s.retrieval.Surplus }),
	ofRetrieval("ipfsmon_retrieval_providers_total", Counter, "Provider records that searches returned.", func(s *sums) uint64 { return s.retrieval.Providers }),
	ofRetrieval("ipfsmon_retrieval_searches_total", Counter, "Searches for providers that began.", func(s *sums) uint64 { return s.retrieval.Searches }),
	ofRetrieval("ipfsmon_retrieval_searches_not_found_total", Counter, "Searches for providers that ended without one.", func(s *sums) uint64 { return s.retrieval.NotFound }),
	{Name: "ipfsmon_retrieval_search_seconds", Kind: Summary, Help: "Time that searches for providers took. Quantiles are those of the last interval.",
		times: func(s *sums, out emitTimes) { out(s.retrieval.Search, s.last.Retrieval.Search) }},
	{Name: "ipfsmon_retrieval_http_requests_total", Kind: Counter, Help: "Requests for blocks over HTTP that ended: GET of a block, HEAD for whether a server has it.",
		Labels: []Label{{"method", "GET, HEAD"}, {"outcome", "block, have, dont_have, canceled, timeout, error, no_answer"}},
		summary: func(s *sums, out emit) {
			for m := range s.requests {
				for o := range s.requests[m] {
					out(float64(s.requests[m][o].Took.Count), event.RequestMethods[m], event.RequestOutcomeNames[o])
				}
			}
		}},
	{Name: "ipfsmon_coverage_peers", Kind: Gauge, Help: "Connected peers by family of agents and by how much of what they ask reaches this node: what a figure of wants says of the network.",
		Labels: []Label{{"family", "of agents, by the first word that the peer reports"}, {"of", "connected, asked (sent a want since they connected), broadcast (sent one as to all its peers)"}},
		summary: func(s *sums, out emit) {
			for _, f := range s.last.Coverage.Families {
				out(float64(f.Connected), f.Family, "connected")
				out(float64(f.Asked), f.Family, "asked")
				out(float64(f.Broadcast), f.Family, "broadcast")
			}
		}},
}

func (s *sums) perSource(out emitTimes, of func(*event.SourceStats) event.LatencyStats) {
	for i := range s.retrieval.Sources {
		out(of(&s.retrieval.Sources[i]), of(&s.last.Retrieval.Sources[i]), event.SourceNames[i])
	}
}

func perSource(name, help string, value func(*event.SourceStats) uint64) Family {
	return Family{Name: name, Kind: Counter, Help: help, Labels: []Label{source},
		summary: func(s *sums, out emit) {
			for i := range s.retrieval.Sources {
				out(float64(value(&s.retrieval.Sources[i])), event.SourceNames[i])
			}
		}}
}

func ofRetrieval(name string, kind Kind, help string, value func(*sums) uint64) Family {
	return Family{Name: name, Kind: kind, Help: help, summary: func(s *sums, out emit) { out(float64(value(s))) }}
}
