package connstate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

const patience = time.Minute

func newHost(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{})}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// certificate is one for 127.0.0.1 without a signature of an authority.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// both returns the state of the connection between two hosts as each of them sees it: the
// one that listens and the one that dials.
func both(t *testing.T, server, client host.Host) (inbound, outbound network.ConnectionState) {
	t.Helper()
	require.Eventually(t, func() bool {
		in, out := server.Network().ConnsToPeer(client.ID()), client.Network().ConnsToPeer(server.ID())
		if len(in) == 0 || len(out) == 0 {
			return false
		}
		require.Equal(t, network.DirInbound, in[0].Stat().Direction)
		require.Equal(t, network.DirOutbound, out[0].Stat().Direction)
		inbound, outbound = Of(in[0]), Of(out[0])
		return true
	}, patience, time.Millisecond)
	return inbound, outbound
}

const (
	withNoise = protocol.ID(noise.ID)
	withTLS   = protocol.ID(libp2ptls.ID)
	yamux     = protocol.ID("/yamux/1.0.0")
)

// TestTransports: real hosts, each transport, both directions.
func TestTransports(t *testing.T) {
	f := func(listen, want string, security, muxer protocol.ID, opts ...libp2p.Option) {
		t.Helper()
		opts = append(opts, libp2p.DisableRelay())
		server := newHost(t, append(opts, libp2p.ListenAddrStrings(listen))...)
		client := newHost(t, append(opts, libp2p.NoListenAddrs)...)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, client.Connect(ctx, peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}), listen)
		inbound, outbound := both(t, server, client)
		for name, s := range map[string]network.ConnectionState{"inbound": inbound, "outbound": outbound} {
			require.Equal(t, want, s.Transport, "%s %s", name, listen)
			require.Equal(t, security, s.Security, "%s %s", name, listen)
			require.Equal(t, muxer, s.StreamMultiplexer, "%s %s", name, listen)
		}
	}
	f("/ip4/127.0.0.1/tcp/0", "tcp", withTLS, yamux, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	f("/ip4/127.0.0.1/tcp/0", "tcp", withNoise, yamux, libp2p.Security(noise.ID, noise.New))
	f("/ip6/::1/tcp/0", "tcp", withNoise, yamux, libp2p.Security(noise.ID, noise.New))
	f("/ip4/127.0.0.1/tcp/0/ws", "ws", withNoise, yamux, libp2p.Security(noise.ID, noise.New))
	cert := certificate(t)
	f("/ip4/127.0.0.1/tcp/0/tls/ws", "wss", withNoise, yamux, libp2p.Security(noise.ID, noise.New),
		libp2p.Transport(websocket.New, websocket.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}),
			websocket.WithTLSClientConfig(&tls.Config{InsecureSkipVerify: true})))
	f("/ip4/127.0.0.1/udp/0/quic-v1", "quic-v1", "", "")
	f("/ip4/127.0.0.1/udp/0/quic-v1/webtransport", "webtransport", "", "")
	f("/ip4/127.0.0.1/udp/0/webrtc-direct", "webrtc-direct", "", "")
}

// TestRelayed: both ends see a relayed connection as p2p-circuit, with the security
// protocol that they negotiated, whatever the transport to the relay is.
func TestRelayed(t *testing.T) {
	f := func(listen string, security protocol.ID, opts ...libp2p.Option) {
		t.Helper()
		opts = append(opts, libp2p.EnableRelay())
		middle := newHost(t, append(opts, libp2p.ListenAddrStrings(listen))...)
		r, err := relay.New(middle)
		require.NoError(t, err)
		defer r.Close()
		server, dialer := newHost(t, append(opts, libp2p.NoListenAddrs)...), newHost(t, append(opts, libp2p.NoListenAddrs)...)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		at := peer.AddrInfo{ID: middle.ID(), Addrs: middle.Addrs()}
		require.NoError(t, server.Connect(ctx, at))
		_, err = client.Reserve(ctx, server, at)
		require.NoError(t, err)
		way := ma.StringCast(middle.Addrs()[0].String() + "/p2p/" + middle.ID().String() + "/p2p-circuit")
		require.NoError(t, dialer.Connect(network.WithAllowLimitedConn(ctx, "test"), peer.AddrInfo{ID: server.ID(), Addrs: []ma.Multiaddr{way}}))
		inbound, outbound := both(t, server, dialer)
		for name, s := range map[string]network.ConnectionState{"inbound": inbound, "outbound": outbound} {
			require.Equal(t, "p2p-circuit", s.Transport, "%s by %s", name, listen)
			require.Equal(t, security, s.Security, "%s by %s", name, listen)
			require.Equal(t, yamux, s.StreamMultiplexer, "%s by %s", name, listen)
		}
		// The connection to the relay itself has its own transport.
		require.NotEqual(t, "p2p-circuit", Of(server.Network().ConnsToPeer(middle.ID())[0]).Transport)
	}
	f("/ip4/127.0.0.1/tcp/0", withNoise, libp2p.Security(noise.ID, noise.New))
	f("/ip4/127.0.0.1/tcp/0/ws", withTLS, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	f("/ip4/127.0.0.1/udp/0/quic-v1", withNoise, libp2p.Security(noise.ID, noise.New))
}

// brokenConn is a relayed connection of another implementation.
type brokenConn struct{ network.Conn }

func (brokenConn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "p2p-circuit"}
}
func (brokenConn) RemoteMultiaddr() ma.Multiaddr { return nil }

// TestWhatIsNotKnown: it is reported as unknown, not as missing.
func TestWhatIsNotKnown(t *testing.T) {
	s := Of(brokenConn{})
	require.Equal(t, network.ConnectionState{Transport: "p2p-circuit", Security: unknown, StreamMultiplexer: unknown}, s)
	require.Equal(t, "memory", transport("memory", ma.StringCast("/memory/5")))
	require.Equal(t, "tcp", transport("tcp", ma.StringCast("/ip4/1.2.3.4/tcp/1/tls")))
	require.Equal(t, WSS, transport("tcp", ma.StringCast("/dns4/x/tcp/443/wss")))
	require.Equal(t, WS, transport("websocket", ma.StringCast("/ip4/1.2.3.4/tcp/1")))
}
