package stream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ipfsmon/ipfsmon/event"
)

// payload is the content of a frame of version 3.
type payload struct {
	Event *Event `json:"event,omitempty"`
}

const (
	// maxInflated is the longest that one frame may be when decompressed.
	maxInflated = 64 << 20
	// A frame may inflate to maxRatio times its size, or to freeInflated if
	// that is more: a small frame with many repeats can be genuine.
	maxRatio     = 200
	freeInflated = 1 << 20
)

// Client is a subscriber's end of the stream. Its methods are for one
// goroutine, except Close, which any goroutine may call.
type Client struct {
	conn    net.Conn
	version int
	monitor string
	match   *matcher // filters events of version 3, which the server cannot filter
	run     string
	clock   *clockClient // nil: the server answers no pings, or nobody asked
	dec     decoder
	batches batchDecoder
}

// Options says how to subscribe. The zero value subscribes to everything, with
// version 4 of the protocol or, if the server does not speak it, version 3.
type Options struct {
	// Version is 3 or 4 for that version only, 0 for 4 with 3 as the fallback.
	Version int
	// Filter says which events to get. With version 3 the server sends
	// everything and the client filters.
	Filter Filter
	// Encoding of version 4: zstd (the default) or gzip.
	Encoding string
	// Token is for servers that require one.
	Token string
	// TokenFunc, if set, returns the token for each connection, in place of Token.
	TokenFunc func() (string, error)
	// TLS is for servers with TLS; nil: no TLS. An empty ServerName means the
	// host of the address.
	TLS *tls.Config
	// Clock, if set, is called with every round trip by which the server's clock
	// is compared with this machine's: one of the handshake and, with Follow, one
	// every ClockEvery. Calls come from the goroutine that reads. A server that
	// cannot do it causes none.
	Clock func(RoundTrip)
	// ClockEvery is 1 s or more. 0 means DefaultClockEvery.
	ClockEvery time.Duration
	// Met, if set, is called by Follow after each handshake, before the first event.
	// An error ends Follow, like one of each.
	Met func(*Client) error
	// Drained, if set, is called by Follow after the last event of each batch, so that
	// events can be handled together. An error ends Follow, like one of each.
	Drained func() error
}

// ErrRefused is the error when a server of version 4 rejects the client; the
// text says why.
var ErrRefused = errors.New("the server refuses")

// Dial subscribes to everything. It is Options{}.Dial.
func Dial(ctx context.Context, address string) (*Client, error) {
	return Options{}.Dial(ctx, address)
}

// Dial connects to a server at "host:port" or "unix:/path" and subscribes. ctx
// bounds connecting and the handshake only; if it has no deadline, each of the
// two has DefaultHandshakeTimeout.
func (o Options) Dial(ctx context.Context, address string) (*Client, error) {
	c, err := o.dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("stream: subscribe to %s: %w", address, err)
	}
	return c, nil
}

func (o Options) dial(ctx context.Context, address string) (*Client, error) {
	match, err := o.Filter.compile()
	if err != nil {
		return nil, err
	}
	if o.TokenFunc != nil {
		if o.Token, err = o.TokenFunc(); err != nil {
			return nil, err
		}
	}
	if o.Version != 0 && o.Version != version && o.Version != version4 {
		return nil, fmt.Errorf("protocol version %d: want 3 or 4, or 0 for either", o.Version)
	}
	if o.Version != version {
		c := &Client{version: version4}
		err := o.connect(ctx, address, c, o.greetV4)
		if err == nil {
			return c, nil
		}
		if o.Version == version4 || !errors.Is(err, errNoV4) {
			return nil, err
		}
	}
	c := &Client{version: version, match: match}
	if err := o.connect(ctx, address, c, greetV3); err != nil {
		return nil, err
	}
	return c, nil
}

// errNoV4 is the error when the server closed the connection after the client
// sent version 4.
var errNoV4 = errors.New("the server does not speak version 4 of the protocol")

// connect dials and does the handshake.
func (o Options) connect(ctx context.Context, address string, c *Client, hello func(*Client) error) error {
	network, target := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, target = "unix", path
	}
	d := net.Dialer{Timeout: DefaultHandshakeTimeout}
	conn, err := d.DialContext(ctx, network, target)
	if err != nil {
		return err
	}
	if o.TLS != nil {
		cfg := o.TLS.Clone()
		if host, _, err := net.SplitHostPort(address); err == nil && cfg.ServerName == "" {
			cfg.ServerName = host
		}
		conn = tls.Client(conn, cfg)
	}
	c.conn = conn
	if err := greet(ctx, c, hello); err != nil {
		conn.Close()
		return err
	}
	return nil
}

// greet is the client's half of the handshake.
func greet(ctx context.Context, c *Client, hello func(*Client) error) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(DefaultHandshakeTimeout)
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := hello(c); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if !stop() {
		return ctx.Err()
	}
	return c.conn.SetDeadline(time.Time{})
}

func greetV3(c *Client) error {
	if _, err := c.conn.Write(helloFrame); err != nil {
		return err
	}
	_, err := readHello(c.conn, version)
	return err
}

func (o Options) greetV4(c *Client) error {
	v := uint16(version4)
	frame := jsonFrame(hello{Version: &v, Token: o.Token, Encoding: o.Encoding, Filter: o.Filter, Clock: o.Clock != nil})
	if n := len(frame) - headerBytes; n > maxHandshakeBytes {
		return fmt.Errorf("the hello with its filter and token has %d bytes: want at most %d", n, maxHandshakeBytes)
	}
	sent := time.Now()
	if _, err := c.conn.Write(frame); err != nil {
		return err
	}
	if _, err := readHello(c.conn, version); err != nil {
		return err
	}
	// A server that does not know version 4 closes the connection here.
	answer, err := readFrame(c.conn, nil, maxHandshakeBytes)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return errNoV4
	}
	if err != nil {
		return err
	}
	var w welcome
	if err := json.Unmarshal(answer, &w); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	if w.Error != "" {
		return fmt.Errorf("%w: %s", ErrRefused, w.Error)
	}
	if w.Version != version4 {
		return fmt.Errorf("the server answers with version %d of the protocol: want %d", w.Version, version4)
	}
	c.monitor = string(event.Clean(w.Monitor, event.MaxAgentText))
	if o.Clock != nil && w.Run != "" && w.Time != nil {
		c.run, c.clock = string(event.Clean(w.Run, maxRunText)), &clockClient{call: o.Clock}
		o.Clock(RoundTrip{Sent: sent, Received: time.Now(), ServerReceived: *w.Time, ServerSent: *w.Time})
	}
	return nil
}

// Version returns the version of the protocol in use: 3 or 4.
func (c *Client) Version() int { return c.version }

// Monitor returns the monitor's name; "" with version 3, which does not send it.
func (c *Client) Monitor() string { return c.monitor }

// Run returns the name of the server's run, since whose start Event.Seq counts;
// "" if it is not known: without Options.Clock, or with an older server.
func (c *Client) Run() string { return c.run }

// Next waits for the next event. With version 4 it may be a gap (Event.Gap):
// events are missing at this place. The error is io.EOF when the server closed
// the stream between two frames. After an error, Close the client.
func (c *Client) Next() (e *Event, err error) {
	err = reading.Call("stream: read what a server sends", func() error {
		e, err = c.next()
		return err
	})
	return e, err
}

func (c *Client) next() (*Event, error) {
	for {
		if c.version == version {
			e, err := c.dec.next(c.conn)
			if err != nil {
				return nil, err
			}
			if e != nil && c.wanted(e) {
				return e, nil
			}
			continue
		}
		e, err := c.batches.next(c.conn)
		if err != nil {
			c.batches.close()
			return nil, err
		}
		if e.Clock != nil {
			c.clock.answered(e.Clock, time.Now())
			continue
		}
		if e.known() {
			if e.Monitor == "" {
				e.Monitor = c.monitor
			}
			return e, nil
		}
	}
}

// wanted reports whether an event of version 3 passes the filter. An event that
// ToEvent rejects passes.
func (c *Client) wanted(e *Event) bool { return c.match.wanted(e) }

func (m *matcher) wanted(e *Event) bool {
	if m == nil || m.key == "{}" {
		return true
	}
	full, err := e.ToEvent()
	return err != nil || m.match(full)
}

// Matcher returns a function that reports whether an event passes the filter, for events that
// did not come from a server that filters. An event that ToEvent rejects, such as a gap, passes.
func (f Filter) Matcher() (func(*Event) bool, error) {
	m, err := f.compile()
	if err != nil {
		return nil, err
	}
	return m.wanted, nil
}

// known reports whether the event is of a kind that this client knows.
func (e *Event) known() bool {
	return e.Message != nil || e.Sent != nil || e.Connection != nil || e.Identify != nil || e.Gap != nil || e.Note != nil || e.Origins != nil ||
		e.DHT != nil || e.Flood != nil || e.Search != nil || e.Request != nil || e.Retrieval != nil
}

// Close ends the subscription; a waiting Next returns an error. It may be called
// more than once.
func (c *Client) Close() error {
	err := c.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// decoder reads the frames of version 3. Its buffers grow with the frames and are
// reused.
type decoder struct {
	frame []byte
	plain bytes.Buffer
	gz    gzip.Reader
}

// next reads one frame. It returns nil without an error if the frame has no event.
func (d *decoder) next(r io.Reader) (*Event, error) {
	frame, err := readFrame(r, d.frame, maxFrameBytes)
	if err != nil {
		return nil, err
	}
	d.frame = frame
	if err := d.inflate(); err != nil {
		return nil, fmt.Errorf("stream: inflate a frame of %d bytes: %w", len(frame), err)
	}
	var p payload
	if err := json.Unmarshal(d.plain.Bytes(), &p); err != nil {
		return nil, fmt.Errorf("stream: decode an event of %d bytes: %w", d.plain.Len(), err)
	}
	return p.Event, nil
}

// inflate decompresses the frame, which must be one gzip stream, into plain.
func (d *decoder) inflate() error {
	in := bytes.NewReader(d.frame)
	if err := d.gz.Reset(in); err != nil {
		return err
	}
	d.gz.Multistream(false)
	limit := min(maxInflated, max(freeInflated, maxRatio*int64(len(d.frame))))
	d.plain.Reset()
	n, err := d.plain.ReadFrom(io.LimitReader(&d.gz, limit+1))
	if err != nil {
		return err
	}
	if n > limit {
		return fmt.Errorf("decompressed, it has more than %d bytes", limit)
	}
	if in.Len() > 0 {
		return fmt.Errorf("%d bytes after the end of the gzip stream", in.Len())
	}
	return nil
}
