package event

import "time"

// ClockStep reports that the wall clock was set. The event's Time is by the new
// clock. A machine that was suspended looks the same.
type ClockStep struct {
	By time.Duration // how far the clock moved; negative: back
}
