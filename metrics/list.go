package metrics

//go:generate go test -run TestDoc -update .

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// Kind is what Prometheus calls the type of a metric.
type Kind string

// The kinds in use.
const (
	Counter Kind = "counter"
	Gauge   Kind = "gauge"
	Summary Kind = "summary"
)

func (k Kind) valueType() prometheus.ValueType {
	if k == Counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// Label is a label of a family, and the values that it can have.
type Label struct{ Name, Values string }

// Family is all metrics with one name. families is the only list of them: the
// collector, its golden file and docs/prometheus.md are generated from it.
type Family struct {
	Name   string
	Help   string
	Kind   Kind
	Labels []Label

	// The source of the values; exactly one is set.
	sample   func(*event.Sample, emit)
	summary  func(*sums, emit)
	times    func(*sums, emitTimes) // of a Summary
	pipeline func(*pipeline.Pipeline, emit)
	self     func(*Metrics, emit)
}

func (f *Family) labels() []string {
	var out []string
	for _, l := range f.Labels {
		out = append(out, l.Name)
	}
	return out
}

// The labels that are used more than once.
var (
	direction = Label{"direction", "received, sent"}
	reader    = Label{"reader", "the monitor's sinks"}
	// destination is a closed set: the configuration has all names.
	destination = Label{"destination", "main, and the names in InfluxDB.Also"}
	format      = Label{"format", "v3, v4"}
)

// Families lists every metric, those of the old exporter first.
func Families() []Family { return append([]Family(nil), families...) }

var families = slices.Concat(oldFamilies, captureFamilies, deriveFamilies, summaryFamilies, sinkFamilies)

// oldFamilies are the metrics of the old exporter, with its names and meaning.
var oldFamilies = []Family{
	{Name: "plugin_metric_export_peers_supported_protocols", Kind: Gauge,
		Help:   "Connected peers that support a protocol; a peer counts once for each of its protocols.",
		Labels: []Label{{"protocol", "the most frequent, at most " + strconv.Itoa(maxProtocols) + ", and others"}},
		sample: supportedProtocols},
	{Name: "plugin_metric_export_peers_by_agent_version", Kind: Gauge,
		Help:   "Connected peers by the agent version that they report.",
		Labels: []Label{{"agent_version", "the most frequent, AgentVersionCutOff of them and at most " + strconv.Itoa(maxAgents) + ", and others"}},
		sample: agentVersions},
	{Name: "plugin_metric_export_open_streams", Kind: Gauge,
		Help: "Open streams by protocol and by who opened them.",
		Labels: []Label{{"protocol", "those with most streams, at most " + strconv.Itoa(maxProtocols) + ", and others; empty: not negotiated yet"},
			{"direction", strings.Join(event.StreamDirections, ", ")}},
		sample: openStreams},
	{Name: "plugin_metric_export_bitswap_senders", Kind: Gauge,
		Help:   "Open streams on which the node can send Bitswap messages.",
		sample: bitswapSenders},
	{Name: "plugin_metric_export_wiretap_peers", Kind: Gauge,
		Help:   "Connected peers, as counted from connection events.",
		sample: wiretapPeers},
	{Name: "plugin_metric_export_wiretap_connections", Kind: Gauge,
		Help:   "Open connections, as counted from connection events.",
		sample: func(s *event.Sample, out emit) { out(float64(s.Conns)) }},
	{Name: "plugin_metric_export_wiretap_sent_bytes", Kind: Counter,
		Help:   "Bytes of events for stream subscribers, before and after compression, including those dropped for slow subscribers.",
		Labels: []Label{{"compressed", "true, false"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Stream != nil {
				out(float64(p.Stream.OfferedBytes), "true")
				out(float64(p.Stream.OfferedRawBytes), "false")
			}
		}},
}

var captureFamilies = []Family{
	{Name: "ipfsmon_info", Kind: Gauge, Help: "Versions and name of this monitor; the value is 1.",
		Labels: []Label{{"version", "of ipfsmon"}, {"kubo", "its version"}, {"monitor", "the monitor's name"}},
		self:   func(m *Metrics, out emit) { out(1, m.cfg.Version, m.cfg.Kubo, m.cfg.Monitor) }},
	{Name: "ipfsmon_peers", Kind: Gauge, Help: "Connected peers by direction and transport of their oldest connection.",
		Labels: []Label{{"direction", "inbound, outbound"}, {"transport", strings.Join(event.Transports, ", ")}},
		sample: func(s *event.Sample, out emit) {
			for _, p := range s.Peers {
				way := "outbound"
				if p.Inbound {
					way = "inbound"
				}
				out(float64(p.Peers), way, p.Transport)
			}
		}},
	{Name: "ipfsmon_known_peers", Kind: Gauge, Help: "Peers in the node's peerstore.",
		sample: func(s *event.Sample, out emit) { out(float64(s.Known)) }},

	perDirection("ipfsmon_capture_messages_total", "Bitswap messages.", func(t *pipeline.Traffic) uint64 { return t.Messages }),
	{Name: "ipfsmon_capture_entries_total", Kind: Counter, Help: "Wants, cancels, presences and blocks in Bitswap messages.",
		Labels: []Label{direction, {"type", "want_block, want_have, cancel, have, dont_have, block"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			traffic(p, func(way string, t *pipeline.Traffic) {
				out(float64(t.WantBlock), way, "want_block")
				out(float64(t.WantHave), way, "want_have")
				out(float64(t.Cancel), way, "cancel")
				out(float64(t.Have), way, "have")
				out(float64(t.DontHave), way, "dont_have")
				out(float64(t.Blocks), way, "block")
			})
		}},
	perDirection("ipfsmon_capture_block_bytes_total", "Bytes of blocks in Bitswap messages.", func(t *pipeline.Traffic) uint64 { return t.BlockBytes }),
	perDirection("ipfsmon_capture_truncated_entries_total", "Entries that were counted, but left out of their event because it had too many.", func(t *pipeline.Traffic) uint64 { return t.Truncated }),
	ofCapture("ipfsmon_capture_limited_messages_total", "Messages that were counted, but made no event because their peer sent too many.", func(c *pipeline.Capture) uint64 { return c.Limited }),
	ofCapture("ipfsmon_capture_send_errors_total", "Messages that could not be sent, by libp2p or HTTP.", func(c *pipeline.Capture) uint64 { return c.SendErrors }),
	ofCapture("ipfsmon_capture_http_wants_total", "Wants asked by HTTP: HEAD requests for a HAVE, GET requests for a block.", func(c *pipeline.Capture) uint64 { return c.HTTPWants }),
	ofCapture("ipfsmon_capture_http_messages_total", "Answers that came by HTTP; no counter of Bitswap includes them.", func(c *pipeline.Capture) uint64 { return c.HTTPMessages }),
	ofCapture("ipfsmon_capture_http_blocks_total", "Blocks that came by HTTP.", func(c *pipeline.Capture) uint64 { return c.HTTPBlocks }),
	ofCapture("ipfsmon_capture_http_block_bytes_total", "Bytes of blocks that came by HTTP.", func(c *pipeline.Capture) uint64 { return c.HTTPBlockBytes }),
	{Name: "ipfsmon_capture_dht_requests_total", Kind: Counter, Help: "Requests of the DHT's protocol that have ended: received from peers, or sent by the node. A combination appears with its first request.",
		Labels: []Label{direction, {"type", strings.Join(event.DHTTypeNames[:], ", ")}, {"status", strings.Join(event.DHTStatusNames[:], ", ")}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			for _, r := range p.Capture.DHT {
				out(float64(r.Requests), r.Direction, r.Type, r.Status)
			}
		}},
	ofCapture("ipfsmon_capture_panics_total", "Panics recovered from while capturing.", func(c *pipeline.Capture) uint64 { return c.Panics }),

	{Name: "ipfsmon_bus_published_events_total", Kind: Counter, Help: "Events published to the queue.",
		pipeline: func(p *pipeline.Pipeline, out emit) { out(float64(p.Bus.Published)) }},
	{Name: "ipfsmon_bus_held_events", Kind: Gauge, Help: "Events in the queue.",
		pipeline: func(p *pipeline.Pipeline, out emit) { out(float64(p.Bus.Held)) }},
	{Name: "ipfsmon_bus_held_bytes", Kind: Gauge, Help: "Memory of the events in the queue.",
		pipeline: func(p *pipeline.Pipeline, out emit) { out(float64(p.Bus.HeldBytes)) }},
	perReader("ipfsmon_bus_read_events_total", Counter, "Events that a sink has read.", func(r *pipeline.Reader) uint64 { return r.Read }),
	perReader("ipfsmon_bus_missed_events_total", Counter, "Events that left the queue before a sink read them, because it was too slow.", func(r *pipeline.Reader) uint64 { return r.Missed }),
	perReader("ipfsmon_bus_behind_events", Gauge, "Events waiting for a sink.", func(r *pipeline.Reader) uint64 { return r.Behind }),
}

// deriveFamilies are about the parts between capture and the sinks.
var deriveFamilies = []Family{
	ofDerive("ipfsmon_derive_events_total", Counter, "Events that figures were derived from.", func(d *pipeline.Derive) uint64 { return d.Events }),
	ofDerive("ipfsmon_derive_wants_total", Counter, "Wants counted, of both directions.", func(d *pipeline.Derive) uint64 { return d.Wants }),
	ofDerive("ipfsmon_derive_matched_answers_total", Counter, "Answers to a waiting want.", func(d *pipeline.Derive) uint64 { return d.Matched }),
	ofDerive("ipfsmon_derive_unmatched_answers_total", Counter, "Answers to no waiting want.", func(d *pipeline.Derive) uint64 { return d.Unmatched }),
	ofDerive("ipfsmon_derive_expired_wants_total", Counter, "Wants that waited too long for an answer.", func(d *pipeline.Derive) uint64 { return d.Expired }),
	ofDerive("ipfsmon_derive_lost_wants_total", Counter, "Waiting wants evicted because of the memory limit.", func(d *pipeline.Derive) uint64 { return d.Lost }),
	ofDerive("ipfsmon_derive_lost_repeats_total", Counter, "Wants forgotten before a repeat of them would have counted.", func(d *pipeline.Derive) uint64 { return d.RepeatsLost }),
	ofDerive("ipfsmon_derive_latencies_total", Counter, "Latency events made, one per answer.", func(d *pipeline.Derive) uint64 { return d.Latencies }),
	ofDerive("ipfsmon_derive_held_back_latencies_total", Counter, "Latency events not made, because there were too many in a second.", func(d *pipeline.Derive) uint64 { return d.LatenciesHeld }),
	ofDerive("ipfsmon_derive_refused_events_total", Counter, "Derived events that the queue refused.", func(d *pipeline.Derive) uint64 { return d.Refused }),
	ofDerive("ipfsmon_derive_pending_wants", Gauge, "Wants waiting for an answer.", func(d *pipeline.Derive) uint64 { return d.Pending }),
	ofDerive("ipfsmon_derive_held_events", Gauge, "Events waiting to be put in order.", func(d *pipeline.Derive) uint64 { return d.Held }),
	ofDerive("ipfsmon_derive_floods_total", Counter, "Peers found that flood the node.", func(d *pipeline.Derive) uint64 { return d.Floods }),
	ofDerive("ipfsmon_derive_flooding_peers", Gauge, "Peers that flood the node now.", func(d *pipeline.Derive) uint64 { return d.Flooding }),
	ofDerive("ipfsmon_derive_lost_floods_total", Counter, "Peers that sent too much in two seconds, and could not be followed because too many did.", func(d *pipeline.Derive) uint64 { return d.FloodsLost }),
	ofDerive("ipfsmon_derive_panics_total", Counter, "Panics recovered from while deriving figures.", func(d *pipeline.Derive) uint64 { return d.Panics }),
	{Name: "ipfsmon_clock_steps_total", Kind: Counter, Help: "How often the wall clock was set by more than two seconds; a suspended machine counts as forward.",
		Labels: []Label{{"direction", "back, forward"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			out(float64(p.Clock.Back), "back")
			out(float64(p.Clock.Forward), "forward")
		}},
	{Name: "ipfsmon_origin_gateways", Kind: Gauge, Help: "Peers in the list of gateways.",
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Origin != nil {
				out(float64(p.Origin.Gateways))
			}
		}},
	{Name: "ipfsmon_privacy_mode", Kind: Gauge, Help: "What a sink gets to see; the value is 1.",
		Labels: []Label{{"sink", "stream, influx, broker"}, {"mode", "raw, pseudonym, aggregate"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			for _, s := range p.Privacy {
				out(1, s.Sink, s.Mode)
			}
		}},
	{Name: "ipfsmon_privacy_panics_total", Kind: Counter, Help: "Events left out for a sink because of a panic.",
		Labels: []Label{{"sink", "stream, influx, broker"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			for _, s := range p.Privacy {
				out(float64(s.Panics), s.Sink)
			}
		}},
}

var sinkFamilies = []Family{
	ofStream("ipfsmon_stream_subscribers", Gauge, "Subscribers of the stream.", func(s *pipeline.Stream) uint64 { return s.Subscribers }),
	ofStream("ipfsmon_stream_connections_total", Counter, "Connections to the stream.", func(s *pipeline.Stream) uint64 { return s.Accepted }),
	ofStream("ipfsmon_stream_refused_connections_total", Counter, "Connections that were closed because of a limit.", func(s *pipeline.Stream) uint64 { return s.Refused }),
	ofStream("ipfsmon_stream_failed_handshakes_total", Counter, "Connections closed because of a bad hello, or none in time.", func(s *pipeline.Stream) uint64 { return s.FailedHandshakes }),
	ofStream("ipfsmon_stream_failed_tokens_total", Counter, "Failed handshakes without a valid token.", func(s *pipeline.Stream) uint64 { return s.FailedTokens }),
	ofStream("ipfsmon_stream_kicked_subscribers_total", Counter, "Subscribers disconnected through the HTTP API.", func(s *pipeline.Stream) uint64 { return s.Kicked }),
	ofStream("ipfsmon_stream_encoded_events_total", Counter, "Events encoded for subscribers of version 3, each once for all of them.", func(s *pipeline.Stream) uint64 { return s.Events }),
	ofStream("ipfsmon_stream_batched_events_total", Counter, "Events put into batches of version 4, once for each group of subscribers with the same filter and encoding.", func(s *pipeline.Stream) uint64 { return s.BatchedEvents }),
	ofStream("ipfsmon_stream_sent_frames_total", Counter, "Frames sent to subscribers.", func(s *pipeline.Stream) uint64 { return s.SentFrames }),
	ofStream("ipfsmon_stream_sent_events_total", Counter, "Events sent to subscribers.", func(s *pipeline.Stream) uint64 { return s.SentEvents }),
	ofStream("ipfsmon_stream_sent_bytes_total", Counter, "Bytes sent to subscribers.", func(s *pipeline.Stream) uint64 { return s.SentBytes }),
	ofStream("ipfsmon_stream_dropped_frames_total", Counter, "Frames not sent because their subscriber was too slow.", func(s *pipeline.Stream) uint64 { return s.DroppedFrames }),
	ofStream("ipfsmon_stream_dropped_events_total", Counter, "Events not sent because their subscriber was too slow.", func(s *pipeline.Stream) uint64 { return s.DroppedEvents }),
	{Name: "ipfsmon_stream_slow_subscriber_dropped_events_total", Kind: Counter,
		Help:   "Events not sent to a connected subscriber because it was too slow.",
		Labels: []Label{{"subscriber", "those with most events dropped, 16 at most"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Stream != nil {
				for _, s := range p.Stream.Slow {
					out(float64(s.DroppedEvents), s.ID)
				}
			}
		}},
	ofStream("ipfsmon_stream_panics_total", Counter, "Panics recovered from in the stream.", func(s *pipeline.Stream) uint64 { return s.Panics }),

	ofInflux("ipfsmon_influx_events_total", "Events read for InfluxDB.", func(i *pipeline.Influx) uint64 { return i.Events }),
	ofInflux("ipfsmon_influx_panics_total", "Panics recovered from in the delivery to InfluxDB.", func(i *pipeline.Influx) uint64 { return i.Panics }),
	ofInflux("ipfsmon_influx_late_sums_total", "Points too late for the sum of their minute or hour.", func(i *pipeline.Influx) uint64 { return i.LateSums }),
	perDestination("ipfsmon_influx_accepted_points_total", Counter, "Points accepted for delivery, including those found on disk at the start.", func(d *pipeline.Destination) float64 { return float64(d.Accepted) }),
	perDestination("ipfsmon_influx_restored_points_total", Counter, "Points found on disk at the start.", func(d *pipeline.Destination) float64 { return float64(d.Restored) }),
	perDestination("ipfsmon_influx_stored_points_total", Counter, "Points that InfluxDB has stored.", func(d *pipeline.Destination) float64 { return float64(d.Stored) }),
	perDestination("ipfsmon_influx_dropped_points_total", Counter, "Points lost: no room, no time at shutdown, or damaged on disk.", func(d *pipeline.Destination) float64 { return float64(d.Dropped) }),
	perDestination("ipfsmon_influx_damaged_points_total", Counter, "Dropped points that were damaged on disk.", func(d *pipeline.Destination) float64 { return float64(d.Damaged) }),
	perDestination("ipfsmon_influx_rejected_points_total", Counter, "Points that InfluxDB rejected permanently.", func(d *pipeline.Destination) float64 { return float64(d.Rejected) }),
	perDestination("ipfsmon_influx_expired_points_total", Counter, "Rejected points that are older than the retention period.", func(d *pipeline.Destination) float64 { return float64(d.Expired) }),
	perDestination("ipfsmon_influx_others_points_total", Counter, "Points with a tag value replaced by others, because InfluxDB accepts no more values of the tag.", func(d *pipeline.Destination) float64 { return float64(d.Others) }),
	perDestination("ipfsmon_influx_queued_points", Gauge, "Points waiting for InfluxDB.", func(d *pipeline.Destination) float64 { return float64(d.Queued) }),
	perDestination("ipfsmon_influx_queued_bytes", Gauge, "Memory of the waiting points.", func(d *pipeline.Destination) float64 { return float64(d.QueueBytes) }),
	perDestination("ipfsmon_influx_lag_seconds", Gauge, "Age of the oldest waiting point.", func(d *pipeline.Destination) float64 { return d.LagSeconds }),
	perDestination("ipfsmon_influx_spool_bytes", Gauge, "Bytes on disk of the waiting points.", func(d *pipeline.Destination) float64 { return float64(d.SpoolBytes) }),
	perDestination("ipfsmon_influx_spool_full_ratio", Gauge, "How full the spool is; 1: at its bound.", func(d *pipeline.Destination) float64 { return d.SpoolFull }),
	perDestination("ipfsmon_influx_spool_failing", Gauge, "1 while the spool cannot use its disk and keeps points in memory only, else 0.", func(d *pipeline.Destination) float64 { return oneIf(d.SpoolError != "") }),
	perDestination("ipfsmon_influx_batch_points", Gauge, "Current limit of points per request.", func(d *pipeline.Destination) float64 { return float64(d.BatchSize) }),
	perDestination("ipfsmon_influx_requests", Gauge, "Current limit of concurrent requests.", func(d *pipeline.Destination) float64 { return float64(d.Requests) }),
	perDestination("ipfsmon_influx_failing", Gauge, "1 if the last request to InfluxDB failed, else 0.", func(d *pipeline.Destination) float64 { return oneIf(d.Failing) }),

	perExchange("ipfsmon_broker_accepted_events_total", Counter, "Events accepted for the AMQP broker, including those found on disk at the start.", func(x *pipeline.Exchange) float64 { return float64(x.Accepted) }),
	perExchange("ipfsmon_broker_restored_events_total", Counter, "Events found on disk at the start.", func(x *pipeline.Exchange) float64 { return float64(x.Restored) }),
	perExchange("ipfsmon_broker_delivered_events_total", Counter, "Events that the broker has confirmed.", func(x *pipeline.Exchange) float64 { return float64(x.Delivered) }),
	perExchange("ipfsmon_broker_dropped_events_total", Counter, "Events lost: no room, no time at shutdown, or damaged on disk.", func(x *pipeline.Exchange) float64 { return float64(x.Dropped) }),
	perExchange("ipfsmon_broker_damaged_events_total", Counter, "Dropped events that were damaged on disk.", func(x *pipeline.Exchange) float64 { return float64(x.Damaged) }),
	perExchange("ipfsmon_broker_rejected_events_total", Counter, "Events of messages that the broker never accepts.", func(x *pipeline.Exchange) float64 { return float64(x.Rejected) }),
	perExchange("ipfsmon_broker_queued_events", Gauge, "Events waiting for the broker.", func(x *pipeline.Exchange) float64 { return float64(x.Queued) }),
	perExchange("ipfsmon_broker_queued_bytes", Gauge, "Memory of the waiting events.", func(x *pipeline.Exchange) float64 { return float64(x.QueueBytes) }),
	perExchange("ipfsmon_broker_lag_seconds", Gauge, "Age of the oldest waiting event.", func(x *pipeline.Exchange) float64 { return x.LagSeconds }),
	perExchange("ipfsmon_broker_spool_bytes", Gauge, "Bytes on disk of the waiting events.", func(x *pipeline.Exchange) float64 { return float64(x.SpoolBytes) }),
	perExchange("ipfsmon_broker_spool_full_ratio", Gauge, "How full the spool is; 1: at its bound.", func(x *pipeline.Exchange) float64 { return x.SpoolFull }),
	perExchange("ipfsmon_broker_spool_failing", Gauge, "1 while the spool cannot use its disk and keeps events in memory only, else 0.", func(x *pipeline.Exchange) float64 { return oneIf(x.SpoolError != "") }),
	perExchange("ipfsmon_broker_connected", Gauge, "1 while the broker is connected, else 0.", func(x *pipeline.Exchange) float64 { return oneIf(x.Connected) }),
	perExchange("ipfsmon_broker_blocked", Gauge, "1 while the broker accepts nothing because of an alarm of its memory or disk, else 0.", func(x *pipeline.Exchange) float64 { return oneIf(x.Blocked) }),
	perExchange("ipfsmon_broker_failing", Gauge, "1 if the last attempt to send failed, else 0.", func(x *pipeline.Exchange) float64 { return oneIf(x.Failing) }),
	{Name: "ipfsmon_broker_panics_total", Kind: Counter, Help: "Panics recovered from in what is sent to the broker.",
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Broker != nil {
				out(float64(p.Broker.Panics))
			}
		}},

	ofStore("ipfsmon_store_up", Gauge, "1 while the embedded InfluxDB answers and accepts writes, else 0.", func(s *pipeline.Store) float64 { return oneIf(s.Up) }),
	ofStore("ipfsmon_store_restarts_total", Counter, "Restarts of the embedded InfluxDB.", func(s *pipeline.Store) float64 { return float64(s.Restarts) }),
	ofStore("ipfsmon_store_stuck_restarts_total", Counter, "Restarts because it accepted no writes although its disk did.", func(s *pipeline.Store) float64 { return float64(s.Stuck) }),
	ofStore("ipfsmon_store_hung_restarts_total", Counter, "Restarts because it did not answer.", func(s *pipeline.Store) float64 { return float64(s.Hung) }),

	{Name: "ipfsmon_http_requests_total", Kind: Counter, Help: "Requests to the HTTP API by route and status.",
		Labels: []Label{{"route", "the routes of the API, and other"}, {"code", "the statuses of the API"}},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.HTTP != nil {
				for _, r := range p.HTTP.Requests {
					out(float64(r.Count), r.Route, strconv.Itoa(r.Code))
				}
			}
		}},
	{Name: "ipfsmon_http_connections", Kind: Gauge, Help: "Open connections to the HTTP API.",
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.HTTP != nil {
				out(float64(p.HTTP.Connections))
			}
		}},
	{Name: "ipfsmon_http_refused_connections_total", Kind: Counter, Help: "Connections to the HTTP API closed at once, because the most that it may have were being served.",
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.HTTP != nil {
				out(float64(p.HTTP.Refused))
			}
		}},
	{Name: "ipfsmon_http_evicted_connections_total", Kind: Counter, Help: "Connections to the HTTP API closed to make room, because they had kept it waiting.",
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.HTTP != nil {
				out(float64(p.HTTP.Evicted))
			}
		}},
	{Name: "ipfsmon_http_panics_total", Kind: Counter, Help: "Panics recovered from in the HTTP API.",
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.HTTP != nil {
				out(float64(p.HTTP.Panics))
			}
		}},
	{Name: "ipfsmon_metrics_panics_total", Kind: Counter, Help: "Panics recovered from in these metrics.",
		self: func(m *Metrics, out emit) { out(float64(m.guard.Panics())) }},
}

func traffic(p *pipeline.Pipeline, f func(direction string, t *pipeline.Traffic)) {
	f(event.Received.String(), &p.Capture.Received)
	f(event.Sent.String(), &p.Capture.Sent)
}

func perDirection(name, help string, value func(*pipeline.Traffic) uint64) Family {
	return Family{Name: name, Kind: Counter, Help: help, Labels: []Label{direction},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			traffic(p, func(way string, t *pipeline.Traffic) { out(float64(value(t)), way) })
		}}
}

func ofCapture(name, help string, value func(*pipeline.Capture) uint64) Family {
	return Family{Name: name, Kind: Counter, Help: help,
		pipeline: func(p *pipeline.Pipeline, out emit) { out(float64(value(&p.Capture))) }}
}

func perReader(name string, kind Kind, help string, value func(*pipeline.Reader) uint64) Family {
	return Family{Name: name, Kind: kind, Help: help, Labels: []Label{reader},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			for i := range p.Bus.Readers {
				out(float64(value(&p.Bus.Readers[i])), p.Bus.Readers[i].Name)
			}
		}}
}

func ofStream(name string, kind Kind, help string, value func(*pipeline.Stream) uint64) Family {
	return Family{Name: name, Kind: kind, Help: help,
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Stream != nil {
				out(float64(value(p.Stream)))
			}
		}}
}

func ofInflux(name, help string, value func(*pipeline.Influx) uint64) Family {
	return Family{Name: name, Kind: Counter, Help: help,
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Influx != nil {
				out(float64(value(p.Influx)))
			}
		}}
}

func ofStore(name string, kind Kind, help string, value func(*pipeline.Store) float64) Family {
	return Family{Name: name, Kind: kind, Help: help,
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Store != nil {
				out(value(p.Store))
			}
		}}
}

func perDestination(name string, kind Kind, help string, value func(*pipeline.Destination) float64) Family {
	return Family{Name: name, Kind: kind, Help: help, Labels: []Label{destination},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Influx != nil {
				for i := range p.Influx.Destinations {
					out(value(&p.Influx.Destinations[i]), p.Influx.Destinations[i].Name)
				}
			}
		}}
}

func perExchange(name string, kind Kind, help string, value func(*pipeline.Exchange) float64) Family {
	return Family{Name: name, Kind: kind, Help: help, Labels: []Label{format},
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Broker != nil {
				for i := range p.Broker.Exchanges {
					out(value(&p.Broker.Exchanges[i]), p.Broker.Exchanges[i].Name)
				}
			}
		}}
}

func ofDerive(name string, kind Kind, help string, value func(*pipeline.Derive) uint64) Family {
	return Family{Name: name, Kind: kind, Help: help,
		pipeline: func(p *pipeline.Pipeline, out emit) {
			if p.Derive != nil {
				out(float64(value(p.Derive)))
			}
		}}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
