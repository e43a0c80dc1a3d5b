package listen

import (
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A request to a server of ours uses no proxy, follows no redirect to another server, and
// ends.
func TestClientGoesStraight(t *testing.T) {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/silent":
			<-ended
		default:
			t.Errorf("asked for %s", r.URL)
		}
	}))
	defer server.Close()
	defer close(ended)
	c := Client(0)
	defer c.CloseIdleConnections()
	// Go never uses HTTP_PROXY for loopback, so the test checks the transport.
	if c.Transport.(*http.Transport).Proxy != nil {
		t.Error("the client uses a proxy, want none")
	}
	res, err := c.Get(server.URL + "/moved")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a redirect: %s", res.Status)
	}
	c = Client(50 * time.Millisecond)
	defer c.CloseIdleConnections()
	if res, err := c.Get(server.URL + "/silent"); !errors.Is(err, os.ErrDeadlineExceeded) && !os.IsTimeout(err) {
		t.Errorf("a silent server: %v, %v", res, err)
	}
}

// TestToReachesAServer: over TLS with its own authority, or over a unix socket, with the
// token.
func TestToReachesAServer(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	get := func(to To, url string) string {
		t.Helper()
		c := to.Client()
		defer c.CloseIdleConnections()
		res, err := c.Get(url)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body) // the arriving request is compared
		return string(b)
	}
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := ReadRoots(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(To{Token: "secret", Roots: roots}, server.URL); got != "Bearer secret" {
		t.Errorf("with the authority: %q", got)
	}
	if got := get(To{Token: "secret"}, server.URL); !strings.Contains(got, "certificate") {
		t.Errorf("without the authority: %q", got)
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none"), "client_test.go"} {
		if _, err := ReadRoots(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}

	address := "unix:" + filepath.Join(t.TempDir(), "s")
	all, err := All([]string{address}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer Background(&http.Server{Handler: handler}, all...)()
	host, socket := SplitAddress(address)
	if got := get(To{Socket: socket}, "http://"+host); got != "" {
		t.Errorf("by the socket, without a token: %q", got)
	}
	if host, socket := SplitAddress("127.0.0.1:8432"); host != "127.0.0.1:8432" || socket != "" {
		t.Errorf("%q and %q", host, socket)
	}
}
