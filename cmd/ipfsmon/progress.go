package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// When the line of progress appears, and how often it is updated.
const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// progress shows on a terminal that a query is running, if it takes long. It is an
// output of the query that passes everything to another one.
type progress struct {
	client.Output
	w      io.Writer
	same   bool // the answer goes to a terminal too: its first row removes the line
	rows   atomic.Int64
	once   sync.Once
	ending chan struct{}
	done   chan struct{}
}

// newProgress begins to show; stop takes the line away.
func newProgress(w io.Writer, to client.Output, same bool) *progress {
	p := &progress{Output: to, w: w, same: same, ending: make(chan struct{}), done: make(chan struct{})}
	go p.show()
	return p
}

func (p *progress) show() {
	defer close(p.done)
	begin := time.Now()
	wait := time.NewTimer(progressAfter)
	defer wait.Stop()
	for i, shown := 0, false; ; i++ {
		select {
		case <-wait.C:
			fmt.Fprintf(p.w, "\r\x1b[K%c querying, %d s, %d rows", []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[i%10], int(time.Since(begin).Seconds()), p.rows.Load())
			shown = true
			wait.Reset(progressEvery)
		case <-p.ending:
			if shown {
				fmt.Fprint(p.w, "\r\x1b[K")
			}
			return
		}
	}
}

func (p *progress) stop() {
	p.once.Do(func() { close(p.ending) })
	<-p.done
}

func (p *progress) Series(name string, labels []client.Label, columns []string) error {
	if p.same {
		p.stop()
	}
	return p.Output.Series(name, labels, columns)
}

func (p *progress) Row(values []any) error {
	p.rows.Add(1)
	return p.Output.Row(values)
}

func (p *progress) Close() error {
	p.stop()
	return p.Output.Close()
}
