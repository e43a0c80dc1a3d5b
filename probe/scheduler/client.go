package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/server"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Times and limits of requests. The server's own limits end a measurement
// before these do.
const (
	readyTimeout   = 10 * time.Second
	slack          = 15 * time.Second
	maxAnswer      = 1 << 20 // bytes
	maxAnswerShown = 200     // bytes of an answer in an error
)

// errUnreachable is the error of a server that did not answer at all.
var errUnreachable = errors.New("no answer")

// client sends requests to servers. It may be used from any goroutine.
type client struct {
	http *http.Client // sends the token
	name string       // the scheduler's fleets, joined by commas
}

// ask sends a request and returns the whole answer. The error is errUnreachable if
// there is no answer.
func (c *client) ask(ctx context.Context, n *store.Node, method, path string, body any, limit time.Duration) (status int, header http.Header, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var b []byte
	if body != nil {
		if b, err = json.Marshal(body); err != nil {
			return 0, nil, nil, err
		}
	}
	to := url.URL{Scheme: "http", Host: net.JoinHostPort(n.IP.String(), strconv.Itoa(n.ServerPort))}
	req, err := http.NewRequestWithContext(ctx, method, to.String()+path, bytes.NewReader(b))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set(server.SchedulerHeader, c.name)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, nil, fmt.Errorf("%w: %w", errUnreachable, err) // it broke off
	case len(answer) > maxAnswer:
		return 0, nil, nil, fmt.Errorf("the server's answer is too long: want at most %d bytes", maxAnswer)
	}
	return res.StatusCode, res.Header, answer, nil
}

// ready returns an error unless a server is ready and still the one in the store: a
// restarted container may have the address of another one.
func (c *client) ready(ctx context.Context, n *store.Node) error {
	status, header, _, err := c.ask(ctx, n, http.MethodGet, "/readiness", nil, readyTimeout)
	switch id := header.Get(server.PeerHeader); {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("readiness is %d", status)
	case id != "" && id != n.PeerID:
		return fmt.Errorf("another server has its address now: %.80q", id)
	}
	return nil
}

// request is a body that all servers can read: parsec's program reads Routing,
// servers that follow parsec's contract read Target.
type request struct {
	Content []byte `json:",omitempty"`
	Routing probe.Target
	Target  probe.Target
}

// answer is a server's answer in either generation, as parsec's programs in Go
// and JavaScript write it: any field may be missing or null, and a number may
// have a fraction.
type answer struct {
	CID              string
	Duration         *float64 // nanoseconds
	Error            *string
	Measurements     []step
	RoutingTableSize float64
	Lookup           *server.Lookup
}

type step struct {
	Step     string
	Duration float64 // nanoseconds
	Error    string
}

// whole returns a JSON number as an integer, 0 if it is not one.
func whole[T ~int | ~int64](f float64) T {
	if !(f >= 0 && f < 1<<53) {
		return 0
	}
	return T(f)
}

// normal returns the answer in our form.
func (a *answer) normal() server.Answer {
	out := server.Answer{CID: a.CID, Error: a.Error, RoutingTableSize: min(whole[int](a.RoutingTableSize), math.MaxInt32), Lookup: a.Lookup}
	if a.Duration != nil {
		d := whole[time.Duration](*a.Duration)
		out.Duration = &d
	}
	for _, s := range a.Measurements {
		out.Measurements = append(out.Measurements, server.Measured{Step: s.Step, Duration: whole[time.Duration](s.Duration), Error: s.Error})
	}
	return out
}

// measured is a server's answer, in either generation.
type measured struct {
	server.Answer
	total   time.Duration
	failure string
}

func (c *client) provide(ctx context.Context, n *store.Node, content []byte, t probe.Target) (*measured, error) {
	limit := probe.ProvideTimeout
	if t == probe.IPNI {
		limit = probe.AnnounceTimeout
	}
	return c.measure(ctx, n, "/provide?generation=2", request{content, t, t}, limit)
}

func (c *client) retrieve(ctx context.Context, n *store.Node, cid string, t probe.Target) (*measured, error) {
	return c.measure(ctx, n, "/retrieve/"+cid+"?generation=2", request{nil, t, t}, probe.RetrieveTimeout)
}

// measure returns a result for every answer; that of an invalid one is a failure
// with the reason. It returns an error only if there was no answer.
func (c *client) measure(ctx context.Context, n *store.Node, path string, body request, limit time.Duration) (*measured, error) {
	began := time.Now()
	status, _, b, err := c.ask(ctx, n, http.MethodPost, path, body, limit+slack)
	m := &measured{total: time.Since(began)}
	shown := strings.TrimSpace(string(b[:min(len(b), maxAnswerShown)]))
	switch {
	case errors.Is(err, errUnreachable):
		return nil, err
	case err != nil:
		m.failure = err.Error()
	case status != http.StatusOK:
		m.failure = fmt.Sprintf("status %d: %s", status, shown)
	default:
		var a answer
		if err := json.Unmarshal(b, &a); err != nil || a.Measurements == nil && a.Duration == nil && a.Error == nil {
			m.failure = "the answer is not a measurement: " + shown
			break
		}
		m.Answer = a.normal()
		m.sum()
	}
	return m, nil
}

// of reports whether the answer is about that content. It compares multihashes,
// because servers in JavaScript answer with a CIDv1.
func (m *measured) of(c cid.Cid) bool {
	other, err := cidtext.Parse(m.CID)
	return err == nil && bytes.Equal(other.Hash(), c.Hash())
}

// sum computes the duration and the failure of an answer of either generation.
func (m *measured) sum() {
	if m.Measurements == nil {
		if m.Duration != nil { // otherwise the time that the request took
			m.total = *m.Duration
		}
		if m.Error != nil {
			m.failure = *m.Error
		}
		return
	}
	m.total = 0
	for _, s := range m.Measurements {
		m.total += s.Duration
		if m.failure == "" {
			m.failure = s.Error
		}
	}
}
