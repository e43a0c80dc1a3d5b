package influx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/linezip"
)

// Bounds of waiting between tries. A server on this machine is tried again
// soon: it is ours, and back within seconds.
const (
	firstBackoff    = 500 * time.Millisecond
	maxBackoff      = time.Minute
	maxBackoffLocal = 2 * time.Second
	maxRetryAfter   = 10 * time.Minute
	maxAnswer       = 1 << 20 // bytes of a server's answer that are read
)

// writer posts batches, one at a time, and tries each until it is settled.
type writer struct {
	set    *settings
	client *http.Client
	logs   *logLimit
	ending chan struct{} // closed by hurry
	once   sync.Once

	site  *site
	pace  *pace
	tries int // failures since the last success
	todo  []part
	pairs int // given out so far

	full    *fullTags
	rejects *rejects // nil: rejected lines are counted only
	zip     linezip.Writer
	zipped  []byte

	stored   atomic.Uint64
	rejected atomic.Uint64
	expired  atomic.Uint64 // of rejected: older than the server keeps
	others   atomic.Uint64 // stored as others, because their tag is full
	partly   atomic.Int64  // points of the batch in work that are stored or rejected

	mu      sync.Mutex
	failing bool
	last    string
	lastAt  time.Time
}

// site is what the writers of one destination know of it together.
type site struct {
	mu    sync.Mutex
	ready bool  // set up, or not allowed to
	hint  error // why it could not be set up
}

// part is lines of a batch that are posted together.
type part struct {
	lines  []byte
	points int
	pair   int  // this and another part were one that has a line the server refuses; 0: no
	bad    bool // the line must be in this one, since the other was stored
}

func newWriter(set *settings, logs *logLimit) *writer {
	return &writer{set: set, client: newClient(set.timeout), logs: logs, ending: make(chan struct{}), site: new(site), full: new(fullTags),
		pace: newPace(set.BatchSize, 1, set.timeout)}
}

// newClient makes an HTTP client that follows no redirects: the answer of
// another address than the configured one means nothing, and it would be sent
// the credentials.
func newClient(timeout time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 2
	t.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{
		Transport:     t,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// hurry makes waits short: the end is near.
func (w *writer) hurry() { w.once.Do(func() { close(w.ending) }) }

// settled is how many points of the batch in work are stored or rejected.
func (w *writer) settled() int { return int(w.partly.Load()) }

func (w *writer) state() (failing bool, last string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing, w.last, w.lastAt
}

func (w *writer) failed(err error) {
	w.mu.Lock()
	w.failing, w.last, w.lastAt = true, err.Error(), time.Now()
	w.mu.Unlock()
	w.logs.warn("influx: the server does not take points, trying again", "url", w.set.base.Redacted(), "error", err)
}

func (w *writer) worked() {
	w.tries = 0
	w.mu.Lock()
	w.failing = false
	w.mu.Unlock()
}

// deliver posts a batch until all of its points are stored or rejected. The
// only error is ctx's.
func (w *writer) deliver(ctx context.Context, b *batch) error {
	w.partly.Store(0)
	lines, n := w.full.regroup(b.buf)
	w.others.Add(uint64(n))
	w.todo = append(w.todo[:0], part{lines: lines, points: b.points})
	for len(w.todo) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.prepare(ctx); err != nil {
			w.failed(err)
			if err := w.wait(ctx, retryAfter(err)); err != nil {
				return err
			}
			continue
		}
		p := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if err := w.post(ctx, b.kind, p); err != nil {
			w.todo = append(w.todo, p)
			w.failed(err)
			if err := w.wait(ctx, max(retryAfter(err), 0)); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare sets the server up, if that is wanted and no other writer has done
// so. Its error is one to try again after.
func (w *writer) prepare(ctx context.Context) error {
	s := w.site
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return nil
	}
	if w.set.create {
		err := w.setup(ctx)
		if retryAfter(err) >= 0 {
			return err
		}
		// Not allowed to, or refused for good: it may be there all the same.
		s.hint = err
	}
	s.ready = true
	return nil
}

// unready has the server set up again before the next post, and tells why it
// was not the last time.
func (s *site) unready() (hint error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
	return s.hint
}

// wait sleeps before the next try: a random time up to a bound that doubles,
// and no less than the server asked for.
func (w *writer) wait(ctx context.Context, least time.Duration) error {
	most := maxBackoff
	if w.set.local {
		most = maxBackoffLocal
	}
	bound := min(firstBackoff<<min(w.tries, 10), most)
	w.tries++
	d := max(rand.N(bound), least)
	ending := w.ending
	select {
	case <-w.ending:
		d, ending = min(d, firstBackoff/2), nil
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ending:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// retryError is a failure after which the same request is made again.
type retryError struct {
	err   error
	after time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// retryAfter gives how long to wait at least, or -1 if err is not one to try
// again after.
func retryAfter(err error) time.Duration {
	var r *retryError
	if errors.As(err, &r) {
		return r.after
	}
	return -1
}

// post posts a part and settles it: all stored, some rejected, or cut in two
// for the next round. An error means: try again.
func (w *writer) post(ctx context.Context, kind Kind, p part) error {
	if limit, _ := w.pace.now(); p.points > 1 && (p.bad || p.points > limit) {
		w.halve(p, p.bad)
		return nil
	}
	began := time.Now()
	status, answer, after, err := w.send(ctx, kind, p.lines)
	if err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			w.pace.trouble(began)
		}
		return &retryError{err: fmt.Errorf("influx: post %d points: %w", p.points, err)}
	}
	said := errorText(answer)
	switch {
	case status >= 200 && status < 300:
		w.pace.took(p.points, began, time.Since(began))
		w.settle(p, 0, "")
		if n := len(w.todo); p.pair != 0 && n > 0 && w.todo[n-1].pair == p.pair {
			w.todo[n-1].bad = true
		}
	case status == 400 && w.regroup(&p, said):
		w.worked()
		w.todo = append(w.todo, p) // what is stored twice is one point
	case (status == 400 || status == 422) && strings.Contains(said, "partial write"):
		n := refused(said, p.points)
		if w.rejects != nil && p.points > 1 && n > 0 && n <= maxSought {
			w.halve(p, true) // what is stored twice is one point
			break
		}
		if strings.Contains(said, "beyond retention policy") {
			w.expired.Add(uint64(n))
		}
		w.settle(p, n, said)
	case (status == 400 || status == 413 || status == 422) && p.points <= 1:
		w.settle(p, p.points, said)
	case status == 413:
		w.pace.tooLarge(p.points)
		w.halve(p, false)
		w.worked()
	case status == 400 || status == 422:
		w.halve(p, true)
		w.worked()
	default:
		if status == 401 || status == 403 {
			w.set.secrets()
			w.site.unready() // other credentials may have the right to create
		}
		if status == 408 || status == 429 || status >= 500 {
			w.pace.trouble(began)
		}
		err := fmt.Errorf("influx: post %d points: %d %s: %s", p.points, status, http.StatusText(status), said)
		if status == 404 {
			err = fmt.Errorf("%w; %w", err, w.missing(w.site.unready()))
		}
		return &retryError{err: err, after: after}
	}
	return nil
}

// regroup makes others of a value that the server takes no more of, if that is
// what it said, and says whether the part is to be posted again.
func (w *writer) regroup(p *part, said string) bool {
	v, ok := parseFull(said)
	if !ok {
		return false
	}
	w.logs.warn("influx: the server takes no more values of a tag; new ones are stored as others", "said", said)
	if !w.full.add(v) {
		return false
	}
	lines, n := w.full.regroup(p.lines)
	w.others.Add(uint64(n))
	p.lines = lines
	return n > 0
}

// maxSought is how many refused lines of a batch are sought out for the file of
// rejected lines when the server has stored the others. Of more, its words must
// do: each costs some twenty requests.
const maxSought = 8

// halve cuts a part in two for the next rounds. They are a pair if one of them
// must have a line that the server refuses.
func (w *writer) halve(p part, pair bool) {
	a, b := p.split()
	if pair {
		w.pairs++
		a.pair, b.pair = w.pairs, w.pairs
	}
	w.todo = append(w.todo, b, a)
}

// settle says that a part is stored but for the refused points.
func (w *writer) settle(p part, refused int, said string) {
	w.worked()
	w.stored.Add(uint64(p.points - refused))
	w.rejected.Add(uint64(refused))
	w.partly.Add(int64(p.points))
	if refused == 0 {
		return
	}
	w.mu.Lock()
	w.last, w.lastAt = said, time.Now()
	w.mu.Unlock()
	var lines []byte
	if refused == p.points {
		lines = p.lines
	}
	if err := w.rejects.write(refused, said, lines); err != nil {
		w.logs.warn("influx: refused points cannot be kept", "error", err)
	}
	w.logs.warn("influx: the server refused points", "points", refused, "said", said)
}

// split cuts the lines in two halves.
func (p part) split() (a, b part) {
	at, half := 0, p.points/2
	for range half {
		at += bytes.IndexByte(p.lines[at:], '\n') + 1
	}
	return part{lines: p.lines[:at], points: half}, part{lines: p.lines[at:], points: p.points - half}
}

var droppedN = regexp.MustCompile(`dropped=(\d+)`)

// refused reads from the answer to a partial write how many points were not
// stored.
func refused(said string, points int) int {
	n := strings.Count(said, "unable to parse '")
	for _, m := range droppedN.FindAllStringSubmatch(said, -1) {
		if d, err := strconv.Atoi(m[1]); err == nil {
			n = max(n, d)
		}
	}
	return min(n, points)
}

// send makes one write request.
func (w *writer) send(ctx context.Context, kind Kind, lines []byte) (status int, answer []byte, after time.Duration, err error) {
	body := lines
	if w.set.gzip {
		w.zipped = w.zip.Append(w.zipped[:0], lines)
		body = w.zipped
	}
	u, q := w.set.base.JoinPath("write"), url.Values{"precision": {"ns"}}
	if w.set.v2 {
		u = w.set.base.JoinPath("api/v2/write")
		q.Set("org", w.set.Org)
		q.Set("bucket", w.set.bucket(kind))
	} else {
		q.Set("db", w.set.Database)
		q.Set("rp", kind.String())
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if w.set.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	w.set.authorize(req)
	res, err := w.client.Do(req)
	if err != nil {
		return 0, nil, 0, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil && res.StatusCode >= 300 {
		return 0, nil, 0, err
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		after = min(time.Duration(min(s, 1<<20))*time.Second, maxRetryAfter)
	}
	return res.StatusCode, answer, after, nil
}

// authorize adds the credentials to a request.
func (s *settings) authorize(req *http.Request) {
	switch {
	case s.v2:
		req.Header.Set("Authorization", "Token "+s.token)
	case s.Username != "":
		req.SetBasicAuth(s.Username, s.password)
	}
}

// errorText finds the words in a server's answer, which is JSON of one kind or
// another, or anything at all from what stands in between.
func errorText(answer []byte) string {
	var v struct{ Error, Message string }
	if json.Unmarshal(answer, &v) == nil {
		if v.Error != "" {
			return v.Error
		}
		if v.Message != "" {
			return v.Message
		}
	}
	return strings.ToValidUTF8(string(answer[:min(len(answer), 1000)]), "\uFFFD")
}

// logLimit logs at most one line every ten seconds and says how many it left
// out.
type logLimit struct {
	log *slog.Logger

	mu   sync.Mutex
	next time.Time
	left int
}

func (l *logLimit) warn(msg string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.next) {
		l.left++
		return
	}
	if l.left > 0 {
		args = append(args, "more", l.left)
	}
	l.next, l.left = now.Add(10*time.Second), 0
	l.log.Warn(msg, args...)
}
