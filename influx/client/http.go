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

// newHTTP makes the HTTP client of a destination. It follows no redirects: another address
// would receive the credentials, and its answer means nothing. A timeout of 0 means none.
func newHTTP(set *Settings, timeout time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 2
	t.MaxResponseHeaderBytes = 64 << 10
	t.Proxy = set.proxy
	t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, res *http.Response) error {
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("the proxy %s answered, not InfluxDB: %s; list the host in NO_PROXY if it needs no proxy", proxy.Redacted(), event.Clean(res.Status, maxText))
		}
		return nil
	}
	return &http.Client{
		Transport:     &Transport{t},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Client returns the HTTP client of a destination with a timeout for each request; 0 means
// none.
func (s *Settings) Client(timeout time.Duration) *Client {
	return &Client{set: s, http: newHTTP(s, timeout)}
}

// proxy returns the proxy of a request: the configured Proxy, or the environment's for https to
// another machine, or none. HTTP_PROXY is never used: that proxy could read the credentials and
// the points.
func (s *Settings) proxy(req *http.Request) (*url.URL, error) {
	switch {
	case s.through != nil:
		return s.through, nil
	case req.URL.Scheme == "https" && !s.Local && strings.ContainsAny(req.URL.Hostname(), ".:"): // others are on this machine or in its containers
		return http.ProxyFromEnvironment(req)
	}
	return nil, nil
}

// proxyHeader is set on answers that may come from a proxy.
const proxyHeader = "X-Ipfsmon-Through"

// Transport turns answers that are not the configured server's into errors.
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
	if req.URL.Scheme == "http" && t.Proxy != nil {
		if through, err := t.Proxy(req); err == nil && through != nil {
			res.Header.Set(proxyHeader, through.Redacted())
		}
	}
	return res, nil
}

// Through returns a note that an answer may come from a proxy; "" if it is the server's.
func Through(h http.Header) string {
	if p := h.Get(proxyHeader); p != "" {
		return "; the answer came through the proxy " + p
	}
	return ""
}

// RedirectError is returned when a server redirects. Redirects are not followed: another server
// would get the credentials.
type RedirectError struct {
	Status int
	To     string // the target without the request's path
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("it answers %d %s to %s, which is not followed; set URL to that if it is the server (InfluxDB.URL, IPFSMON_INFLUXDB_URL or --influxdb)",
		e.Status, http.StatusText(e.Status), e.To)
}

// target derives the URL to configure from the Location of a redirect.
func target(to *url.URL) string {
	u := *to
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	for _, path := range []string{"/api/v3/write_lp", "/api/v3/query_sql", "/api/v3/configure/database", "/api/v2/write", "/api/v2/query", "/write", "/query", "/ping", "/health"} {
		if rest, ok := strings.CutSuffix(u.Path, path); ok {
			u.Path, u.RawPath = rest, ""
			break
		}
	}
	return string(event.Clean(u.String(), 300))
}

// Version asks the server for its version, such as 2.7.12. It is "" if the server does not
// report one, which is not an error: other servers accept line protocol too, and InfluxDB 3
// answers 401 without a valid token. An error is one of the connection.
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
	version := cleanHeader(strings.TrimPrefix(res.Header.Get("X-Influxdb-Version"), "v"))
	c.set.found.set(version, cleanHeader(res.Header.Get("X-Influxdb-Build")), res.StatusCode == http.StatusUnauthorized)
	return version, nil
}
