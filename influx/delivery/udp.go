package delivery

import (
	"bytes"
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// datagrams sends whole lines in UDP datagrams, and no more points per second than its rate.
type datagrams struct {
	p      *unacked
	rate   float64 // points a second
	conn   [schema.Kinds]net.Conn
	buf    [schema.Kinds][]byte
	points [schema.Kinds]int
	free   time.Time // when the next datagram may go
	retry  time.Time // when to open a socket again
	err    error     // why not sooner
}

func (d *datagrams) write(ctx context.Context, kind schema.Kind, lines []byte) {
	for line := range bytes.Lines(lines) {
		if len(line) > maxDatagram {
			d.p.rejected.Add(1)
			d.p.lines.tooLong.Warn(d.p.set.Logger, "influx: points rejected, they do not fit into a datagram", "points", 1, "bytes", len(line), "most", maxDatagram)
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

// pace waits until so many points may be sent. Waits shorter than a timer's resolution are
// accumulated.
func (d *datagrams) pace(ctx context.Context, points int) {
	now := time.Now()
	if d.free.Before(now) {
		d.free = now
	}
	if wait := d.free.Sub(now); wait > 2*time.Millisecond {
		_ = backoff.Sleep(ctx, wait) // the caller notices the end
	}
	d.free = d.free.Add(time.Duration(float64(points) / d.rate * float64(time.Second)))
}

func (d *datagrams) send(kind schema.Kind) {
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
		conn, err := net.Dial("udp", d.p.set.UDP[kind])
		if err != nil {
			d.err, d.retry = err, time.Now().Add(reopenEvery)
			d.p.lost(points, err)
			return
		}
		d.conn[kind] = conn
	}
	if _, err := d.conn[kind].Write(d.buf[kind]); err != nil {
		// The answer to an earlier datagram: nobody listens there. The name may have a new
		// address by now.
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
		d.send(schema.Kind(k))
	}
}

func (d *datagrams) close() {
	for _, c := range d.conn {
		if c != nil {
			c.Close()
		}
	}
}
