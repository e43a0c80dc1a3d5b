package schema

import (
	"fmt"
	"slices"
	"time"
)

// Rollup is a measurement of totals that the monitor sums from the points of a measurement of
// history, such as wants_1m and wants_1h of wants.
type Rollup struct {
	Of    *Measurement
	Every time.Duration // length of an interval; a point's time is its beginning
}

// RollupSpans are the lengths of the intervals.
var RollupSpans = [...]time.Duration{time.Minute, time.Hour}

// RollupSuffix returns the end of the names of the rollups of a length.
func RollupSuffix(every time.Duration) string {
	if every%time.Hour == 0 {
		return fmt.Sprintf("_%dh", every/time.Hour)
	}
	return fmt.Sprintf("_%dm", every/time.Minute)
}

// Name returns the name of the rollup's measurement.
func (r Rollup) Name() string { return r.Of.Name + RollupSuffix(r.Every) }

// By lists the tags that it keeps; always those of a proxy's sides, which a node's points lack.
func (r Rollup) By() []string {
	var by []string
	for _, tag := range r.Of.AllTags() {
		if r.Of.RollupBy == nil || slices.Contains(r.Of.RollupBy, tag.Key) || slices.ContainsFunc(sideTags, func(t Tag) bool { return t.Key == tag.Key }) {
			by = append(by, tag.Key)
		}
	}
	return by
}

// Series returns the maximum number of series for one node.
func (r Rollup) Series() int {
	n, by := 1, r.By()
	for i := range r.Of.Tags {
		if slices.Contains(by, r.Of.Tags[i].Key) {
			n *= r.Of.Tags[i].Size()
		}
	}
	return n
}

// Rollups lists the rollups of a measurement.
func (m *Measurement) Rollups() (all []Rollup) {
	if m.Rollup == nil {
		return nil
	}
	for _, every := range RollupSpans {
		all = append(all, Rollup{m, every})
	}
	return all
}

// Rollups lists all rollups of the schema.
func Rollups() (all []Rollup) {
	for _, m := range Summed() {
		all = append(all, m.Rollups()...)
	}
	return all
}

// RollupNames returns the names of the rollups, which are those of the continuous queries that computed them for
// earlier versions of the monitor.
func RollupNames() (names []string) {
	for _, r := range Rollups() {
		names = append(names, r.Name())
	}
	return names
}

// TaskName returns the name of the task in InfluxDB 2 that computed the rollup of a bucket for
// earlier versions of the monitor, as the continuous query Name did in InfluxDB 1.x.
func (r Rollup) TaskName(bucket string) string { return bucket + " " + r.Name() }
