package schema

import (
	"maps"
	"slices"
)

// What is written with each sample of the node by a name, in dozens of series, once more for each minute: graphs of a week
// read a sixth.
var (
	AgentVersionsMinutes = minutesOf(AgentVersions)
	StreamsMinutes       = minutesOf(Streams)
	BandwidthMinutes     = minutesOf(Bandwidth)
)

// Minutes are the measurements of totals that are summed by minutes.
var Minutes = map[*Measurement]*Measurement{AgentVersions: AgentVersionsMinutes, Streams: StreamsMinutes, Bandwidth: BandwidthMinutes}

// MinutesSuffix is the end of their names.
const MinutesSuffix = "_1m"

func minutesOf(m *Measurement) *Measurement {
	of := *m
	of.Name = m.Name + MinutesSuffix
	of.Point = "what " + m.Name + " has in a minute: the rounded mean, and of counters the last. Its time is the minute's beginning"
	of.Query = "SELECT mean(" + m.Fields[0].Key + ") FROM totals." + of.Name + " WHERE time > now() - 7d GROUP BY time(1h)"
	return &of
}

// OfRollups reports whether the measurement is of minutes or hours of totals, which are written
// where rollups are.
func (m *Measurement) OfRollups() bool {
	return slices.Contains(slices.Collect(maps.Values(Minutes)), m) || slices.Contains(slices.Collect(maps.Values(Hours)), m)
}
