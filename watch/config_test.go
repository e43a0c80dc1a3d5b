package watch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const somePeer = "/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"

func TestErrorsNameTheFlag(t *testing.T) {
	f := func(c Config, want ...string) {
		t.Helper()
		err := c.Validate()
		if len(want) == 0 {
			require.NoError(t, err)
			return
		}
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
	}
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "peers")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	f(Config{})
	f(Config{Peers: 8000, DHT: "server", LookupEvery: -1, WantEvery: time.Minute, Rate: 1, Answers: 1})
	f(Config{Peers: 49}, "--peers 49: want 50 to 20000")
	f(Config{Peers: -1, DHT: "both", Rate: -1, Answers: MaxRate + 1}, "--peers -1", `--dht "both": want one of auto, server, client`, "--rate -1: want 1 to", "--answers 1000001: want 1 to")
	f(Config{LookupEvery: time.Millisecond, WantEvery: -1}, "--lookup-every 1ms: want 1s or more", "--want-every -1ns: want 1s or more")
	f(Config{Listen: []string{"4001"}}, `--listen "4001": want a multiaddr`)
	f(Config{Listen: []string{"/ip4/0.0.0.0/udp/4001"}}, "--listen /ip4/0.0.0.0/udp/4001: want tcp, udp/PORT/quic-v1")
	f(Config{Listen: []string{"/ip4/0.0.0.0/tcp/1/ws", "/ip4/0.0.0.0/udp/1/webrtc-direct"}})
	f(Config{Isolated: true, Listen: []string{"/ip4/0.0.0.0/tcp/4001"}}, "--listen /ip4/0.0.0.0/tcp/4001: an isolated node listens on loopback")
	f(Config{Bootstrap: []string{"/ip4/192.0.2.1/tcp/4001"}}, `--bootstrap "/ip4/192.0.2.1/tcp/4001": want a multiaddr with a peer ID`)
	f(Config{Isolated: true, Bootstrap: []string{"/dnsaddr/bootstrap.libp2p.io" + somePeer}}, "an isolated node connects to loopback alone")
	f(Config{Isolated: true, Bootstrap: []string{"/ip4/127.0.0.1/tcp/1" + somePeer}})
	f(Config{BootstrapFile: file("# ours\n\n /ip4/192.0.2.1/tcp/4001" + somePeer + " # the first\n")})
	f(Config{BootstrapFile: file("# nobody\n")}, "--bootstrap-file", "want a bootstrap peer on each line")
	f(Config{BootstrapFile: file("nobody\n")}, "--bootstrap-file", `"nobody": want a multiaddr`)
	f(Config{BootstrapFile: file("/ip4/192.0.2.1/tcp/4001" + somePeer + strings.Repeat("\n", maxBootstrapFile))}, "--bootstrap-file", "want at most 1048576 bytes")
	f(Config{BootstrapFile: "/nonexistent"}, "--bootstrap-file: open /nonexistent")
	f(Config{Bootstrap: []string{NoBootstrap}})
	f(Config{Bootstrap: []string{NoBootstrap}, BootstrapFile: "x"}, "want one of them")
	f(Config{Blocks: "/nonexistent"}, "--blocks: want a folder with CAR files")
	f(Config{Blocks: file("")}, "want a folder with CAR files, not a file")
}

func TestBootstrapPeers(t *testing.T) {
	count := func(c Config, want int) {
		t.Helper()
		s, err := c.settings()
		require.NoError(t, err)
		require.Len(t, s.bootstrap, want)
	}
	public, err := Config{}.settings()
	require.NoError(t, err)
	require.Greater(t, len(public.bootstrap), 4, "kubo's list")
	count(Config{Bootstrap: []string{NoBootstrap}}, 0)
	count(Config{Isolated: true}, 0)
	count(Config{Bootstrap: []string{"/ip4/192.0.2.1/tcp/4001" + somePeer, "/ip4/192.0.2.2/tcp/4001" + somePeer}}, 1)
}

func TestTCPAddresses(t *testing.T) {
	require.Equal(t, []string{"0.0.0.0:4001"}, Config{}.TCPAddresses())
	require.Equal(t, []string{"127.0.0.1:1", "127.0.0.1:2"}, Config{Listen: []string{
		"/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2/ws", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1"}}.TCPAddresses())
}

func TestReserve(t *testing.T) {
	require.NoError(t, Reserve(64))
	err := Reserve(1 << 40)
	require.ErrorContains(t, err, "so many peers need 1099511627776")
	require.ErrorContains(t, err, "ulimit -n 1099511627776")
	require.Greater(t, Config{Peers: 8000}.Descriptors(), 8000*5/4)
}
