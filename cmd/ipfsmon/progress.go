package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// newBar returns a bar of total steps on a terminal, or a spinner that counts if
// total is -1. Finish removes it.
func newBar(w io.Writer, total int, label string) *progressbar.ProgressBar {
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(label),
		progressbar.OptionSetPredictTime(total >= 0), progressbar.OptionSetElapsedTime(true), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionShowCount(), progressbar.OptionShowTotalBytes(total >= 0), progressbar.OptionSetWidth(30), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish())
}

// bars prints progress bars on a terminal, one after the other, and lines elsewhere.
type bars struct {
	w        io.Writer
	terminal bool
	bar      *progressbar.ProgressBar
	label    string
}

func newBars(w io.Writer, terminal bool) *bars { return &bars{w: w, terminal: terminal} }

// step returns the function to call with the progress of a part. Calls must not
// overlap.
func (b *bars) step(label string) func(done, total int) {
	return func(done, total int) {
		if b.label != label {
			b.end()
			b.label = label
			if b.terminal {
				b.bar = newBar(b.w, total, label)
			} else {
				fmt.Fprintf(b.w, "%s: %d\n", label, total)
			}
		}
		if b.bar != nil {
			_ = b.bar.Set(done) // an error affects the bar only
		}
	}
}

func (b *bars) end() {
	if b.bar != nil {
		_ = b.bar.Finish() // an error affects the bar only
		b.bar = nil
	}
}

// progressAfter is when the progress of a query appears.
const progressAfter = 500 * time.Millisecond

// progress shows on a terminal that a query is running, if it takes long. It is an
// output of the query that passes everything to another one.
type progress struct {
	client.Output
	same  bool // the answer goes to a terminal too: its first row removes the line
	timer *time.Timer

	mu   sync.Mutex
	rows int
	bar  *progressbar.ProgressBar // nil while nothing is shown
	over bool
}

// newProgress begins to show; stop takes the line away.
func newProgress(w io.Writer, to client.Output, same bool) *progress {
	p := &progress{Output: to, same: same}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(progressAfter, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.over {
			p.bar = newBar(w, -1, "querying, rows:")
			_ = p.bar.Add(p.rows) // an error affects the bar only
		}
	})
	return p
}

func (p *progress) stop() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil && !p.over {
		_ = p.bar.Finish() // an error affects the bar only
	}
	p.over = true
}

func (p *progress) Series(name string, labels []client.Label, columns []string) error {
	if p.same {
		p.stop()
	}
	return p.Output.Series(name, labels, columns)
}

func (p *progress) Row(values []any) error {
	p.mu.Lock()
	p.rows++
	if p.bar != nil {
		_ = p.bar.Add(1)
	}
	p.mu.Unlock()
	return p.Output.Row(values)
}

func (p *progress) Close() error {
	p.stop()
	return p.Output.Close()
}
