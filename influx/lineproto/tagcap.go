package lineproto

import (
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// An InfluxDB 1.x whose index is in memory takes only so many values of a tag
// (max-values-per-tag) and refuses points with others. Which values come first
// is then a matter of chance, or of who made some up. Of our open tags such a
// value becomes others: in the encoder for all values that are new from then
// on, and in the lines that are on their way.

// tagValue is a value of a tag of a measurement.
type tagValue struct{ measurement, tag, value string }

// TagFull has the encoder use others for a value of an open tag, and for all
// values of that tag that it has not written yet. It may be called from any
// goroutine.
func (e *Encoder) TagFull(measurement, tag, value string) {
	e.fullMu.Lock()
	defer e.fullMu.Unlock()
	e.full = append(e.full, tagValue{measurement, tag, value})
	e.hasFull.Store(true)
}

// closeFull applies the calls of TagFull, between two samples.
func (e *Encoder) closeFull() {
	if !e.hasFull.Load() {
		return
	}
	e.fullMu.Lock()
	defer e.fullMu.Unlock()
	e.hasFull.Store(false)
	for _, v := range e.full {
		for m, t := range e.tables {
			if m.Name == v.measurement && t.names != nil && schema.OpenTag(v.measurement, v.tag) {
				t.names.close(v.value)
			}
		}
	}
	e.full = nil
}
