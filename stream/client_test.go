package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	stdgzip "compress/gzip"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

// session is what the old exporter's server writes to a client.
func session() []byte {
	out := append([]byte{}, helloFrame...)
	var old oldEncoder
	for _, e := range goldenEvents() {
		out = append(out, old.frame(e)...)
	}
	return out
}

// TestGoldenSession reads the bytes of a server of the old design.
func TestGoldenSession(t *testing.T) {
	in := bytes.NewReader(golden(t, "v3.session", session()))
	_, err := readHello(in, version)
	require.NoError(t, err)
	var d decoder
	for _, want := range goldenEvents() {
		e, err := d.next(in)
		require.NoError(t, err)
		require.Equal(t, exactV3(want), e)
	}
	_, err = d.next(in)
	require.Equal(t, io.EOF, err)
}

// ofV3 returns what a client should make of the event by version 3.
func ofV3(in *event.Event) *Event {
	e := exactV3(in)
	if e.Message != nil {
		all := e.Message.Addrs
		e.Message.Addrs = []string{}
		for _, a := range all {
			if text, whole := appendAddr2022(nil, a); whole { // TestAddressesOf2022 has these
				e.Message.Addrs = append(e.Message.Addrs, strings.Trim(string(text), `"`))
			}
		}
	}
	if c := e.Connection; c != nil {
		remote, _ := appendAddr2022(nil, c.Remote)
		c.Remote = strings.Trim(string(remote), `"`)
	}
	return e
}

// exactV3 is ofV3 for a server that writes addresses unchanged.
func exactV3(in *event.Event) *Event {
	e := asClient(in)
	e.Timestamp = time.Unix(0, in.Time).Local()
	e.Seq, e.Country, e.Gateway = 0, "", false
	if e.Message != nil {
		e.Message.BlockSizes = nil
		e.Message.PendingBytes, e.Message.WireSize, e.Message.Truncated, e.Message.OversizeCID = 0, 0, 0, 0
	}
	if c := e.Connection; c != nil {
		e.Connection = &Connection{Remote: c.Remote, Type: c.Type}
	}
	return e
}

func zipped(s string) string {
	var b bytes.Buffer
	w := stdgzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func TestClientRefuses(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var d decoder
		_, err := d.next(strings.NewReader(in))
		require.ErrorContains(t, err, want)
	}
	f("\x00\x00", "unexpected EOF")
	f("\x00\x00\x00\x00", "want 1 to 8388608")
	f("\xff\xff\xff\xff", "want 1 to 8388608")
	f("\x00\x00\x00\x05abc", "unexpected EOF")
	f(frameOf("abc"), "inflate a frame of 3 bytes")
	f(frameOf(`{"event":{}}`), "inflate")
	f(frameOf(zipped("")), "decode")
	f(frameOf(zipped("{}")+"x"), "1 bytes after the end")
	f(frameOf(zipped("{}")+zipped("{}")), "after the end")
	f(frameOf(zipped("{}")[:20]), "inflate")
	f(frameOf(zipped(`{"event":{"timestamp":"yesterday"}}`)), "decode")
	f(frameOf(zipped(`{"event":{"peer":1}}`)), "decode")
	f(frameOf(zipped(`{"event":{"bitswap_message":{"blocks":[{"/":"x"}]}}}`)), "decode")
	f(frameOf(zipped(strings.Repeat("[", 100_000))), "decode")
	f(frameOf(zipped(strings.Repeat(" ", 2<<20))), "more than 1048576 bytes")
}

func TestClientPassesOverFramesWithoutEvent(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	c := &Client{conn: here, version: version}
	defer c.Close()
	go func() {
		_, _ = io.WriteString(there, frameOf(zipped("{}\n"))+frameOf(zipped(`{"event":{"peer":"x","more":1}}`)))
	}()
	e, err := c.Next()
	require.NoError(t, err)
	require.Equal(t, "x", e.Peer)
}

// serveOnce is a server that sends fixed bytes to one client.
func serveOnce(t *testing.T, say string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, say)
		_, _ = io.Copy(io.Discard, c)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestDialFails(t *testing.T) {
	_, err := Dial(t.Context(), serveOnce(t, frameOf(`{"version":4}`)))
	require.ErrorContains(t, err, "speaks version 4 of the protocol: want 3")
	_, err = Dial(t.Context(), serveOnce(t, "HTTP/1.1 400 Bad Request\r\n"))
	require.ErrorContains(t, err, "handshake")
	_, err = Dial(t.Context(), "unix:/nowhere/at/all")
	require.ErrorIs(t, err, os.ErrNotExist)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, serveOnce(t, ""))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	_, err = Dial(ctx, serveOnce(t, ""))
	require.Error(t, err)
	require.Less(t, time.Since(begin), 4*time.Second)
}

func TestCloseEndsNext(t *testing.T) {
	s := start(t, nil)
	c := s.subscribe(t, 1)[0]
	time.AfterFunc(20*time.Millisecond, func() { c.Close() })
	_, err := c.Next()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, c.Close())
}

func FuzzClient(f *testing.F) {
	f.Add(session()[len(helloFrame):])
	for _, s := range []string{"", "{}", `{"event":null}`, `{"event":{"bitswap_message":{"wantlist_entries":[{"Cid":null}]}}}`} {
		f.Add([]byte(frameOf(zipped(s))))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d decoder
		r := bytes.NewReader(in)
		for {
			e, err := d.next(r)
			if err != nil {
				return
			}
			if e != nil && e.Message != nil {
				for _, w := range e.Message.Wants {
					_ = w.Cid.String()
				}
			}
		}
	})
}

// FuzzClientJSON reaches the inputs that gzip's checksum hides from FuzzClient.
func FuzzClientJSON(f *testing.F) {
	for _, e := range goldenEvents() {
		f.Add(string(appendV3(nil, e, false)))
	}
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 1<<16 {
			return
		}
		var comp compressor
		var d decoder
		e, err := d.next(bytes.NewReader(comp.appendFrame(nil, []byte(in))))
		if err != nil || e == nil {
			return
		}
		if _, err := json.Marshal(e); err != nil {
			t.Fatalf("decoded but not encoded again: %v", err)
		}
	})
}

func ExampleDial() {
	// A monitor that sees one message.
	b := bus.New(bus.Config{})
	server, done := serveExample(b, "")
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := Dial(ctx, server.Addrs()[0].String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	for len(server.Stats().Subscribers) == 0 {
		time.Sleep(time.Millisecond)
	}
	b.Publish(message(1, 1))
	b.Close()

	for {
		e, err := client.Next()
		if err != nil {
			fmt.Println(err)
			break
		}
		for _, w := range e.Message.Wants {
			fmt.Println(e.Timestamp.UTC().Format(time.TimeOnly), e.Peer, "wants", w.Cid)
		}
	}
	fmt.Println(<-done)
	// Output:
	// 14:42:09 12D3KooWEvrft8nw8c5kL664hHmrBQkT1kQAtRjUSde4yhQgw8FU wants bafkreibd7wio5pkbre5boo7dfk7snkiurhqr27gznndalntj6qyu2fhiv4
	// EOF
	// <nil>
}

// TestAPanicWhileReadingIsAnError: no bytes of a server end a subscriber's process.
func TestAPanicWhileReadingIsAnError(t *testing.T) {
	lines := guardtest.Default(t)
	before := reading.Panics()
	for _, v := range []int{version, version4} {
		e, err := (&Client{version: v}).Next() // without a connection
		require.Nil(t, e)
		require.ErrorIs(t, err, guard.ErrPanic)
	}
	require.Equal(t, before+2, reading.Panics())
	lines.Once(t, "stream: read what a server sends", "stream.(*Client).next")
}
