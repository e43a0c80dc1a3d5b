package monitor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func TestIntrospectConfig(t *testing.T) {
	f := func(settings string, want ...string) {
		t.Helper()
		_, _, err := Layers{Section: section(t, settings)}.Effective()
		if len(want) == 0 {
			require.NoError(t, err)
			return
		}
		require.Error(t, err)
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
	}
	f(`{}`)
	f(`{"IntrospectConfig": {"Off": true}}`)
	f(`{"IntrospectConfig": {"ListenAddresses": ["127.0.0.1:0"], "AllowedOrigins": ["http://localhost:3000"], "MaxConnections": 5}}`)
	f(`{"IntrospectConfig": {"AllowedOrigins": ["null", "https://*"], "MaxConnections": -1, "AllowInsecure": true}}`,
		"IntrospectConfig: AllowedOrigins: \"null\"", "https://*", "MaxConnections: -1", "ListenAddresses: empty")
	f(`{"IntrospectConfig": {"ListenAddresses": ["0.0.0.0:1"]}}`, "IntrospectConfig: ", "0.0.0.0:1")
	f(`{"IntrospectConfig": {"Listen": []}}`, "unknown key", "AllowedOrigins")

	t.Setenv("IPFSMON_INTROSPECT_ALLOWED_ORIGINS", "http://localhost:3000,https://a.example")
	cfg, sources, err := Layers{}.Effective()
	require.NoError(t, err)
	require.Equal(t, []string{"http://localhost:3000", "https://a.example"}, cfg.IntrospectConfig.AllowedOrigins)
	require.Equal(t, FromEnv, sources["IntrospectConfig.AllowedOrigins"])
}

// watchHost runs a monitor of a bare libp2p host, to which another host is connected.
func watchHost(t *testing.T, settings string) *Monitor {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg, _, err := Layers{Section: section(t, settings)}.Effective()
	require.NoError(t, err)
	opts := []libp2p.Option{libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(), libp2p.DisableRelay()}
	a, err := libp2p.New(opts...)
	require.NoError(t, err)
	b, err := libp2p.New(opts...)
	require.NoError(t, err)
	eb := bus.New(bus.Config{})
	m, err := Start(cfg, Watched{Node: nodestate.Node{Host: a}, Sample: func(context.Context) event.Node { return event.Node{} }}, eb, capture.New(eb, quiet), quiet)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Close())
		require.NoError(t, errors.Join(a.Close(), b.Close()))
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, b.Connect(ctx, peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}))
	return m
}

func lookAt(t *testing.T, page string) (*pb.Runtime, *pb.State, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := introspect.Dial(ctx, page, introspect.ClientOptions{})
	require.NoError(t, err)
	defer c.Close()
	rt, _, err := c.Runtime(ctx)
	require.NoError(t, err)
	var st *pb.State
	var frame []byte
	require.Eventually(t, func() bool {
		st, frame, err = c.State(ctx)
		require.NoError(t, err)
		return st.GetConnections() > 0 || !rt.GetNamed()
	}, time.Minute, 20*time.Millisecond)
	return rt, st, frame
}

// TestIntrospectionOnTwoListeners: the HTTP API's listener and one of its own at the same
// time.
func TestIntrospectionOnTwoListeners(t *testing.T) {
	m := watchHost(t, `{"HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "IntrospectConfig": {"ListenAddresses": ["127.0.0.1:0"]}}`)
	pages := m.IntrospectAddresses()
	require.Len(t, pages, 2)
	var said strings.Builder
	m.Announce(&said)
	for _, page := range pages {
		require.Contains(t, said.String(), "Live page at "+page+"\n")
		rt, st, _ := lookAt(t, page)
		require.True(t, rt.GetNamed())
		require.Equal(t, m.watched.Host.ID().String(), rt.GetPeerId())
		require.EqualValues(t, 1, st.GetPeers())
		require.Len(t, st.GetSubsystems().GetPipeline().GetBus().GetReaders(), 3)
		q, err := http.NewRequest(http.MethodGet, page, nil)
		require.NoError(t, err)
		q.Header.Set("Accept", "text/html")
		q.Close = true
		resp, err := http.DefaultClient.Do(q)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
		require.NoError(t, resp.Body.Close())
	}
}

// TestIntrospectionKeepsPrivacy: if the stream may not name peers, the state may not
// either.
func TestIntrospectionKeepsPrivacy(t *testing.T) {
	m := watchHost(t, `{"HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "StreamPrivacy": "aggregate"}`)
	rt, st, frame := lookAt(t, m.IntrospectAddresses()[0])
	require.False(t, rt.GetNamed())
	require.Empty(t, st.GetSubsystems().GetConnections())
	require.NotNil(t, st.GetSubsystems().GetBitswap())
	for _, p := range m.watched.Host.Network().Peers() {
		require.NotContains(t, string(frame), p.String())
	}
}

func TestIntrospectionOff(t *testing.T) {
	m := watchHost(t, `{"HTTPServerConfig": {"ListenAddresses": ["127.0.0.1:0"]}, "IntrospectConfig": {"Off": true}}`)
	require.Empty(t, m.IntrospectAddresses())
	_, err := introspect.Dial(context.Background(), m.HTTPAddresses()[0], introspect.ClientOptions{})
	require.ErrorContains(t, err, "404")
}
