package event

import "time"

// ClockStep is that the wall clock was set: it no longer shows what it would
// show had it gone on. The event's Time is by the new clock. A machine that
// slept looks the same.
type ClockStep struct {
	By time.Duration // how far; negative: back
}
