//go:build faults || all

package faults

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// spooled fills a spool while there is no server, and returns the configuration.
func spooled(t *testing.T) *faultFlow {
	t.Helper()
	f := newFaultFlow(t)
	no := false
	f.cfg.CreateDatabase, f.cfg.Username, f.cfg.PasswordFile = &no, "", ""
	f.during(2000, func(s *influx.Sink) {
		require.Eventually(t, func() bool { return s.Stats().Accepted > 1000 }, time.Minute, 10*time.Millisecond)
	})
	return f
}

// R14: the server's certificate has expired. Nothing is sent to it; when it has a new one, the
// same process continues.
func TestFaultR14ExpiredCertificate(t *testing.T) {
	f := spooled(t)
	authority, file := expiringAuthority(t, t.TempDir())
	now := time.Now()
	expired, valid := authority(now.AddDate(0, 0, -30), now.Add(-time.Hour)), authority(now.Add(-time.Hour), now.Add(time.Hour))
	store := &harness.Counter{Lines: map[string]bool{}}
	var renewed atomic.Bool
	var shaken atomic.Int32
	s := httptest.NewUnstartedServer(store)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		shaken.Add(1)
		if renewed.Load() {
			return &tls.Config{Certificates: []tls.Certificate{*valid}}, nil
		}
		return &tls.Config{Certificates: []tls.Certificate{*expired}}, nil
	}}
	s.StartTLS()
	defer s.Close()
	p := harness.Start(t, harness.Environ(f.home, "SSL_CERT_FILE="+file, "IPFSMON_INFLUXDB_URL="+s.URL, "IPFSMON_INFLUXDB_CREATE_DATABASE=false"),
		"spool", "drain", "--dir", f.cfg.SpoolDir)
	require.Eventually(t, func() bool { return shaken.Load() >= 3 }, time.Minute, 10*time.Millisecond, "it tries again")
	p.Find(`(certificate has expired)`)
	require.Zero(t, store.Count(), "points went to a server whose certificate has expired")
	renewed.Store(true)
	require.Zero(t, p.Wait(2*time.Minute), p.Out)
	require.Equal(t, f.sent, store.Count())
}

// expiringAuthority makes an authority that signs certificates for 127.0.0.1, and
// the file that names it.
func expiringAuthority(t *testing.T, dir string) (sign func(from, to time.Time) *tls.Certificate, file string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	require.NoError(t, err)
	file = filepath.Join(dir, "authority.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return func(from, to time.Time) *tls.Certificate {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: "influx"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: from, NotAfter: to}
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, own.Public(), key)
		require.NoError(t, err)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	}, file
}

// R14: the server's name does not resolve, then its name server fails, then everything works.
func TestFaultR14NameHeals(t *testing.T) {
	f := spooled(t)
	store := &harness.Counter{Lines: map[string]bool{}}
	s := httptest.NewServer(store)
	defer s.Close()
	var state atomic.Int32 // an RCODE of RFC 1035, 4.1.1
	state.Store(3)
	asked := nameServer(t, &state)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	f.cfg.URL = "http://influx.test:" + port
	f.during(0, func(sink *influx.Sink) {
		for _, code := range []int32{3, 2} { // no such name; the name server's own failure
			state.Store(code)
			before := asked.Load()
			require.Eventually(t, func() bool { return asked.Load() > before+2 }, time.Minute, 10*time.Millisecond, "it asks again")
			require.Eventually(t, func() bool { return strings.Contains(sink.Stats().LastError, "influx.test") }, time.Minute, 10*time.Millisecond)
		}
		require.Zero(t, store.Count())
		state.Store(0)
		require.Eventually(t, func() bool { return sink.Stats().Queued == 0 }, 2*time.Minute, 10*time.Millisecond, "%+v", sink.Stats())
	})
	require.Equal(t, f.sent, store.Count())
}

// nameServer makes this process resolve names by one of its own, until the
// test's end, and counts the questions. It answers with the state's RCODE, or
// with 127.0.0.1.
func nameServer(t *testing.T, state *atomic.Int32) *atomic.Int32 {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var asked atomic.Int32
	done := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			asked.Add(1)
			end := 12 // of the header, then of the question: labels, type, class
			for end < n && b[end] != 0 {
				end += int(b[end]) + 1
			}
			if end += 5; end > n {
				continue
			}
			answer := append([]byte(nil), b[:end]...)
			code := byte(state.Load())
			answer[2], answer[3] = 0x85, 0x80|code // an authoritative answer, recursion available
			clear(answer[6:12])
			if code == 0 && binary.BigEndian.Uint16(b[end-4:]) == 1 { // type A
				answer[7] = 1
				answer = append(answer, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	was := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = was; conn.Close(); <-done })
	return &asked
}
