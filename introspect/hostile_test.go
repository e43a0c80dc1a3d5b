package introspect

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// raw is a connection after the upgrade; the test writes its frames.
func (s *served) raw(t *testing.T, headers ...string) (net.Conn, *http.Response) {
	t.Helper()
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	c, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	key := make([]byte, 16)
	_, err = rand.Read(key)
	require.NoError(t, err)
	host := u.Host
	var extra strings.Builder
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			host = headers[i+1]
			continue
		}
		fmt.Fprintf(&extra, "%s: %s\r\n", headers[i], headers[i+1])
	}
	fmt.Fprintf(c, "GET /introspect HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n",
		host, base64.StdEncoding.EncodeToString(key), extra.String())
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	return c, resp
}

// wsFrame builds a frame according to RFC 6455; length may claim more than there is.
func wsFrame(first byte, masked bool, length uint64, payload []byte) []byte {
	b := []byte{first, 0}
	switch {
	case length < 126:
		b[1] = byte(length)
	case length < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(length))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, length)
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0) // a mask of zeros does not change the payload
	}
	return append(b, payload...)
}

// TestHostileOrigins: pages of other origins get nothing, neither with their own origin
// nor with a name that resolves to this server.
func TestHostileOrigins(t *testing.T) {
	s := serve(t, Config{AllowedOrigins: []string{"https://visualizer.example"}, AllowedHosts: []string{"node.example"}})
	here := strings.TrimPrefix(s.url, "http://")
	f := func(status int, headers ...string) {
		t.Helper()
		c, resp := s.raw(t, headers...)
		require.Equal(t, status, resp.StatusCode, headers)
		c.Close()
	}
	f(101)
	f(101, "Origin", "http://"+here)
	f(101, "Origin", "https://visualizer.example")
	f(101, "Host", "node.example:99", "Origin", "http://node.example:99")
	f(403, "Origin", "http://evil.example")
	f(403, "Origin", "null")
	f(403, "Origin", "file://")
	f(403, "Origin", "https://visualizer.example.evil")
	f(403, "Origin", "https://visualizer.example", "Origin", "https://evil.example")
	f(403, "Host", "evil.example")
	f(403, "Host", "evil.example", "Origin", "http://evil.example")
	f(403, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "websocket")
	resp, err := http.Get(s.url + "/introspect")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusUpgradeRequired, resp.StatusCode)
}

// TestHostileFrames: a violation of the protocol ends its session and affects no other.
func TestHostileFrames(t *testing.T) {
	s := serve(t, Config{})
	f := func(name string, frames ...[]byte) {
		t.Helper()
		c, resp := s.raw(t)
		require.Equal(t, 101, resp.StatusCode)
		for _, b := range frames {
			if _, err := c.Write(b); err != nil {
				break // it has been closed
			}
		}
		_, err := io.Copy(io.Discard, c) // until the server closes
		var late net.Error
		if err != nil {
			require.False(t, asTimeout(err, &late), "%s: the server keeps the connection", name)
		}
	}
	const binaryFin, textFin = 0x82, 0x81
	f("no mask", wsFrame(binaryFin, false, 2, []byte{8, 0}))
	f("reserved bits", wsFrame(0xf2, true, 0, nil))
	f("unknown opcode", wsFrame(0x83, true, 0, nil))
	f("compressed, though that was not agreed", wsFrame(0xc2, true, 2, []byte{1, 2}))
	f("a length of 2^63", wsFrame(binaryFin, true, 1<<63, nil))
	f("a length of 2 GiB", wsFrame(binaryFin, true, 2<<30, bytes.Repeat([]byte{0}, 8<<10)))
	f("more than is allowed", wsFrame(binaryFin, true, maxCommandBytes+1, make([]byte, maxCommandBytes+1)))
	f("a long ping", wsFrame(0x89, true, 200, make([]byte, 200)))
	f("a ping in pieces", wsFrame(0x09, true, 1, []byte{1}))
	f("a continuation of nothing", wsFrame(0x80, true, 1, []byte{1}))
	f("a second beginning", wsFrame(0x02, true, 1, []byte{8}), wsFrame(binaryFin, true, 1, []byte{0}))
	f("pieces without end", append([][]byte{wsFrame(0x02, true, 1000, make([]byte, 1000))}, many(wsFrame(0, true, 1000, make([]byte, 1000)), 50)...)...)
	f("no protobuf", wsFrame(textFin, true, 5, []byte("hello")))
	f("a field of 2 GiB", wsFrame(binaryFin, true, 6, []byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0x07}))
	f("a varint without end", wsFrame(binaryFin, true, 12, bytes.Repeat([]byte{0xff}, 12)))
	f("groups in groups", wsFrame(binaryFin, true, 4000, bytes.Repeat([]byte{0x2b}, 4000)))
	f("half a close", wsFrame(0x88, true, 1, []byte{3}))

	good := s.greet(t, 500, 1000)
	good.agrees(cmdEnable, srcState)
	require.NotNil(t, good.next().GetState())
	require.Zero(t, s.Stats().Panics)
}

func asTimeout(err error, into *net.Error) bool {
	if n, ok := err.(net.Error); ok {
		*into = n
		return n.Timeout()
	}
	return false
}

func many(b []byte, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// TestUnknownFieldsAreLetBe: a command with fields of a later version is still executed.
func TestUnknownFieldsAreLetBe(t *testing.T) {
	p := serve(t, Config{}).connect(t)
	b, err := proto.Marshal(&pb.ClientCommand{Id: 7})
	require.NoError(t, err)
	b = protowire.AppendTag(b, 999, protowire.BytesType)
	b = protowire.AppendBytes(b, make([]byte, 500))
	require.NoError(t, p.sendBytes(websocket.MessageBinary, b))
	require.EqualValues(t, 7, p.next().GetResponse().GetId())
}

// TestEmptyCommandIsHello: all fields are absent when they are 0.
func TestEmptyCommandIsHello(t *testing.T) {
	p := serve(t, Config{}).connect(t)
	require.NoError(t, p.sendBytes(websocket.MessageBinary, nil))
	r := p.next().GetResponse()
	require.Equal(t, pb.CommandResponse_OK, r.GetResult())
	require.EqualValues(t, 1000, r.GetEffectiveConfig().GetStateSnapshotIntervalMs())
}

// TestStorms: pings, subscriptions and configurations, as fast as possible.
func TestStorms(t *testing.T) {
	var made atomic.Int64
	r := NewRegistry()
	require.NoError(t, r.RegisterDataProviders(&DataProviders{Traffic: func() (*pb.Traffic, error) { made.Add(1); return nil, nil }}))
	s := serve(t, Config{Introspector: r})
	c, resp := s.raw(t)
	require.Equal(t, 101, resp.StatusCode)
	go io.Copy(io.Discard, c) //nolint:errcheck // until the test ends
	for range 5000 {
		_, err := c.Write(wsFrame(0x89, true, 4, []byte("ping")))
		require.NoError(t, err)
	}
	p := s.greet(t, 500, 1000)
	answers := make(chan int)
	go func() {
		n := 0
		for n < 3000 {
			if p.next().GetResponse() != nil {
				n++
			}
		}
		answers <- n
	}()
	send := func(c pb.ClientCommand_Command, source pb.ClientCommand_Source, cfg *pb.Configuration) {
		b, err := proto.Marshal(&pb.ClientCommand{Command: c, Source: source, Config: cfg})
		require.NoError(t, err)
		require.NoError(t, p.sendBytes(websocket.MessageBinary, b))
	}
	began := time.Now()
	for i := range 1000 {
		send(cmdEnable, srcState, nil)
		send(cmdDisable, srcState, nil)
		send(cmdUpdate, 0, &pb.Configuration{StateSnapshotIntervalMs: uint64(i)})
	}
	require.Equal(t, 3000, <-answers)
	require.LessOrEqual(t, made.Load(), 2+int64(time.Since(began)/freshEnough))
	require.Zero(t, s.Stats().Panics)
}

// TestSessionsAreCounted: there are no more than the limit.
func TestSessionsAreCounted(t *testing.T) {
	s := serve(t, Config{})
	for range MaxSessions {
		_, resp := s.raw(t)
		require.Equal(t, 101, resp.StatusCode)
	}
	require.Eventually(t, func() bool { return s.Stats().Sessions == MaxSessions }, patience, time.Millisecond)
	_, resp := s.raw(t)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.EqualValues(t, 1, s.Stats().Refused)

	one := NewServer(Config{Introspector: NewRegistry()})
	defer one.Close()
	for range MaxSessionsPerIP {
		_, err := one.enter(&http.Request{RemoteAddr: "192.0.2.1:5"})
		require.NoError(t, err)
	}
	_, err := one.enter(&http.Request{RemoteAddr: "[::ffff:192.0.2.1]:6"})
	require.ErrorIs(t, err, errTooMany)
	_, err = one.enter(&http.Request{RemoteAddr: "192.0.2.2:5"})
	require.NoError(t, err)
	for ses := range one.sessions {
		one.leave(ses)
	}
	require.Empty(t, one.perIP)
}

// FuzzCommand: any input from a client is executed or rejected, and never causes a panic.
func FuzzCommand(f *testing.F) {
	for _, m := range goldenMessages() {
		if c, ok := m.(*pb.ClientCommand); ok {
			b, err := proto.Marshal(c)
			require.NoError(f, err)
			f.Add(b)
		}
	}
	f.Add([]byte("hello"))
	f.Add(bytes.Repeat([]byte{0x2b}, 4000))
	srv := NewServer(Config{Introspector: NewRegistry()})
	f.Cleanup(func() { srv.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		s := newSession(srv, address("127.0.0.1:1"))
		for range 2 {
			require.NoError(t, s.obey(c))
			frame, ok := s.q.next()
			require.True(t, ok, "every command is answered")
			_, err = DecodeFrame(frame)
			require.NoError(t, err)
		}
		if s.events {
			srv.listening(false)
		}
	})
}

// FuzzFrame and FuzzCapture read any input from a server or a file.
func FuzzFrame(f *testing.F) {
	for _, m := range goldenMessages() {
		if s, ok := m.(*pb.ServerMessage); ok {
			b, err := encodeFrame(s, 0)
			require.NoError(f, err)
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeFrame(b)
		if err != nil {
			return
		}
		_, err = encodeFrame(m, len(b))
		require.NoError(t, err)
	})
}

func FuzzCapture(f *testing.F) {
	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	for _, m := range goldenMessages() {
		if s, ok := m.(*pb.ServerMessage); ok {
			require.NoError(f, w.Write(s))
		}
	}
	require.NoError(f, w.Flush())
	f.Add(file.Bytes())
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewCaptureReader(bytes.NewReader(b))
		for range 1000 {
			if _, _, err := r.Next(); err != nil {
				return
			}
		}
	})
}
