package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// To says how requests reach a server. The zero value is for a server by its URL,
// without a token and a time limit.
type To struct {
	// Socket is the path of the unix socket behind which the server is, "" for one
	// that its URL names.
	Socket string
	// Token is sent as "Authorization: Bearer", unless it is "" or the request has
	// that header.
	Token string
	// Roots are the authorities whose certificates are valid; nil: the system's.
	Roots *x509.CertPool
	// Timeout includes reading the answer; 0 means none.
	Timeout time.Duration
}

// Client is To.Client for a server by its URL, without a token.
func Client(timeout time.Duration) *http.Client { return To{Timeout: timeout}.Client() }

// Client returns a client for requests to servers of ipfsmon and to servers on
// this machine. It ignores HTTP_PROXY, because a proxy could read the token, and
// follows no redirects.
func (to To) Client() *http.Client {
	t := &http.Transport{Proxy: nil, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8}
	if to.Roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: to.Roots, MinVersion: tls.VersionTLS12}
	}
	if to.Socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", to.Socket)
		}
	}
	c := &http.Client{
		Transport:     t,
		Timeout:       to.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if to.Token != "" {
		c.Transport = &withToken{t, "Bearer " + to.Token}
	}
	return c
}

// withToken sends a token with each request.
type withToken struct {
	*http.Transport
	header string
}

func (t *withToken) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Header.Get("Authorization") == "" {
		q = q.Clone(q.Context())
		q.Header.Set("Authorization", t.header)
	}
	return t.Transport.RoundTrip(q)
}

// SplitAddress splits an address of the configuration into the host of its URLs
// and To.Socket: unix:/path is localhost behind that socket, any other address is
// returned unchanged.
func SplitAddress(address string) (host, socket string) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return "localhost", path
	}
	return address, ""
}

// ReadRoots reads the authorities for To.Roots from a file in PEM.
func ReadRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate: want PEM", file)
	}
	return roots, nil
}
