package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// maxAnswer bounds how much of a server's answer is read, in bytes.
const maxAnswer = 1 << 20

// Write posts lines of a kind, gzip or plain, and returns the server's answer: status, headers
// and at most maxAnswer bytes of the body.
func (c *Client) Write(ctx context.Context, kind schema.Kind, lines []byte, gzipped bool) (status int, header http.Header, answer []byte, err error) {
	u, q := c.set.Base.JoinPath("write"), url.Values{"precision": {"ns"}}
	switch c.set.API() {
	case 3:
		u = c.set.Base.JoinPath("api/v3/write_lp")
		q = url.Values{"db": {c.set.database3(kind)}, "precision": {"nanosecond"}, "accept_partial": {"true"}, "no_sync": {"false"}}
	case 2:
		u = c.set.Base.JoinPath("api/v2/write")
		q.Set("org", c.set.Org)
		q.Set("bucket", c.set.bucket(kind))
	default:
		q.Set("db", c.set.Database)
		q.Set("rp", kind.String())
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(lines))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if gzipped {
		req.Header.Set("Content-Encoding", "gzip")
	}
	c.set.authorize(req)
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil && res.StatusCode != http.StatusNoContent {
		return 0, nil, nil, err
	}
	return res.StatusCode, res.Header, answer, nil
}

// authorize adds the credentials to a request.
func (s *Settings) authorize(req *http.Request) {
	switch {
	case s.v3 && s.token != "":
		req.Header.Set("Authorization", "Bearer "+s.token)
	case s.v2:
		req.Header.Set("Authorization", "Token "+s.token)
	case s.Username != "":
		req.SetBasicAuth(s.Username, s.password)
	}
}

// RetryError is a failure after which the same request may be retried.
type RetryError struct {
	Err   error
	After time.Duration
}

func (e *RetryError) Error() string { return e.Err.Error() }

func (e *RetryError) Unwrap() error { return e.Err }

// RetryAfter returns the minimum wait before a retry, or -1 if err is not a RetryError.
func RetryAfter(err error) time.Duration {
	var r *RetryError
	if errors.As(err, &r) {
		return r.After
	}
	return -1
}
