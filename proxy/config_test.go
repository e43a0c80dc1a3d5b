package proxy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorsNameTheFlag(t *testing.T) {
	good := "/ip4/127.0.0.1/tcp/5001"
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
	f(Config{}, "You must specify the -d flag")
	f(Config{Downstreams: []string{good}})
	f(Config{Downstreams: []string{"a=" + good, "/dns4/node.example/tcp/5001", "/ip6/::1/tcp/5001"}})
	f(Config{Downstreams: []string{"nonsense"}}, "Invalid multiaddr", "specified for -d flag")
	f(Config{Downstreams: []string{"/ip4/127.0.0.1/udp/5001"}}, "Invalid multiaddr", "specified for -d flag")
	f(Config{Downstreams: []string{good, good}}, "-d "+good)
	f(Config{Downstreams: []string{"a\x00b=" + good}}, "-d")
	f(Config{Downstreams: []string{good}, Listen: []string{"x"}}, `Invalid multiaddr "x" specified for -l flag`)
	f(Config{Downstreams: []string{good}, WebSocket: "y"}, `Invalid multiaddr "y" specified for -w flag`)
	f(Config{Downstreams: []string{good}, PreloadPort: 70000, WebSocket: "/ip4/127.0.0.1/tcp/0"}, "Invalid preload port")
	f(Config{Downstreams: []string{good}, PreloadPort: 1}, "You must specify -w if you specify -p")
	f(Config{Downstreams: []string{good}, PreloadPort: 1, WebSocket: "/ip4/127.0.0.1/tcp/0", SwarmKeyFile: "k"}, "-p")
	f(Config{Downstreams: []string{good}, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, SwarmKeyFile: "k"}, "-l")
	f(Config{Downstreams: []string{good}, Listen: []string{"/ip4/127.0.0.1/udp/4441/quic"}}, "want quic-v1, as in /ip4/127.0.0.1/udp/4441/quic-v1")
	f(Config{Downstreams: []string{good}, Listen: []string{"/ip4/127.0.0.1/udp/4441"}}, "want quic-v1 after it, as in /ip4/127.0.0.1/udp/4441/quic-v1")
	f(Config{Downstreams: []string{good}, Listen: []string{"/ip4/127.0.0.1"}}, "want tcp or udp and quic-v1")
	f(Config{Downstreams: []string{good}, Listen: []string{"/ip4/127.0.0.1/udp/0/webrtc"}}, "want quic-v1")
	f(Config{Downstreams: []string{good}, Balance: "best", Fallback: 1, MaxUpstreams: -1, TrustedProxies: []string{"here"}},
		"--balance", "cid, round-robin, least", "--fallback", "--max-peers", "--trusted-proxies")
}
