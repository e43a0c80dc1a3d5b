package lab

import (
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// How Linux treats a lost segment: it is sent again after the retransmission
// timeout, which is at least 200 ms, and a second for the first segment of a
// connection.
const (
	leastRetransmission = 200 * time.Millisecond
	dialRetransmission  = time.Second
	maxLosses           = 6 // in a row
)

const (
	chunkBytes = 4 << 10 // size of a chunk, which is delayed as one
	chunks     = 256     // most chunks in flight in one direction
)

// links are the links between the nodes of a lab. Each pair of nodes has its own
// round trip, 0.5 to 1.5 times the lab's latency.
type links struct {
	latency time.Duration // mean round trip
	loss    float64       // of segments, 0 to 1
	seed    uint64
	owners  sync.Map // port -> number of the node that listens there
}

// dialer dials from one node to all others.
type dialer struct {
	*links
	from int
}

// trip returns the round trip to the node that listens on a port.
func (d dialer) trip(port int) time.Duration {
	to := port
	if n, ok := d.owners.Load(port); ok {
		to = n.(int)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(strconv.FormatUint(d.seed, 10) + "/" + strconv.Itoa(min(d.from, to)) + "/" + strconv.Itoa(max(d.from, to)))) // never returns an error
	return time.Duration(float64(d.latency) * (0.5 + float64(h.Sum64()%1000)/1000))
}

// late returns by how much losses delay a segment.
func (l *links) late(first time.Duration) (d time.Duration) {
	for i := 0; i < maxLosses && l.loss > 0 && rand.Float64() < l.loss; i++ {
		d += first << i
	}
	return d
}

// DialContext connects after the handshake's round trip, through a pipe that
// delays everything as the link does.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	_, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	trip := d.trip(port)
	if err := backoff.Sleep(ctx, trip+d.late(dialRetransmission)); err != nil {
		return nil, err
	}
	var plain net.Dialer
	real, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	go d.carry(theirs, real, trip) // both end when either side closes
	go d.carry(real, theirs, trip)
	return &line{Conn: ours, local: real.LocalAddr(), remote: real.RemoteAddr()}, nil
}

// line is a pipe with the addresses of a TCP connection.
type line struct {
	net.Conn
	local, remote net.Addr
}

func (l *line) LocalAddr() net.Addr  { return l.local }
func (l *line) RemoteAddr() net.Addr { return l.remote }

type chunk struct {
	data []byte
	due  time.Time
}

// carry moves bytes one way, each half a round trip late and in order, until
// one side closes.
func (d dialer) carry(from io.ReadCloser, to io.WriteCloser, trip time.Duration) {
	flight := make(chan chunk, chunks)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer to.Close()
		defer from.Close()
		for c := range flight {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.data); err != nil {
				return
			}
		}
	}()
	defer close(flight)
	var last time.Time
	for buf := make([]byte, chunkBytes); ; {
		n, err := from.Read(buf)
		if n > 0 {
			due := time.Now().Add(trip/2 + d.late(max(leastRetransmission, 2*trip)))
			if due.Before(last) { // later segments wait for a lost one
				due = last
			}
			last = due
			select {
			case flight <- chunk{append([]byte(nil), buf[:n]...), due}:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
