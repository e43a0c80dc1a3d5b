package monitor

import (
	"cmp"
	"iter"
	"maps"
	"runtime"
	"slices"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/httpapi/broadcast"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/release"
	"github.com/ipfsmon/ipfsmon/introspect/ui"
	"github.com/ipfsmon/ipfsmon/privacy"
	"github.com/ipfsmon/ipfsmon/stream"
)

// deps returns the functions that the HTTP API calls, so that it depends on no other part.
func (m *Monitor) deps() httpapi.Deps {
	d := httpapi.Deps{
		MonitoringAddresses: m.StreamAddresses,
		Healthy:             m.readiness.healthy,
		Ready:               m.ready,
		Version: func() httpapi.Version {
			return httpapi.Version{Version: Version, Commit: release.Commit(), Plugin: Name, Kubo: m.watched.Kubo,
				Go: runtime.Version(), Monitor: m.Config.MonitorName}
		},
		Pipeline: m.pipeline,
		Metrics:  m.metricsHandler(),
	}
	if m.stream != nil {
		d.Subscribers, d.Kick = m.subscribers, m.stream.Kick
	}
	if m.introspect != nil {
		d.Introspect, d.Page = m.introspect.server, ui.Handler()
	}
	if c := m.Config.InfluxDB; c != nil && c.URL != "" {
		d.History = m.history
	}
	// Functions that name peers and CIDs are set only if the stream may name them.
	named := m.Config.StreamPrivacy == privacy.Raw
	if named {
		d.Top, d.Coverage, d.Floods = m.top, m.coverage, m.floods
	}
	if f := m.watched.Fleet; f != nil {
		d.Fleet, d.FleetPast, d.Page = func() any { return f.Status(named) }, f.Past, f.Page
	}
	if h := m.watched.Host; h != nil { // an offline daemon has none
		if named {
			d.Peers = func(onlyConnected bool) (int, iter.Seq[httpapi.PeerMetadata]) { return peerMetadata(h, onlyConnected) }
		}
		if !m.watched.NoBroadcast {
			m.broadcaster = broadcast.New(h, m.capture.MessageSent, m.log)
			d.Broadcaster = m.broadcaster
		}
	}
	return d
}

func (m *Monitor) subscribers() []httpapi.Subscriber {
	all := m.stream.Stats().Subscribers
	out := make([]httpapi.Subscriber, 0, len(all))
	for _, s := range all {
		out = append(out, httpapi.Subscriber{
			ID: s.ID, Since: s.Since.UTC(), Version: s.Version, Encoding: s.Encoding, Filter: event.Clean(s.Filter, maxFilterText),
			QueuedBytes: uint64(s.QueuedBytes), QueueLimit: uint64(s.QueueLimit),
			SentFrames: s.SentFrames, SentBytes: s.SentBytes, SentEvents: s.SentEvents,
			DroppedFrames: s.DroppedFrames, DroppedEvents: s.DroppedEvents,
		})
	}
	return out
}

// maxFilterText bounds the text of a subscriber's filter, in bytes.
const maxFilterText = 4 << 10

// pipeline returns the counters of every part.
func (m *Monitor) pipeline() pipeline.Pipeline {
	b := m.bus.Stats()
	p := pipeline.Pipeline{
		Capture: pipeline.Capture{
			Received: pipeline.Traffic(m.capture.Traffic(event.Libp2p, event.Received)),
			Sent:     pipeline.Traffic(m.capture.Traffic(event.Libp2p, event.Sent)),
			Limited:  m.capture.Limited(), Panics: m.capture.Panics(), DHT: m.dhtRequests(),
		},
		Bus:     pipeline.Bus{Published: b.Published, Held: uint64(b.Held), HeldBytes: uint64(b.Bytes), Readers: []pipeline.Reader{}},
		Privacy: []pipeline.Privacy{},
		Clock:   m.clock.status(),
	}
	web := m.capture.Traffic(event.HTTP, event.Received)
	asked := m.capture.Traffic(event.HTTP, event.Sent)
	p.Capture.HTTPWants = asked.WantBlock + asked.WantHave
	p.Capture.SendErrors = m.capture.SendErrors(event.Libp2p) + m.capture.SendErrors(event.HTTP)
	p.Capture.HTTPMessages, p.Capture.HTTPBlocks, p.Capture.HTTPBlockBytes = web.Messages, web.Blocks, web.BlockBytes
	if m.watched.Panics != nil {
		p.Capture.Panics += m.watched.Panics()
	}
	for _, r := range b.Readers {
		p.Bus.Readers = append(p.Bus.Readers, pipeline.Reader{Name: r.Name, Read: r.Read, Missed: r.Missed, Behind: r.Behind})
	}
	if !m.up.Load() {
		return p // the parts are still being created
	}
	if m.derive != nil {
		d := m.derive.Stats()
		p.Derive = &pipeline.Derive{
			Events: d.Events, Wants: d.Wants, Matched: d.Matched, Unmatched: d.Unmatched, Expired: d.Expired, Lost: d.Lost, RepeatsLost: d.RepeatsLost,
			Latencies: d.Latencies, LatenciesHeld: d.LatenciesHeld, Refused: d.Refused, Pending: uint64(d.Pending), Held: uint64(d.Held), Panics: d.Panics,
			Floods: d.Floods, Flooding: uint64(d.Flooding), FloodsLost: d.FloodsLost,
		}
	}
	if m.origin != nil {
		p.Origin = &pipeline.Origin{Gateways: uint64(m.origin.Gateways())}
		p.Capture.Panics += m.origin.Panics()
	}
	for _, sink := range slices.Sorted(maps.Keys(m.filters)) {
		p.Privacy = append(p.Privacy, pipeline.Privacy{Sink: sink, Mode: string(m.filters[sink].Mode()), Panics: m.filters[sink].Panics()})
	}
	if m.stream != nil {
		s := m.stream.Stats()
		p.Stream = &pipeline.Stream{
			Subscribers: uint64(len(s.Subscribers)), Accepted: s.Accepted, Refused: s.Refused,
			FailedHandshakes: s.FailedHandshakes, FailedTokens: s.FailedTokens, Events: s.Events, BatchedEvents: s.BatchedEvents,
			OfferedRawBytes: s.OfferedRawBytes, OfferedBytes: s.OfferedBytes,
			SentFrames: s.SentFrames, SentBytes: s.SentBytes, SentEvents: s.SentEvents,
			DroppedFrames: s.DroppedFrames, DroppedEvents: s.DroppedEvents, Kicked: s.Kicked, Panics: s.Panics,
			Slow: slow(s.Subscribers),
		}
	}
	if m.influx != nil {
		i := m.influx.Stats()
		p.Influx = &pipeline.Influx{Events: i.Events, Delivery: i.Delivery, Panics: i.Panics, LateSums: i.LateSums, Destinations: []pipeline.Destination{}}
		for _, d := range i.Destinations {
			p.Influx.Destinations = append(p.Influx.Destinations, pipeline.Destination{Name: d.Name, URL: d.URL, Delivery: d.Delivery})
		}
	}
	p.Broker = m.brokerStatus()
	if m.watched.Store != nil {
		s := m.watched.Store()
		p.Store = &s
	}
	if m.http != nil {
		h := m.http.Stats()
		if m.broadcaster != nil {
			h.Panics += m.broadcaster.Panics()
		}
		p.HTTP = &h
	}
	return p
}

// slow returns the subscribers that missed events.
func slow(all []stream.SubscriberStats) []pipeline.Slow {
	out := []pipeline.Slow{} // never null in JSON
	for _, s := range all {
		if s.DroppedFrames > 0 || s.DroppedEvents > 0 {
			out = append(out, pipeline.Slow{ID: s.ID, DroppedFrames: s.DroppedFrames, DroppedEvents: s.DroppedEvents})
		}
	}
	slices.SortFunc(out, func(a, b pipeline.Slow) int {
		return cmp.Or(cmp.Compare(b.DroppedEvents, a.DroppedEvents), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), pipeline.MaxSlow)]
}

// topEntry is one row of the HTTP API's /top.
type topEntry struct {
	CID   string `json:"cid,omitempty"`
	Peer  string `json:"peer,omitempty"`
	Agent string `json:"agent,omitempty"`
	Wants uint64 `json:"wants"`
	Error uint64 `json:"error"` // maximum error of wants
	Peers uint64 `json:"peers,omitempty"`
}

// top returns the most wanted CIDs, or the peers that wanted most, in the last complete
// interval; before there is one, in the current interval.
func (m *Monitor) top(kind string, n int) (any, error) {
	t, err := m.derive.Top(kind, n)
	if err != nil {
		return nil, err
	}
	r := t.Last
	if r.Until.IsZero() {
		r = t.Running
	}
	out := make([]topEntry, 0, len(r.CIDs)+len(r.Peers))
	for _, c := range r.CIDs {
		out = append(out, topEntry{CID: c.CID.String(), Wants: c.Wants, Error: c.Error, Peers: c.Peers})
	}
	for _, p := range r.Peers {
		out = append(out, topEntry{Peer: p.Peer.String(), Agent: string(p.Agent), Wants: p.Wants, Error: p.Error})
	}
	return out, nil
}

// coverage returns that of the last complete interval.
func (m *Monitor) coverage() []httpapi.Coverage {
	var out []httpapi.Coverage
	for _, f := range m.derive.Coverage().Families {
		out = append(out, httpapi.Coverage(f))
	}
	return out
}

// traffic returns the counters of Bitswap over libp2p in one direction.
func (m *Monitor) traffic(d event.Direction) event.Traffic { return m.capture.Traffic(event.Libp2p, d) }
