package event

import "time"

// Pipeline is how the monitor itself stands at the time of a sample: its
// counters since its start, and what waits now. What is off is 0.
type Pipeline struct {
	Limited    uint64 // messages without an event because of their peer's rate
	SendErrors uint64 // messages that could not be sent

	Published uint64 // events that the bus accepted
	Held      uint64 // events in the bus now
	HeldBytes uint64
	Missed    uint64 // events that left the bus before a sink read them, of all sinks together

	Accepted   uint64 // points encoded
	Stored     uint64 // points that InfluxDB has
	Dropped    uint64 // points lost
	Rejected   uint64 // points that InfluxDB refused
	Queued     uint64 // points that wait now
	QueueBytes uint64
	Lag        time.Duration // age of the oldest of them
	SpoolBytes uint64        // on disk
	SpoolFull  float64       // part of the disk that it may use; 1 is full

	Subscribers   uint64 // of the event stream, now
	StreamDropped uint64 // events that subscribers did not get because they were slow

	Panics uint64 // panics recovered from; each lost an event
}

// Lost returns how many events and points were lost on the way.
func (p *Pipeline) Lost() uint64 { return p.Missed + p.Dropped + p.Rejected }
