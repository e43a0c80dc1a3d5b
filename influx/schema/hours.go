package schema

import "fmt"

// The lists of intervals as sums of each hour, so that a question about a week reads some thousand points.
var (
	TopCIDsHours       = hoursOf(TopCIDs)
	TopPeersHours      = hoursOf(TopPeers)
	TopMissingHours    = hoursOf(TopMissing)
	TopBytesCIDsHours  = hoursOf(TopBytesCIDs)
	TopBytesPeersHours = hoursOf(TopBytesPeers)
	DHTTopHours        = hoursOf(DHTTop)
	FleetTopHours      = hoursOf(FleetTop)
)

// Hours are the measurements of lists that are summed by hours.
var Hours = map[*Measurement]*Measurement{TopCIDs: TopCIDsHours, TopPeers: TopPeersHours, TopMissing: TopMissingHours, TopBytesCIDs: TopBytesCIDsHours,
	TopBytesPeers: TopBytesPeersHours, DHTTop: DHTTopHours, FleetTop: FleetTopHours}

// HoursSuffix is the end of their names.
const HoursSuffix = "_1h"

func hoursOf(m *Measurement) *Measurement {
	name, number := "", ""
	for _, f := range m.Fields {
		if name == "" && f.Type == String {
			name = f.Key
		}
		if number == "" && f.Type == Int {
			number = f.Key
		}
	}
	h := *m
	h.Name = m.Name + HoursSuffix
	h.Point = fmt.Sprintf("a place in a list of an hour: sums of what the lists of %s have in that hour so far, peers and monitors the greatest. Its time is the hour's beginning, or that of the monitor's first list in it, and it is written again with each list", m.Name)
	h.Query = fmt.Sprintf("SELECT %s, %s FROM totals.%s WHERE time > now() - 7d AND rank = '01'", name, number, h.Name)
	return &h
}
