package stream

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// DefaultClockEvery is the time between two pings.
	DefaultClockEvery = 10 * time.Second
	// A client may send maxPings at once and then one in each pingEvery.
	maxPings  = 30
	pingEvery = time.Second
	// maxPingBytes is the longest ping.
	maxPingBytes = 64
	// maxRunText bounds the name of a server's run, in bytes.
	maxRunText = 64
)

// newRun returns a random name of a run.
func newRun() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ping is a frame of a client that may compare clocks.
type ping struct {
	Ping uint64 `json:"ping"`
}

// clockAnswer answers a ping: Received is the server's clock when the ping came,
// Sent when the answer was queued.
type clockAnswer struct {
	Ping     uint64    `json:"ping"`
	Received time.Time `json:"received"`
	Sent     time.Time `json:"sent"`
}

// RoundTrip is one comparison of a server's clock with this machine's.
type RoundTrip struct {
	Sent, Received             time.Time // by this machine's clock, with its monotonic reading
	ServerReceived, ServerSent time.Time // by the server's
}

// Offset returns by how much the server's clock is ahead of this machine's, and the
// most by which that may be wrong: half of the time that the round trip took,
// without what passed at the server. The server's figures are believed.
func (r RoundTrip) Offset() (offset, err time.Duration) {
	// The answer left after the ping came and arrived after it left:
	// offset <= ServerReceived - Sent, offset >= ServerSent - Received. The wall
	// clock alone is compared; a step within the round trip makes the interval empty.
	most := r.ServerReceived.Round(0).Sub(r.Sent.Round(0))
	least := r.ServerSent.Round(0).Sub(r.Received.Round(0))
	return least + (most-least)/2, (most - least) / 2
}

// clockClient is the client's half: pings that wait for their answers.
type clockClient struct {
	call func(RoundTrip)

	mu   sync.Mutex
	last uint64 // number of the last ping
	sent time.Time
	open bool // the last ping has no answer yet
}

// Ping asks the server for its clock; Options.Clock gets the answer while another
// goroutine is in Next. While one ping has no answer, another replaces it. It does
// nothing if the server answers no pings. Any goroutine may call it.
func (c *Client) Ping() error {
	k := c.clock
	if k == nil {
		return nil
	}
	k.mu.Lock()
	k.last++
	n := k.last
	k.sent, k.open = time.Now(), true
	k.mu.Unlock()
	_, err := c.conn.Write(jsonFrame(ping{Ping: n}))
	return err
}

// answered takes an answer that came at now. One that nobody waits for is ignored.
func (k *clockClient) answered(a *clockAnswer, now time.Time) {
	if k == nil {
		return
	}
	k.mu.Lock()
	ok := k.open && a.Ping == k.last
	sent := k.sent
	k.open = k.open && !ok
	k.mu.Unlock()
	if ok {
		k.call(RoundTrip{Sent: sent, Received: now, ServerReceived: a.Received, ServerSent: a.Sent})
	}
}

// keepAsking sends a ping every so often until end is called or the connection
// breaks.
func (c *Client) keepAsking(every time.Duration) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		tick := time.NewTicker(max(every, time.Second))
		defer tick.Stop()
		for {
			if err := c.Ping(); err != nil {
				return // Next reports it
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		c.Close() // a write may be waiting
		<-ended
	}
}

// hear reads what a client sends until it disconnects: pings, which are answered,
// if it may send them. All else is ignored, up to maxClientBytes.
func (s *subscriber) hear(conn net.Conn, clock bool, now func() time.Time) error {
	if !clock {
		return discard(conn)
	}
	may := rate.NewLimiter(rate.Every(pingEvery), maxPings)
	var buf []byte
	for {
		frame, err := readFrame(conn, buf, maxPingBytes)
		received := now()
		if err != nil {
			return discard(conn) // no frame: ignored like all else, or the end
		}
		buf = frame
		if !may.Allow() {
			return errTalkative
		}
		var p ping
		if json.Unmarshal(frame, &p) == nil && p.Ping > 0 {
			s.answerClock(p.Ping, received, now)
		}
	}
}

// answerClock queues the answer to a ping before everything that waits: it has no
// place among the events. A full queue has none.
func (s *subscriber) answerClock(n uint64, received time.Time, now func() time.Time) {
	line := append([]byte(nil), `{"clock":{"ping":`...)
	line = strconv.AppendUint(line, n, 10)
	line = append(line, `,"received":"`...)
	line = received.UTC().AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","sent":"`...)
	line = now().UTC().AppendFormat(line, time.RFC3339Nano)
	line = append(line, "\"}}\n"...)
	var none batchCompressor
	b := batch{data: none.frame(line, encodingPlain), frames: 1}
	s.mu.Lock()
	fits := s.queued+b.cost() <= s.limit
	if fits {
		s.queue = append(s.queue, batch{})
		copy(s.queue[1:], s.queue)
		s.queue[0] = b
		s.queued += b.cost()
	}
	s.mu.Unlock()
	if fits {
		s.signal()
	}
}
