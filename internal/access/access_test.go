package access

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tokenA = "0123456789abcdef0123456789abcdef"
	tokenB = "fedcba9876543210fedcba9876543210"
)

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chmod(path, mode)) // regardless of the umask
	return path
}

// newPair writes a new certificate for 127.0.0.1 and returns it.
func newPair(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "test"}}, &key.PublicKey, key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), 0o600)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func TestCheck(t *testing.T) {
	f := func(want string, c Config, addresses ...string) {
		t.Helper()
		err := c.Check(addresses)
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	full := Config{TLSCertFile: "c", TLSKeyFile: "k", TokenFiles: []string{"t"}}
	f("", Config{}, "127.0.0.1:1", "[::1]:1", "unix:/s")
	f("", full, "0.0.0.0:1", "127.0.0.1:1")
	f("", Config{AllowInsecure: true}, "0.0.0.0:1")
	f("", Config{TokenFiles: []string{"t"}}, "127.0.0.1:1")
	f("", Config{AllowInsecure: true, TokenFiles: []string{"t"}}, ":1")
	const refused = "set TLSCertFile, TLSKeyFile and TokenFiles"
	f(refused, Config{}, "0.0.0.0:1")
	f(refused, Config{TLSCertFile: "c", TLSKeyFile: "k"}, "0.0.0.0:1")
	f(refused, Config{TokenFiles: []string{"t"}}, "0.0.0.0:1")
	f("want both or none", Config{TLSCertFile: "c"}, "127.0.0.1:1")
	f("want both or none", Config{TLSKeyFile: "k"}, "127.0.0.1:1")
	f("never use TLS", full, "127.0.0.1:1", "unix:/s")
	f("empty path", Config{TokenFiles: []string{""}}, "127.0.0.1:1")
	f("missing ListenAddresses", Config{})
	f("is listed twice", full, "0.0.0.0:1", "0.0.0.0:1")
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	one := write(t, filepath.Join(dir, "one"), "\n  "+tokenA+"\t\r\n\n", 0o600)
	two := write(t, filepath.Join(dir, "two"), tokenB, 0o440)
	g, err := New(Config{TokenFiles: []string{one, two}}, nil)
	require.NoError(t, err)
	require.True(t, g.HasTokens())
	require.True(t, g.Allowed(tokenA))
	require.True(t, g.Allowed(tokenB))
	for _, bad := range []string{"", " " + tokenA, tokenA + "\n", tokenA[1:], tokenA + tokenB, strings.ToUpper(tokenA), "\x00"} {
		require.False(t, g.Allowed(bad), "%q", bad)
	}
	g, err = New(Config{}, nil)
	require.NoError(t, err)
	require.False(t, g.HasTokens())
	require.False(t, g.Allowed(""))
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	f := func(content string, mode os.FileMode, want string) {
		t.Helper()
		os.Remove(path)
		write(t, path, content, mode)
		_, err := New(Config{TokenFiles: []string{path}}, nil)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, want)
		if s := strings.TrimSpace(content); s != "" {
			require.NotContains(t, err.Error(), s[:min(len(s), 8)], "a token in the log")
		}
	}
	f("", 0o600, "is empty")
	f(" \n\t\r\n", 0o600, "is empty")
	f(tokenA, 0o644, "mode 0644 lets")
	f(tokenA, 0o602, "mode 0602 lets")
	f("hunter2secret", 0o600, "line 1 (13 bytes) is not a token")
	f(tokenA+"\ncorrect horse battery staple", 0o600, "line 2 (28 bytes) is not a token")
	f(strings.Repeat("x", 513), 0o600, "is not a token")
	f(tokenA+"\x00", 0o600, "is not a token")
	f("ääääääääääääääää", 0o600, "is not a token")
	f(strings.Repeat(tokenA+"\n", 8000), 0o600, "is too long")

	_, err := New(Config{TokenFiles: []string{filepath.Join(dir, "missing")}}, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = New(Config{TokenFiles: []string{dir}}, nil)
	require.ErrorContains(t, err, "want a regular file")
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = New(Config{TokenFiles: []string{fifo}}, nil)
	require.ErrorContains(t, err, "want a regular file")

	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	newPair(t, cert, key)
	require.NoError(t, os.Chmod(key, 0o604))
	_, err = New(Config{TLSCertFile: cert, TLSKeyFile: key}, nil)
	require.ErrorContains(t, err, "mode 0604 lets")
	newPair(t, filepath.Join(dir, "other"), key)
	require.NoError(t, os.Chmod(key, 0o600))
	_, err = New(Config{TLSCertFile: cert, TLSKeyFile: key}, nil)
	require.ErrorContains(t, err, "does not match")
}

// again makes the gate read its files at its next use.
func again(g *Gate) { g.lastRead.Store(-int64(time.Hour)) }

func TestRotation(t *testing.T) {
	var log bytes.Buffer
	path := write(t, filepath.Join(t.TempDir(), "tokens"), tokenA+"\n", 0o600)
	g, err := New(Config{TokenFiles: []string{path}}, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)

	write(t, path, tokenA+"\n"+tokenB+"\n", 0o600)
	again(g)
	require.True(t, g.Allowed(tokenA) && g.Allowed(tokenB), "both tokens are valid while clients change over")
	write(t, path, tokenB+"\n", 0o600)
	require.True(t, g.Allowed(tokenA), "the files are not read for each request")
	again(g)
	require.False(t, g.Allowed(tokenA))
	require.True(t, g.Allowed(tokenB))

	// A broken file changes nothing, and is used again when it is repaired.
	require.NoError(t, os.Chmod(path, 0o644))
	again(g)
	require.False(t, g.Allowed(tokenB))
	require.Contains(t, log.String(), "0644")
	require.NoError(t, os.Chmod(path, 0o600))
	again(g)
	require.True(t, g.Allowed(tokenB))
	require.NoError(t, os.Remove(path))
	again(g)
	require.False(t, g.Allowed(tokenB))
	require.NotContains(t, log.String(), tokenA)
	require.NotContains(t, log.String(), tokenB)
}

// TestReread: a change is noticed within a second, by the clock.
func TestReread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, filepath.Join(t.TempDir(), "tokens"), tokenA, 0o600)
		g, err := New(Config{TokenFiles: []string{path}}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		write(t, path, tokenB, 0o600)
		require.False(t, g.Allowed(tokenB))
		time.Sleep(rereadEvery)
		require.True(t, g.Allowed(tokenB))
		require.False(t, g.Allowed(tokenA))
	})
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{TLSCertFile: filepath.Join(dir, "cert"), TLSKeyFile: filepath.Join(dir, "key"),
		TokenFiles: []string{write(t, filepath.Join(dir, "t"), tokenA, 0o600)}}
	first := newPair(t, cfg.TLSCertFile, cfg.TLSKeyFile)
	g, err := New(cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ls, err := g.Listen([]string{"127.0.0.1:0", "unix:" + filepath.Join(dir, "s"), "0.0.0.0:0"}, listen.NewConns(listen.Bounds{Total: 64}))
	require.NoError(t, err)
	done := make(chan struct{})
	for _, l := range ls {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.WriteString(c, "hello") // some tests end before it
				c.Close()
			}
		}()
	}
	defer func() {
		for _, l := range ls {
			require.NoError(t, l.Close())
			<-done
		}
	}()
	plain := func(l *Listener) string {
		c, err := net.Dial(l.Addr().Network(), strings.Replace(l.Addr().String(), "[::]", "127.0.0.1", 1))
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	for _, l := range ls[:2] {
		require.False(t, l.Beyond || l.NeedsToken)
		require.Equal(t, "hello", plain(l))
	}
	beyond := ls[2]
	require.True(t, beyond.Beyond && beyond.NeedsToken)
	require.NotEqual(t, "hello", plain(beyond))

	_, port, err := net.SplitHostPort(beyond.Addr().String())
	require.NoError(t, err)
	dial := func(version uint16, root *x509.Certificate) error {
		roots := x509.NewCertPool()
		roots.AddCert(root)
		c, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version})
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		require.Equal(t, "hello", string(b))
		return err
	}
	require.NoError(t, dial(tls.VersionTLS13, first))
	require.NoError(t, dial(tls.VersionTLS12, first))
	require.Error(t, dial(tls.VersionTLS11, first))

	second := newPair(t, cfg.TLSCertFile, cfg.TLSKeyFile)
	again(g)
	require.NoError(t, dial(tls.VersionTLS13, second), "the new one without a restart")
	require.Error(t, dial(tls.VersionTLS13, first))
	write(t, cfg.TLSCertFile, "half of i", 0o644)
	again(g)
	require.NoError(t, dial(tls.VersionTLS13, second), "a broken one does not replace it")
}

func TestListenRefuses(t *testing.T) {
	g, err := New(Config{}, nil)
	require.NoError(t, err)
	_, err = g.Listen([]string{"127.0.0.1:0", "0.0.0.0:0"}, listen.NewConns(listen.Bounds{Total: 64}))
	require.ErrorContains(t, err, "AllowInsecure")

	g, err = New(Config{AllowInsecure: true}, nil)
	require.NoError(t, err)
	ls, err := g.Listen([]string{"0.0.0.0:0"}, listen.NewConns(listen.Bounds{Total: 64}))
	require.NoError(t, err)
	require.True(t, ls[0].Beyond)
	require.False(t, ls[0].NeedsToken)
	require.NoError(t, ls[0].Close())
}

func TestInsecureIsLoggedEachHour(t *testing.T) {
	f := func(c Config, l *Listener, want int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			g := &Gate{cfg: c, log: slog.New(slog.NewTextHandler(&log, nil))}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour+time.Minute)
			defer cancel()
			g.Run(ctx, []*Listener{l})
			require.Equal(t, want, strings.Count(log.String(), "AllowInsecure"))
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f(Config{AllowInsecure: true}, &Listener{l, true, false}, 3)
	f(Config{AllowInsecure: true, TokenFiles: []string{"t"}}, &Listener{l, true, true}, 3)
	f(Config{AllowInsecure: true}, &Listener{l, false, false}, 0)
	f(Config{AllowInsecure: true, TokenFiles: []string{"t"}, TLSCertFile: "c", TLSKeyFile: "k"}, &Listener{l, true, true}, 0)
}

func BenchmarkAllowed(b *testing.B) {
	path := filepath.Join(b.TempDir(), "t")
	require.NoError(b, os.WriteFile(path, []byte(tokenA+"\n"+tokenB), 0o600))
	g, err := New(Config{TokenFiles: []string{path}}, nil)
	require.NoError(b, err)
	for b.Loop() {
		g.Allowed(tokenB)
	}
}
