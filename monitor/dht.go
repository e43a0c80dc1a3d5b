package monitor

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// dhtRequests returns the counters of the DHT's requests, without those that are
// 0.
func (m *Monitor) dhtRequests() []pipeline.DHTRequests {
	out := []pipeline.DHTRequests{} // never null in JSON
	wan, lan := m.capture.DHTRequests(false), m.capture.DHTRequests(true)
	for d := range event.Directions {
		for t := range event.DHTTypes {
			for s := range event.DHTStatuses {
				if n := wan[d][t][s] + lan[d][t][s]; n > 0 {
					out = append(out, pipeline.DHTRequests{Direction: d.String(), Type: t.String(), Status: s.String(), Requests: n})
				}
			}
		}
	}
	return out
}
