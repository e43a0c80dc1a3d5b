package lineproto

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// probeNames are the values of the probe's open tags, of which its measurements
// have two; made with the first point.
type probeNames struct{ fleets, regions *names }

// probe writes one measurement of the DHT probe.
func (e *Encoder) probe(b []byte, ev *event.Event) []byte {
	if e.probeNames.fleets == nil {
		e.probeNames = probeNames{newNames(schema.MaxFleets, nil), newNames(schema.MaxRegions, nil)}
	}
	p := ev.Probe
	t := e.tables[schema.DHTRetrieve]
	if p.Provide {
		t = e.tables[schema.DHTProvide]
	}
	success, target := sets.Bit(p.Error == ""), schema.ProbeTags[4].Index(p.Target)
	fleet, region := e.probeNames.fleets.at(p.Fleet), e.probeNames.regions.at(p.Region)
	series := ((fleet*schema.MaxRegions+region)*2+success)*len(event.ProbeTargets) + target
	if t.series[series] == "" {
		key := t.m.Name
		for i, v := range []string{e.probeNames.fleets.list[fleet], "", e.probeNames.regions.list[region], schema.ProbeTags[3].Values[success], schema.ProbeTags[4].Values[target]} {
			key += "," + schema.ProbeTags[i].Key + "="
			if schema.ProbeTags[i].Key == "node" {
				key += e.node
				continue
			}
			key = string(AppendTag([]byte(key), v))
		}
		t.series[series] = key
	}
	e.setPeer(ev.Peer)
	w := e.begin(t, b, series)
	w.int(p.Duration.Microseconds())
	w.cid(p.CID)
	w.raw(e.peerText)
	w.text(p.Error)
	for _, n := range []int{p.Table, p.Hops, p.RPCs, p.FailedRPCs, p.Dials, p.FailedDials} {
		w.int(int64(n))
	}
	for _, d := range p.HopTimes {
		w.int(d.Microseconds())
	}
	return w.end(t.stamp(ev.Time))
}
