package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// newHTTP makes the HTTP client of a destination. It follows no redirects:
// the answer of another address than the configured one means nothing, and it
// would be sent the credentials. A timeout of 0 is none.
func newHTTP(set *Settings, timeout time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 2
	t.MaxResponseHeaderBytes = 64 << 10
	t.Proxy = set.proxy
	t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, res *http.Response) error {
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("the proxy %s answered, not InfluxDB: %s; NO_PROXY names hosts that need none", proxy.Redacted(), event.Clean(res.Status, maxText))
		}
		return nil
	}
	return &http.Client{
		Transport:     &Transport{t},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Client returns the client of a destination whose requests may take so long;
// a timeout of 0 is none.
func (s *Settings) Client(timeout time.Duration) *Client {
	return &Client{set: s, http: newHTTP(s, timeout)}
}

// proxy is the way of a request: straight to the server, but for https to
// another machine, which goes through the proxy of the environment, and for
// those who name a Proxy. What HTTP_PROXY names is not used: it would read the
// credentials and the points.
func (s *Settings) proxy(req *http.Request) (*url.URL, error) {
	switch {
	case s.through != nil:
		return s.through, nil
	case req.URL.Scheme == "https" && !s.Local && strings.ContainsAny(req.URL.Hostname(), ".:"): // others are of this machine or of its containers
		return http.ProxyFromEnvironment(req)
	}
	return nil, nil
}

// proxyHeader is put into answers that may be of a proxy.
const proxyHeader = "X-Ipfsmon-Through"

// Transport makes errors of what is no answer of the configured server.
type Transport struct{ *http.Transport }

func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "proxyconnect" {
			err = fmt.Errorf("the proxy cannot be reached (HTTPS_PROXY, Proxy): %w", err)
		}
		return nil, err
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		if to, err := res.Location(); err == nil {
			res.Body.Close()
			return nil, &RedirectError{Status: res.StatusCode, To: target(to)}
		}
	}
	res.Header.Del(proxyHeader)
	if req.URL.Scheme == "http" {
		if through, err := t.Proxy(req); err == nil && through != nil {
			res.Header.Set(proxyHeader, through.Redacted())
		}
	}
	return res, nil
}

// Through says that an answer may be of a proxy; "" if it is the server's.
func Through(h http.Header) string {
	if p := h.Get(proxyHeader); p != "" {
		return "; the answer came through the proxy " + p
	}
	return ""
}

// RedirectError is the answer of a server that sends requests elsewhere. They
// are not sent there: it may be another server, which would get the credentials.
type RedirectError struct {
	Status int
	To     string // where, without the path of the request
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("it answers %d %s to %s, which is not followed; set URL to that if it is the server (InfluxDB.URL, IPFSMON_INFLUXDB_URL or --influxdb)",
		e.Status, http.StatusText(e.Status), e.To)
}

// target makes of the Location of a redirected request the URL to configure.
func target(to *url.URL) string {
	u := *to
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	for _, path := range []string{"/api/v2/write", "/api/v2/query", "/write", "/query", "/ping", "/health"} {
		if rest, ok := strings.CutSuffix(u.Path, path); ok {
			u.Path, u.RawPath = rest, ""
			break
		}
	}
	return string(event.Clean(u.String(), 300))
}

// Version asks the server for its version, such as 2.7.12. It is "" if the
// server does not say, which is no error: others speak line protocol too. The
// error is one of the connection.
func (c *Client) Version(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.set.Base.JoinPath("ping").String(), nil)
	if err != nil {
		return "", err
	}
	c.set.authorize(req)
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	res.Body.Close()
	return string(event.Clean(strings.TrimPrefix(res.Header.Get("X-Influxdb-Version"), "v"), 64)), nil
}

// IsVersion3 is whether a version is one of InfluxDB 3, whose databases,
// retention and rollups are made in other ways than those of 1.x and 2.x.
func IsVersion3(version string) bool { return strings.HasPrefix(version, "3.") }

// Version3Error is that of a set-up of InfluxDB 3.
type Version3Error struct{ Version string }

func (e *Version3Error) Error() string {
	return fmt.Sprintf("the server is InfluxDB %s; want 1.x or 2.x: in InfluxDB 3 no databases, retention and rollups are made", e.Version)
}
