package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// The metrics are those of kitsune under the same names, and others named alike. kitsune
// counted messages by peer; labels here come from closed sets: the side, and the configured
// names of the nodes.
var (
	descUp = prometheus.NewDesc("kitsune_bitswap_upstream_peers", "Connected peers.", nil, nil)
	descDn = prometheus.NewDesc("kitsune_bitswap_downstream_peers", "Connected nodes behind the proxy.", nil, nil)
	descR  = prometheus.NewDesc("kitsune_bitswap_total_messages_recv", "Bitswap messages received, of both sides.", nil, nil)
	descS  = prometheus.NewDesc("kitsune_bitswap_total_messages_sent", "Bitswap messages sent, of both sides.", nil, nil)
	descRS = prometheus.NewDesc("kitsune_bitswap_messages_recv", "Bitswap messages received.", []string{"side"}, nil)
	descSS = prometheus.NewDesc("kitsune_bitswap_messages_sent", "Bitswap messages sent.", []string{"side"}, nil)
	descDR = prometheus.NewDesc("kitsune_bitswap_downstream_block_rtt_ms", "From a want sent to a node to its block, in milliseconds.", []string{"downstream"}, nil)
	descUR = prometheus.NewDesc("kitsune_bitswap_upstream_block_rtt_ms", "From a peer's want to its block, in milliseconds.", nil, nil)

	descOpen   = prometheus.NewDesc("kitsune_bitswap_downstream_outstanding", "CIDs requested from a node and not answered yet.", []string{"downstream"}, nil)
	descBlocks = prometheus.NewDesc("kitsune_bitswap_downstream_blocks_total", "Blocks from a node: verified, refused because they were not requested, or late.", []string{"downstream", "result"}, nil)
	descBytes  = prometheus.NewDesc("kitsune_bitswap_downstream_block_bytes_total", "Data in a node's verified blocks.", []string{"downstream"}, nil)
	descMiss   = prometheus.NewDesc("kitsune_bitswap_downstream_timeouts_total", "Wants for which another node was asked because this one did not answer.", []string{"downstream"}, nil)
	descIsUp   = prometheus.NewDesc("kitsune_bitswap_downstream_up", "1 if a node is connected and answers.", []string{"downstream"}, nil)
	descWants  = prometheus.NewDesc("kitsune_bitswap_upstream_wants_total", "Wants of peers by their first outcome: merged with a pending request, cached (answered at once), overflow (beyond a limit); all counts every want.", []string{"result"}, nil)
	descRefs   = prometheus.NewDesc("kitsune_preload_requests_total", "Requests to /api/v0/refs: all, and those refused because of a limit.", []string{"result"}, nil)
	descPassed = prometheus.NewDesc("kitsune_passed_streams_total", "Streams of other protocols forwarded to a node.", nil, nil)
	descAhead  = prometheus.NewDesc("kitsune_bitswap_downstream_ahead_total", "Blocks requested from a node before a peer wanted them.", nil, nil)
	descPanics = prometheus.NewDesc("kitsune_panics_total", "Internal errors of the proxy; each lost a message, a stream or a request.", nil, nil)
	descDenied = prometheus.NewDesc("kitsune_blocked_streams_total", "Refused streams of peers, by the prefix in --block that their protocol matches; others: not blocked, but over a limit or without a node.", []string{"protocol"}, nil)
)

var descs = []*prometheus.Desc{descUp, descDn, descR, descS, descRS, descSS, descDR, descUR, descOpen, descBlocks, descBytes, descMiss, descIsUp, descWants, descRefs, descPassed, descAhead, descDenied, descPanics}

var _ prometheus.Collector = (*Proxy)(nil)

// Describe implements prometheus.Collector.
func (p *Proxy) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs {
		out <- d
	}
}

// Collect implements prometheus.Collector: its cost does not depend on the number of peers.
func (p *Proxy) Collect(out chan<- prometheus.Metric) {
	defer p.engine.guard.Recover("proxy: collect metrics")
	for _, m := range p.engine.metrics(p.received[event.Upstream].Load(), p.received[event.Downstream].Load()) {
		out <- m
	}
}

func (e *engine) metrics(fromPeers, fromNodes uint64) []prometheus.Metric {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []prometheus.Metric
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out = append(out, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out = append(out, prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...))
	}
	up, toNodes := 0, uint64(0)
	for _, d := range e.downs {
		name, n := d.addr.name, &d.n
		if d.connected {
			up++
		}
		toNodes += n.sent.Messages
		gauge(descIsUp, float64(sets.Bit(d.connected && !d.stalled)), name)
		gauge(descOpen, float64(d.open), name)
		count(descBlocks, n.verified, name, "verified")
		count(descBlocks, n.refused, name, "refused")
		count(descBlocks, n.late, name, "late")
		count(descBytes, n.bytes, name)
		count(descMiss, n.timeouts, name)
		out = append(out, d.rtt.metric(descDR, name))
	}
	gauge(descUp, float64(len(e.ups)))
	gauge(descDn, float64(up))
	count(descR, fromPeers+fromNodes)
	count(descS, e.n.sent.Messages+toNodes)
	count(descRS, fromPeers, "upstream")
	count(descRS, fromNodes, "downstream")
	count(descSS, e.n.sent.Messages, "upstream")
	count(descSS, toNodes, "downstream")
	out = append(out, e.answer.metric(descUR))
	count(descWants, e.n.received.WantBlock+e.n.received.WantHave, "all")
	count(descWants, e.n.merged, "merged")
	count(descWants, e.n.cached, "cached")
	count(descWants, e.n.overflow, "overflow")
	count(descRefs, e.n.refs, "all")
	count(descRefs, e.n.refsRefused, "refused")
	count(descPassed, e.n.passed)
	count(descAhead, e.n.ahead)
	count(descPanics, e.guard.Panics())
	for name, n := range e.refusedStreams() {
		count(descDenied, n, name)
	}
	return out
}
