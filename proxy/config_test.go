package proxy

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
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

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	made, err := loadKey(path)
	require.NoError(t, err)
	require.EqualValues(t, crypto.Ed25519, made.Type())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	again, err := loadKey(path)
	require.NoError(t, err)
	require.True(t, made.Equals(again))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no other file is left")

	for _, kind := range []int{crypto.RSA, crypto.Ed25519} {
		key, _, err := crypto.GenerateKeyPairWithReader(kind, 2048, rand.Reader)
		require.NoError(t, err)
		b, err := crypto.MarshalPrivateKey(key)
		require.NoError(t, err)
		std, err := crypto.PrivKeyToStdKey(key)
		require.NoError(t, err)
		if p, ok := std.(*ed25519.PrivateKey); ok {
			std = *p // in the form that x509 requires
		}
		der, err := x509.MarshalPKCS8PrivateKey(std)
		require.NoError(t, err)
		for name, content := range map[string][]byte{"protobuf": b, "pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(path, content, 0o600))
			got, err := loadKey(path)
			require.NoError(t, err, name)
			require.True(t, key.Equals(got), name)
		}
	}

	open := filepath.Join(dir, "open")
	require.NoError(t, os.WriteFile(open, []byte("x"), 0o644))
	_, err = loadKey(open)
	require.ErrorContains(t, err, "others may read it")
	bad := filepath.Join(dir, "bad")
	require.NoError(t, os.WriteFile(bad, []byte("x"), 0o600))
	_, err = loadKey(bad)
	require.ErrorContains(t, err, "ipfs key export")
}
