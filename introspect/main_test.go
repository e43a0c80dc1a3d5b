package introspect

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run")) // libp2p's, for the whole process
}

// patience bounds each wait of a test.
const patience = 45 * time.Second

// served is a server on its own listener.
type served struct {
	*Server
	url string
}

func serve(t testing.TB, cfg Config) *served {
	t.Helper()
	if cfg.Introspector == nil {
		cfg.Introspector = NewRegistry()
	}
	s := NewServer(cfg)
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		h.Close()
	})
	return &served{s, h.URL}
}

// peerOf is a client that sends only what a test asks for.
type peerOf struct {
	t  testing.TB
	ws *websocket.Conn
	id uint64
}

func (s *served) connect(t testing.TB) *peerOf {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	url, err := SocketURL(s.url)
	require.NoError(t, err)
	ws, _, err := websocket.Dial(ctx, url, nil)
	require.NoError(t, err)
	ws.SetReadLimit(MaxMessageBytes)
	p := &peerOf{t: t, ws: ws}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return p
}

// greet connects and sends a HELLO with this interval in milliseconds.
func (s *served) greet(t testing.TB, interval, retention uint64) *peerOf {
	t.Helper()
	p := s.connect(t)
	r := p.ask(pb.ClientCommand_HELLO, 0, &pb.Configuration{RetentionPeriodMs: retention, StateSnapshotIntervalMs: interval})
	require.Equal(t, pb.CommandResponse_OK, r.GetResult())
	return p
}

func (p *peerOf) sendBytes(kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return p.ws.Write(ctx, kind, b)
}

func (p *peerOf) send(c pb.ClientCommand_Command, source pb.ClientCommand_Source, cfg *pb.Configuration) uint64 {
	p.t.Helper()
	p.id++
	b, err := proto.Marshal(&pb.ClientCommand{Version: &pb.Version{Version: 1}, Id: p.id, Command: c, Source: source, Config: cfg})
	require.NoError(p.t, err)
	require.NoError(p.t, p.sendBytes(websocket.MessageBinary, b))
	return p.id
}

// next returns the next message; its frame must be valid.
func (p *peerOf) next() *pb.ServerMessage {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, b, err := p.ws.Read(ctx)
	require.NoError(p.t, err)
	require.Equal(p.t, websocket.MessageBinary, kind)
	m, err := DecodeFrame(b)
	require.NoError(p.t, err)
	require.EqualValues(p.t, SchemaVersion, m.GetVersion().GetVersion())
	return m
}

// ask sends a command and returns its response. The first response that arrives must be
// it.
func (p *peerOf) ask(c pb.ClientCommand_Command, source pb.ClientCommand_Source, cfg *pb.Configuration) *pb.CommandResponse {
	p.t.Helper()
	id := p.send(c, source, cfg)
	for {
		if r := p.next().GetResponse(); r != nil {
			require.Equal(p.t, id, r.GetId())
			return r
		}
	}
}

func (p *peerOf) agrees(c pb.ClientCommand_Command, source pb.ClientCommand_Source) {
	p.t.Helper()
	r := p.ask(c, source, nil)
	require.Equal(p.t, pb.CommandResponse_OK, r.GetResult(), r.GetError())
	require.Empty(p.t, r.GetError())
}

// ended waits until the server closes the connection and returns the status code.
func (p *peerOf) ended() websocket.StatusCode {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, _, err := p.ws.Read(ctx); err != nil {
			require.NoError(p.t, ctx.Err(), "the server keeps the connection")
			return websocket.CloseStatus(err)
		}
	}
}
