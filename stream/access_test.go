package stream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/internal/access"
)

const goodToken = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// certificate writes a certificate for localhost and its key, and returns the pool that
// trusts it.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"monitor.example"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(cert, data, 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(data))
	return cert, key, pool
}

// beyond serves on a listener beyond loopback, with TLS and a token.
func beyond(t *testing.T) (*running, Options) {
	t.Helper()
	cert, key, pool := certificate(t)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(goodToken+"\n"), 0o600))
	s, err := New(Config{
		ListenAddresses: []string{"0.0.0.0:0"}, Config: access.Config{TLSCertFile: cert, TLSKeyFile: key, TokenFiles: []string{token}},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), HandshakeTimeout: 2 * time.Second,
	})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	_, port, err := net.SplitHostPort(s.Addrs()[0].String())
	require.NoError(t, err)
	b := bus.New(bus.Config{})
	r := b.Subscribe("stream")
	b.Live()
	run := &running{Server: s, bus: b, addr: net.JoinHostPort("127.0.0.1", port), done: make(chan error, 1)}
	go func() { run.done <- s.Run(t.Context(), r) }()
	t.Cleanup(func() {
		b.Close()
		require.NoError(t, s.Close())
	})
	return run, Options{Token: goodToken, TLS: &tls.Config{RootCAs: pool, ServerName: "monitor.example"}}
}

func TestBeyondLoopback(t *testing.T) {
	s, good := beyond(t)
	c, err := good.Dial(t.Context(), s.addr)
	require.NoError(t, err)
	defer c.Close()
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	s.bus.Publish(connection(1, false))
	e, err := c.Next()
	require.NoError(t, err)
	require.Equal(t, testPeer(1).String(), e.Peer)

	wrong := good
	for _, token := range []string{"", "x", strings.ToUpper(goodToken)} {
		wrong.Token = token
		_, err = wrong.Dial(t.Context(), s.addr)
		require.ErrorIs(t, err, ErrRefused)
		require.ErrorContains(t, err, "no valid token")
	}
	old := good
	old.Version = 3
	v3, err := old.Dial(t.Context(), s.addr)
	if err == nil { // the server sends its version first and then closes
		_, err = v3.Next()
		v3.Close()
	}
	require.Error(t, err, "version 3 has no place for a token")
	s.await(t, func(st Stats) bool { return st.FailedTokens == 4 })

	plain := good
	plain.TLS = nil
	_, err = plain.Dial(t.Context(), s.addr)
	require.Error(t, err)
	other := good
	other.TLS = &tls.Config{}
	_, err = other.Dial(t.Context(), s.addr)
	require.ErrorContains(t, err, "certificate")
	require.Len(t, s.Stats().Subscribers, 1)
	s.bus.Close()
	_, err = c.Next()
	require.Equal(t, io.EOF, err)
	require.NoError(t, <-s.done)
}

func TestBeyondLoopbackNeedsBoth(t *testing.T) {
	cert, key, _ := certificate(t)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(goodToken), 0o600))
	f := func(c Config) {
		t.Helper()
		c.ListenAddresses = []string{"0.0.0.0:0"}
		_, err := New(c)
		require.ErrorContains(t, err, "0.0.0.0:0")
		c.AllowInsecure = true
		s, err := New(c)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	f(Config{})
	f(Config{Config: access.Config{TokenFiles: []string{token}}})
	f(Config{Config: access.Config{TLSCertFile: cert, TLSKeyFile: key}})
	_, err := New(Config{ListenAddresses: []string{"0.0.0.0:0"}, Config: access.Config{TLSCertFile: cert, TLSKeyFile: key, TokenFiles: []string{token + "x"}}})
	require.ErrorIs(t, err, os.ErrNotExist)
}
