package nodestate

import (
	"context"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run")) // libp2p's, for the whole process
}

// patience bounds each wait of a test.
const patience = 45 * time.Second

const goldenPeer = "12D3KooWDG5a3EQfLuQofq5yFnKtfHzPXRwJrUTJyceYfaiWjXim"

func protocolID(n int) protocol.ID { return protocol.ID("/p/" + strconv.Itoa(n)) }

// session is a session with a server whose events it receives.
type session struct {
	t testing.TB
	c *introspect.Client
}

// serve runs a server without providers, and a session with it.
func serve(t testing.TB) (*introspect.Server, *session) {
	t.Helper()
	s := introspect.NewServer(introspect.Config{Introspector: introspect.NewRegistry()})
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		h.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := introspect.Dial(ctx, h.URL, introspect.ClientOptions{Config: &pb.Configuration{RetentionPeriodMs: 120_000, StateSnapshotIntervalMs: 60_000}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.Push(ctx, pb.ClientCommand_EVENTS))
	return s, &session{t, c}
}

// next waits for the next event.
func (s *session) next() *pb.Event {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		m, _, err := s.c.Next(ctx)
		require.NoError(s.t, err)
		if e := m.GetEvent(); e != nil {
			return e
		}
	}
}
