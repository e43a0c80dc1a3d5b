//go:build stack || all

package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// site is the project's nginx configuration, laid out as the compose files mount
// it, with this machine's ports and folders in place of the containers'.
type site struct {
	t     *testing.T
	dir   string
	ports map[string]string // as written in the configuration -> the address here
	proc  *harness.Process
}

// newSite lays out docker-compose.yml and the overlays named.
func newSite(t *testing.T, node, streams, grafana, influxdb string, overlays ...string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), ports: map[string]string{}}
	mounts := map[string]string{
		"nginx.conf": "nginx.conf", "locations.conf": "ipfsmon/locations.conf", "influxdb.conf": "ipfsmon/influxdb.conf",
		"start.sh": "ipfsmon/start.sh", "upstreams.conf": "ipfsmon/http.d/upstreams.conf", "loopback.conf": "ipfsmon/http.d/site.conf", "help.html": "ipfsmon/help.html",
	}
	for _, o := range overlays {
		switch o {
		case "tls":
			delete(mounts, "loopback.conf")
			mounts["tls.conf"] = "ipfsmon/http.d/site.conf"
		case "public":
			mounts["login.conf"] = "ipfsmon/login.conf"
		case "stream":
			mounts["stream.conf"] = "ipfsmon/stream.d/stream.conf"
		}
	}
	require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "secrets"), 0o755))
	// Those of the mounts that the compose files have must be the ones here.
	var declared strings.Builder
	for _, f := range append([]string{"docker-compose"}, overlays...) {
		if f != "docker-compose" {
			f = "docker/compose/" + f
		}
		b, err := os.ReadFile("../../" + f + ".yml")
		require.NoError(t, err)
		declared.Write(b)
	}
	listen := regexp.MustCompile(`listen (127\.0\.0\.1:)?(\d+)`)
	for from, to := range mounts {
		require.Contains(t, declared.String(), "./nginx/"+from+":/etc/nginx/"+to+":ro")
		b, err := os.ReadFile("../../nginx/" + from)
		require.NoError(t, err)
		text := listen.ReplaceAllStringFunc(string(b), func(m string) string {
			port := listen.FindStringSubmatch(m)[2]
			if s.ports[port] == "" {
				s.ports[port] = harness.FreeAddress(t, "tcp")
			}
			return "listen " + s.ports[port]
		})
		text = strings.NewReplacer(
			"/etc/nginx/ipfsmon/", s.dir+"/ipfsmon/",
			"/run/secrets/", s.dir+"/secrets/", " /secrets/", " "+s.dir+"/secrets/",
			"/tmp/", s.dir+"/",
			"unix:/run/ipfsmon/http.sock", "unix:"+node, "unix:/run/ipfsmon/stream.sock", "unix:"+streams,
			"default grafana:3000", "default "+grafana, "default influxdb:8086", "default "+influxdb,
		).Replace(text)
		path := filepath.Join(s.dir, to)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return s
}

// start checks the configuration and runs nginx with it. As root its workers
// would be another user, who may not use the node's sockets.
func (s *site) start() {
	s.t.Helper()
	start := filepath.Join(s.dir, "ipfsmon", "start.sh")
	args := []string{"-c", filepath.Join(s.dir, "nginx.conf")}
	if os.Getuid() == 0 {
		args = append(args, "-g", "user root;")
	}
	out, err := exec.Command("sh", append([]string{start}, append(args, "-t")...)...).CombinedOutput()
	require.NoError(s.t, err, string(out))
	require.NotContains(s.t, string(out), "[warn]")
	args[len(args)-1] += " daemon off;"
	if os.Getuid() != 0 {
		args = append(args, "-g", "daemon off;")
	}
	s.proc = harness.Launch(s.t, os.Environ(), "sh", append([]string{start}, args...)...)
	require.Eventually(s.t, func() bool {
		resp, err := http.Get("http://" + s.ports["8081"] + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	}, 30*time.Second, 50*time.Millisecond)
}

// ask makes a request for a path of the server on a port.
func (s *site) ask(c *http.Client, method, port, path string, change ...func(*http.Request)) (*http.Response, string) {
	s.t.Helper()
	scheme := "http://"
	if port == "8443" {
		scheme = "https://"
	}
	req, err := http.NewRequest(method, scheme+s.ports[port]+path, nil)
	require.NoError(s.t, err)
	for _, f := range change {
		f(req)
	}
	resp, err := c.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, string(b)
}

// grafanaStandIn answers what Grafana's own addresses do, as far as nginx has to
// do with it, and counts what comes to it.
func grafanaStandIn(t *testing.T) (address string, seen func(path string) int) {
	var mu sync.Mutex
	requests := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		requests[q.URL.Path]++
		mu.Unlock()
		switch {
		case q.URL.Path == "/grafana/api/live/ws":
			// Grafana too compares Origin with Host.
			c, err := websocket.Accept(w, q, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			for {
				kind, b, err := c.Read(q.Context())
				if err != nil || c.Write(q.Context(), kind, b) != nil {
					return
				}
			}
		case q.URL.Path == "/grafana/login" && q.Method == "POST":
			http.Error(w, "invalid username or password", http.StatusUnauthorized)
		case q.URL.Path == "/grafana/large":
			for chunk := make([]byte, 1<<20); ; {
				if _, err := w.Write(chunk); err != nil {
					return // the reader is gone: the answer does not end on its own
				}
			}
		case q.URL.Path == "/grafana/api/snapshots":
			n, err := io.Copy(io.Discard, q.Body)
			fmt.Fprintf(w, "%d bytes, %v", n, err)
		default:
			fmt.Fprintf(w, "host %s, proto %s, for %s", q.Host, q.Header.Get("X-Forwarded-Proto"), q.Header.Get("X-Forwarded-For"))
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), func(path string) int {
		mu.Lock()
		defer mu.Unlock()
		return requests[path]
	}
}

// authority makes certificates: for servers on localhost, and for clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, key := a.make(template)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a.cert, a.key = cert, key
	a.pool.AddCert(cert)
	return a
}

func (a *authority) make(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	a.n++
	template.SerialNumber = big.NewInt(a.n)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := template, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err = x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	require.NoError(a.t, err)
	return der, key
}

// leaf returns a certificate and its key as PEM.
func (a *authority) leaf(usage x509.ExtKeyUsage) (cert, key []byte) {
	der, private := a.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "influxdb.example.org"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	})
	b, err := x509.MarshalECPrivateKey(private)
	require.NoError(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})
}

// TestStackNginx puts a real nginx with the project's configuration in front
// of a real node, a real InfluxDB and a stand-in for Grafana.
func TestStackNginx(t *testing.T) {
	sockets := t.TempDir()
	nodeSocket, streamSocket := filepath.Join(sockets, "http"), filepath.Join(sockets, "stream")
	n := harness.StartNode(t, t.TempDir(), "--http", "unix:"+nodeSocket, "--stream", "unix:"+streamSocket)
	grafana, seen := grafanaStandIn(t)
	influxdb, _, admin := harness.StartInfluxDB2(t)
	influxdb = strings.TrimPrefix(influxdb, "http://")
	plain := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	t.Run("loopback", func(t *testing.T) {
		s := newSite(t, nodeSocket, streamSocket, grafana, influxdb)
		s.start()
		for path, want := range map[string]int{
			"/":                                200,
			"/metric_plugin/v1/ready":          200,
			"/metric_plugin/v1/pipeline":       200,
			"/metric_plugin/v1/subscribers":    404,
			"/metric_plugin/v1/broadcast_want": 404,
			"/metric_plugin/v1/../../metrics":  404,
			"/metric_plugin/v1/%2e%2e/metrics": 404,
			"//metrics":                        404,
			"/metrics":                         404,
			"/debug/pprof/":                    404,
			"/api/v0/id":                       404,
			"/help.html":                       404,
			"/grafana/":                        200,
			"/grafana/metrics":                 404,
			"/grafana/api/admin/settings":      404,
			"/grafana/api/live/push/x":         404,
			"/grafana/api/live/pushx":          404,
			"/grafana":                         301,
		} {
			resp, body := s.ask(plain, "GET", "8080", path)
			require.Equal(t, want, resp.StatusCode, "%s: %s", path, body)
			require.NotContains(t, resp.Header.Get("Server"), "/", "the version of nginx")
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			resp, _ := s.ask(plain, method, "8080", "/metric_plugin/v1/ping")
			require.Equal(t, 405, resp.StatusCode, method)
		}
		_, body := s.ask(plain, "GET", "8080", "/grafana/d/x")
		require.Equal(t, "host "+s.ports["8080"]+", proto http, for 127.0.0.1", body)

		// WebSockets: Grafana Live, and the node's own.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, "ws://"+s.ports["8080"]+"/grafana/api/live/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://" + s.ports["8080"]}}})
		require.NoError(t, err)
		defer ws.CloseNow()
		require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte("there and back")))
		_, b, err := ws.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, "there and back", string(b))
		live, resp, err := websocket.Dial(ctx, "ws://"+s.ports["8080"]+"/introspect", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://" + s.ports["8080"]}}})
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		live.CloseNow()
		_, resp, err = websocket.Dial(ctx, "ws://"+s.ports["8080"]+"/introspect", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.example"}}})
		require.Error(t, err)
		require.Equal(t, 403, resp.StatusCode)

		// A name that is not this machine's is the node's to refuse.
		resp, _ = s.ask(plain, "GET", "8080", "/metric_plugin/v1/ping", func(q *http.Request) { q.Host = "evil.example" })
		require.Equal(t, 403, resp.StatusCode)

		// InfluxDB's pages and login; nothing that writes, and no tokens.
		asInfluxDB := func(q *http.Request) {
			q.Host = "influxdb.localhost:8080"
			q.Header.Set("Authorization", "Token "+admin)
		}
		resp, body = s.ask(plain, "GET", "8080", "/health", asInfluxDB)
		require.Equal(t, 200, resp.StatusCode)
		require.Contains(t, body, "ready for queries")
		resp, _ = s.ask(plain, "GET", "8080", "/api/v2/buckets", asInfluxDB)
		require.Equal(t, 401, resp.StatusCode, "a token came through")
		for _, path := range []string{"/api/v2/write", "/api/v2/delete", "/api/v2/setup", "/api/v2/backup/kv", "/write", "/query", "/metrics", "/debug/pprof/heap"} {
			resp, _ = s.ask(plain, "POST", "8080", path, asInfluxDB)
			require.Equal(t, 404, resp.StatusCode, path)
		}
		resp, _ = s.ask(plain, "POST", "8080", "/api/v2/signin", func(q *http.Request) {
			q.Host = "influxdb.localhost"
			q.SetBasicAuth("admin", "of-the-test")
		})
		require.Equal(t, 204, resp.StatusCode)
		require.NotEmpty(t, resp.Cookies())

		// Ten tries a minute to sign in, and five at once.
		statuses := map[int]int{}
		for range 20 {
			resp, _ = s.ask(plain, "POST", "8080", "/grafana/login")
			statuses[resp.StatusCode]++
		}
		require.Equal(t, 20, statuses[401]+statuses[429], "%v", statuses)
		require.GreaterOrEqual(t, statuses[429], 1, "%v", statuses)
		require.Equal(t, statuses[401], seen("/grafana/login"))
		resp, _ = s.ask(plain, "GET", "8080", "/grafana/login")
		require.Equal(t, 200, resp.StatusCode, "the page itself is not counted")

		// A flood is refused, and does not reach the node.
		var mu sync.Mutex
		flood := map[int]int{}
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				for range 20 {
					resp, err := plain.Get("http://" + s.ports["8080"] + "/metric_plugin/v1/ping")
					if err != nil {
						continue
					}
					resp.Body.Close()
					mu.Lock()
					flood[resp.StatusCode]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Positive(t, flood[200], "%v", flood)
		require.Positive(t, flood[429], "%v", flood)
		for status := range flood {
			require.Contains(t, []int{200, 429}, status, "%v", flood)
		}
	})

	a := newAuthority(t)
	cert, key := a.leaf(x509.ExtKeyUsageServerAuth)
	secrets := func(s *site) {
		write := func(name string, b []byte) {
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "secrets", name), b, 0o600))
		}
		write("tls_cert", cert)
		write("tls_key", key)
		write("stream_clients", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	}
	secure := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool}}}
	t.Cleanup(secure.CloseIdleConnections)

	t.Run("public", func(t *testing.T) {
		s := newSite(t, nodeSocket, streamSocket, grafana, influxdb, "tls", "public")
		secrets(s)
		// The list of users as setup makes it.
		dir := filepath.Join(s.dir, "made")
		out, err := harness.Run(append(n.Env, "IPFSMON_INFLUXDB_URL=http://"+influxdb, "IPFSMON_INFLUXDB_ORG=ipfsmon", "IPFSMON_INFLUXDB_TOKEN="+admin), "setup", "--dir", dir)
		require.NoError(t, err, out)
		users, err := os.ReadFile(filepath.Join(dir, "nginx", "htpasswd"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "secrets", "htpasswd"), users, 0o600))
		password, err := harness.Run(n.Env, "setup", "show", "--dir", dir, "admin/web-password")
		require.NoError(t, err)
		s.start()

		resp, _ := s.ask(plain, "GET", "8080", "/a?b=c", func(q *http.Request) { q.Host = "monitor.example.org" })
		require.Equal(t, 308, resp.StatusCode)
		require.Equal(t, "https://monitor.example.org/a?b=c", resp.Header.Get("Location"))
		for _, path := range []string{"/", "/metric_plugin/v1/ready", "/introspect"} {
			resp, _ = s.ask(secure, "GET", "8443", path)
			require.Equal(t, 401, resp.StatusCode, path)
			resp, _ = s.ask(secure, "GET", "8443", path, func(q *http.Request) { q.SetBasicAuth("ipfsmon", "guess") })
			require.Equal(t, 401, resp.StatusCode, path)
		}
		resp, body := s.ask(secure, "GET", "8443", "/metric_plugin/v1/ready", func(q *http.Request) { q.SetBasicAuth("ipfsmon", strings.TrimSpace(password)) })
		require.Equal(t, 200, resp.StatusCode, body)
		require.Contains(t, resp.Header.Get("Strict-Transport-Security"), "max-age=")
		resp, body = s.ask(secure, "GET", "8443", "/grafana/") // has its own login
		require.Equal(t, 200, resp.StatusCode)
		require.Contains(t, body, "proto https")
		resp, _ = s.ask(secure, "GET", "8443", "/health", func(q *http.Request) { q.Host = "influxdb.example.org" })
		require.Equal(t, 200, resp.StatusCode)

		_, err = tls.Dial("tcp", s.ports["8443"], &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // is refused
		require.ErrorContains(t, err, "protocol version")
	})

	t.Run("stream", func(t *testing.T) {
		s := newSite(t, nodeSocket, streamSocket, grafana, influxdb, "tls", "stream")
		secrets(s)
		s.start()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := stream.Options{TLS: &tls.Config{RootCAs: a.pool}}.Dial(ctx, s.ports["8182"])
		require.Error(t, err, "without a certificate")
		clientCert, clientKey := a.leaf(x509.ExtKeyUsageClientAuth)
		pair, err := tls.X509KeyPair(clientCert, clientKey)
		require.NoError(t, err)
		o := stream.Options{TLS: &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{pair}}}
		var clients []*stream.Client
		for _, version := range []int{3, 4} {
			o.Version = version
			c, err := o.Dial(ctx, s.ports["8182"])
			require.NoError(t, err, "version %d", version)
			defer c.Close()
			require.Equal(t, version, c.Version())
			clients = append(clients, c)
		}
		require.Len(t, clients, 2)
		// Eight at once from one address.
		refused := false
		for range 10 {
			c, err := o.Dial(ctx, s.ports["8182"])
			if err != nil {
				refused = true
				break
			}
			defer c.Close()
		}
		require.True(t, refused, "there is no limit")
	})

	t.Run("node away", func(t *testing.T) {
		s := newSite(t, filepath.Join(sockets, "none"), streamSocket, grafana, influxdb)
		s.start()
		resp, body := s.ask(plain, "GET", "8080", "/")
		require.Equal(t, 503, resp.StatusCode)
		require.Contains(t, body, "docker compose logs setup node")
		require.Contains(t, resp.Header.Get("Content-Type"), "text/html")
		resp, _ = s.ask(plain, "GET", "8080", "/grafana/")
		require.Equal(t, 200, resp.StatusCode)
		require.False(t, bytes.Contains([]byte(s.proc.Out.String()), []byte("[emerg]")))
	})
}

// TestStackNginxKeepsNothing: of large answers to slow readers and of large
// requests from slow senders nothing is kept in files, which are memory in the
// container, and others are served meanwhile.
func TestStackNginxKeepsNothing(t *testing.T) {
	grafana, _ := grafanaStandIn(t)
	s := newSite(t, "/nowhere", "/nowhere", grafana, "127.0.0.1:1")
	s.start()
	kept := func() (bytes int64) {
		for _, dir := range []string{"proxy", "client"} {
			require.NoError(t, filepath.WalkDir(filepath.Join(s.dir, dir), func(_ string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				info, err := d.Info()
				if err == nil {
					bytes += info.Size()
				}
				return nil
			}))
		}
		// A temporary file is deleted while it is open: those show in /proc alone.
		links, err := filepath.Glob("/proc/[0-9]*/fd/*")
		require.NoError(t, err)
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, s.dir) && strings.HasSuffix(to, " (deleted)") {
				if info, err := os.Stat(link); err == nil {
					bytes += info.Size()
				}
			}
		}
		return bytes
	}

	var readers, senders []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", s.ports["8080"])
		require.NoError(t, err)
		defer c.Close()
		_, err = fmt.Fprintf(c, "GET /grafana/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		readers = append(readers, c)
	}
	for range 10 {
		c, err := net.Dial("tcp", s.ports["8080"])
		require.NoError(t, err)
		defer c.Close()
		_, err = fmt.Fprintf(c, "POST /grafana/api/snapshots HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
		require.NoError(t, err)
		_, err = c.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		senders = append(senders, c)
	}
	// Each reader has the head of its answer and takes a little more now and then.
	plain := &http.Client{Timeout: 30 * time.Second}
	for range 20 {
		for _, c := range readers {
			_, err := io.ReadFull(c, make([]byte, 4096))
			require.NoError(t, err)
		}
		resp, body := s.ask(plain, "GET", "8080", "/grafana/d/x")
		require.Equal(t, 200, resp.StatusCode, body)
		require.Zero(t, kept(), "bytes of answers or requests in files")
		time.Sleep(50 * time.Millisecond) // for nginx to read ahead, if it would
	}
	for _, c := range senders {
		_, err := c.Write(make([]byte, 8000000-1<<20))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "8000000 bytes, <nil>", string(b))
	}

	// More than Grafana takes is refused with the reason in the status.
	c, err := net.Dial("tcp", s.ports["8080"])
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "POST /grafana/api/snapshots HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 32<<20)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 413, resp.StatusCode)
}
