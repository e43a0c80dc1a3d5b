package influx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// Bounds of the destinations without an answer.
const (
	// maxDatagram keeps a datagram within one packet of Ethernet.
	maxDatagram = 1400
	// DefaultUDPRate is what an InfluxDB with the defaults of its system takes
	// without loss, in points a second.
	DefaultUDPRate = 50_000
	// reopenEvery is how soon a destination that failed is opened again.
	reopenEvery = time.Second
)

// outlet is a destination that gives no answer: what it took cannot be asked
// back. It is for one goroutine.
type outlet interface {
	// write takes whole lines of a kind; some may wait for flush. It may block.
	write(ctx context.Context, kind Kind, lines []byte)
	flush()
	close()
}

// plain is the way of the points to an outlet: without batches, queue or
// second try. What the outlet cannot take is dropped and counted; while it
// blocks, the bus drops what is oldest and that is counted as missed.
type plain struct {
	set   *settings
	lines *lines
	out   outlet

	stored, dropped, rejected atomic.Uint64
	last                      atomic.Pointer[failure]
	failing                   atomic.Bool
	over                      atomic.Bool // what waits is lost
}

type failure struct {
	text string
	at   time.Time
}

// newPlain returns nil if the destination is a server.
func newPlain(set *settings, lines *lines) *plain {
	p := &plain{set: set, lines: lines}
	switch set.base.Scheme {
	case "udp":
		p.out = &datagrams{p: p, rate: float64(set.UDPRate)}
	case "file", "stdout":
		p.out = &lineFile{p: p, path: set.base.Path}
	default:
		return nil
	}
	return p
}

func (p *plain) ok(points int) {
	p.stored.Add(uint64(points))
	p.failing.Store(false)
}

func (p *plain) lost(points int, err error) {
	p.dropped.Add(uint64(points))
	p.last.Store(&failure{err.Error(), time.Now()})
	p.failing.Store(true)
	p.lines.unwritten.Warn(p.set.log, "influx: points dropped, the destination does not take them", "points", points, "url", p.set.base.Redacted(), "err", err)
}

// runPlain is Run for an outlet.
func (s *Sink) runPlain(ctx context.Context, r *bus.Reader) error {
	done := make(chan struct{})
	go func() { // ends with the bus or ctx; one that hangs in a pipe ends with the process
		defer close(done)
		s.feed(ctx, r)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	case <-time.After(closeTimeout):
		s.plain.over.Store(true)
		return fmt.Errorf("influx: %s took nothing for %v at the end", s.set.base.Redacted(), closeTimeout)
	}
}

func (s *Sink) feed(ctx context.Context, r *bus.Reader) {
	defer s.plain.out.close()
	var bufs [Kinds][]byte
	buf := make([]*event.Event, 256)
	last := time.Now()
	for {
		waiting, cancel := context.WithTimeout(ctx, max(time.Until(last.Add(s.set.flush)), 0))
		n, missed, err := r.Next(waiting, buf)
		cancel()
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			bufs = s.takePlain(bufs, &event.Event{Time: time.Now().UnixNano(), Kind: kindEnd})
			if len(bufs[Totals]) > 0 {
				s.plain.out.write(ctx, Totals, bufs[Totals])
			}
			s.plain.out.flush()
			return
		}
		if missed > 0 {
			s.missed.Add(missed)
			s.lines.missed.Warn(s.set.log, "influx: events were lost before they could be read", "missed", int(missed))
		}
		for i := range n {
			bufs = s.takePlain(bufs, buf[i])
			buf[i] = nil
		}
		s.events.Add(uint64(n))
		for k := range bufs {
			if len(bufs[k]) > 0 {
				s.plain.out.write(ctx, Kind(k), bufs[k])
				bufs[k] = bufs[k][:0]
			}
		}
		if time.Since(last) >= s.set.flush {
			s.plain.out.flush()
			s.lines.each((*throttle.Loss).Tick)
			last = time.Now()
		}
	}
}

// takePlain encodes one event. A panic costs that event.
func (s *Sink) takePlain(bufs [Kinds][]byte, ev *event.Event) (out [Kinds][]byte) {
	out = bufs
	defer func() {
		if p := recover(); p != nil {
			out = bufs
			s.guard.Caught(p, "influx: encode an event")
		}
	}()
	s.enc.Prepare(ev)
	grown, points := s.enc.Append(bufs, ev)
	for _, n := range points {
		s.taken.Add(uint64(n))
	}
	return grown
}

func (p *plain) delivery(accepted uint64) Delivery {
	d := Delivery{Accepted: accepted, Stored: p.stored.Load(), Dropped: p.dropped.Load(), Rejected: p.rejected.Load(), Failing: p.failing.Load()}
	d.Queued = int(max(int64(d.Accepted)-int64(d.Stored+d.Dropped+d.Rejected), 0))
	if p.over.Load() {
		d.Dropped, d.Queued = d.Dropped+uint64(d.Queued), 0
	}
	if f := p.last.Load(); f != nil {
		d.LastErr, d.LastTime = f.text, f.at
	}
	return d
}

// datagrams sends lines in UDP datagrams, whole lines only, and no more points
// a second than its rate.
type datagrams struct {
	p      *plain
	rate   float64 // points a second
	conn   [Kinds]net.Conn
	buf    [Kinds][]byte
	points [Kinds]int
	free   time.Time // when the next datagram may go
	retry  time.Time // when to open a socket again
	err    error     // why not sooner
}

func (d *datagrams) write(ctx context.Context, kind Kind, lines []byte) {
	for line := range bytes.Lines(lines) {
		if len(line) > maxDatagram {
			d.p.rejected.Add(1)
			d.p.lines.tooLong.Warn(d.p.set.log, "influx: points rejected, they do not fit into a datagram", "points", 1, "bytes", len(line), "most", maxDatagram)
			continue
		}
		if len(d.buf[kind])+len(line) > maxDatagram {
			d.pace(ctx, d.points[kind])
			d.send(kind)
		}
		d.buf[kind] = append(d.buf[kind], line...)
		d.points[kind]++
	}
}

// pace waits until so many points may be sent. Waits shorter than a timer can
// measure are put together.
func (d *datagrams) pace(ctx context.Context, points int) {
	now := time.Now()
	if d.free.Before(now) {
		d.free = now
	}
	if wait := d.free.Sub(now); wait > 2*time.Millisecond {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	d.free = d.free.Add(time.Duration(float64(points) / d.rate * float64(time.Second)))
}

func (d *datagrams) send(kind Kind) {
	points := d.points[kind]
	if points == 0 {
		return
	}
	defer func() { d.buf[kind], d.points[kind] = d.buf[kind][:0], 0 }()
	if d.conn[kind] == nil {
		if time.Now().Before(d.retry) {
			d.p.lost(points, d.err)
			return
		}
		conn, err := net.Dial("udp", d.p.set.udp[kind])
		if err != nil {
			d.err, d.retry = err, time.Now().Add(reopenEvery)
			d.p.lost(points, err)
			return
		}
		d.conn[kind] = conn
	}
	if _, err := d.conn[kind].Write(d.buf[kind]); err != nil {
		// An answer to an earlier datagram: nobody listens there. A name may
		// have a new address by now.
		if errors.Is(err, syscall.ECONNREFUSED) && d.p.failing.Load() {
			d.conn[kind].Close()
			d.conn[kind], d.err, d.retry = nil, err, time.Now().Add(reopenEvery)
		}
		d.p.lost(points, err)
		return
	}
	d.p.ok(points)
}

func (d *datagrams) flush() {
	for k := range d.buf {
		d.send(Kind(k))
	}
}

func (d *datagrams) close() {
	for _, c := range d.conn {
		if c != nil {
			c.Close()
		}
	}
}

// lineFile appends lines to a file, or to standard output where path is empty.
type lineFile struct {
	p     *plain
	path  string
	f     *os.File
	size  int64     // of a file with a path
	retry time.Time // when to open it again
	err   error     // why not sooner
}

func (l *lineFile) open() error {
	if l.f != nil {
		return nil
	}
	if l.path == "" {
		out := l.p.set.Stdout
		if out == nil {
			out = os.Stdout
		}
		// Go ends the process when it writes to a broken pipe by the number of
		// standard output; by another number it is an error like others.
		fd, err := syscall.Dup(int(out.Fd()))
		if err != nil {
			return fmt.Errorf("open standard output: %w", err)
		}
		syscall.CloseOnExec(fd)
		l.f = os.NewFile(uintptr(fd), "standard output")
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file; the URL stdout: is for pipes", l.path)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, info.Size()
	return nil
}

func (l *lineFile) write(_ context.Context, _ Kind, lines []byte) {
	points := bytes.Count(lines, []byte{'\n'})
	if l.f == nil && time.Now().Before(l.retry) {
		l.p.lost(points, l.err)
		return
	}
	err := l.open()
	if err == nil {
		var n int
		if n, err = l.f.Write(lines); err == nil {
			l.size += int64(n)
			l.p.ok(points)
			return
		}
		if l.path != "" && n > 0 {
			// Half a line may be a whole one with another number in it.
			if cut := l.f.Truncate(l.size); cut != nil {
				err = errors.Join(err, cut)
			}
		}
		l.close()
	}
	l.err, l.retry = err, time.Now().Add(reopenEvery)
	l.p.lost(points, err)
}

// flush opens the file again if it was moved away or removed.
func (l *lineFile) flush() {
	if l.f == nil || l.path == "" {
		return
	}
	now, err := os.Stat(l.path)
	mine, err2 := l.f.Stat()
	if err != nil || err2 != nil || !os.SameFile(now, mine) {
		l.close()
	}
}

func (l *lineFile) close() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
