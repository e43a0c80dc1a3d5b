package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/linezip"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
)

// Bounds of the wait between retries. A server on this machine is retried sooner: it is ours,
// and back within seconds.
const (
	firstBackoff    = 500 * time.Millisecond
	maxBackoff      = time.Minute
	maxBackoffLocal = 2 * time.Second
	maxRetryAfter   = 10 * time.Minute
)

// writer posts batches, one at a time, and retries each until it is settled.
type writer struct {
	set    *client.Settings
	server *client.Client
	lines  *lines
	ending chan struct{} // closed by hurry
	once   sync.Once

	site  *site
	rate  *rateControl
	waits *backoff.Backoff // since the last success
	job   *job
	pairs int // made so far

	full    *tagCap
	rejects *rejects // nil: rejected lines are counted only
	zip     linezip.Writer
	zipped  []byte

	stored   atomic.Uint64
	rejected atomic.Uint64
	expired  atomic.Uint64 // of rejected: older than the server keeps
	others   atomic.Uint64 // stored as "others", because their tag is full
	partly   atomic.Int64  // points of the batches in work that are stored or rejected

	mu      sync.Mutex
	failing bool
	last    string
	lastAt  time.Time
}

// site is the state that the writers of one destination share.
type site struct {
	taken  [schema.Kinds]atomic.Uint64 // posts of which something was stored
	serves func(api int)               // called when a server of another API was found; may be nil

	mu    sync.Mutex
	known bool  // a ping found out which API the server has, and no connection failed since
	api   int   // which
	ready bool  // set up, or no right to
	hint  error // why it could not be set up
}

// part is lines of a batch that are posted together.
type part struct {
	lines  []byte
	points int
	pair   int  // this and another part were one, with a line that the server refuses; 0: no
	bad    bool // the line must be in this one, since the other was stored

	failed  bool   // the server has refused it with an answer that may be about the server itself
	seen    uint64 // posts of its kind that were stored until then
	strikes int    // refusals although others were stored in between
}

// job is a batch in work.
type job struct {
	*batch
	todo   []part // the last one is next; nil: not begun
	partly int    // points that are settled
	fails  int    // answers in a row that settled nothing
	aside  bool   // others go first
	due    time.Time
}

// errAside means that a job failed several times while the server answers: retry it after
// another one.
var errAside = errors.New("influx: another batch goes first")

// asideAfter is how many answers in a row may settle nothing of a job before another job goes
// first.
const asideAfter = 3

func newWriter(set *client.Settings) *writer {
	most := maxBackoff
	if set.Local {
		most = maxBackoffLocal
	}
	return &writer{set: set, server: set.Client(set.RequestTimeout), lines: new(lines), waits: backoff.New(firstBackoff, most), ending: make(chan struct{}), site: new(site), full: new(tagCap),
		rate: newRateControl(set.BatchSize, 1, set.RequestTimeout)}
}

// hurry shortens waits for the shutdown.
func (w *writer) hurry() { w.once.Do(func() { close(w.ending) }) }

// settled returns how many points of the batches in work are stored or rejected.
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
	w.lines.failing.Warn(w.set.Logger, "influx: the server does not accept points, retrying", "url", w.set.Base.Redacted(), "err", err)
}

func (w *writer) worked() {
	w.waits.Reset()
	w.mu.Lock()
	w.failing = false
	w.mu.Unlock()
}

// deliver posts a batch until all of its points are stored or rejected. The
// error is ctx's, or errAside.
func (w *writer) deliver(ctx context.Context, j *job) error {
	w.job = j
	if j.fails = 0; j.todo == nil {
		lines, n := w.full.regroup(j.buf)
		w.others.Add(uint64(n))
		j.todo = []part{{lines: lines, points: j.points}}
	}
	for len(j.todo) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.prepare(ctx); err != nil {
			w.failed(err)
			if err := w.wait(ctx, client.RetryAfter(err)); err != nil {
				return err
			}
			continue
		}
		p := j.todo[len(j.todo)-1]
		j.todo = j.todo[:len(j.todo)-1]
		err := w.post(ctx, j.kind, p)
		if err == nil {
			j.fails = 0
			continue
		}
		w.failed(err)
		if err := w.wait(ctx, max(client.RetryAfter(err), 0)); err != nil {
			return err
		}
		if j.fails++; j.fails >= asideAfter || j.aside && j.fails >= len(j.todo) {
			return errAside
		}
	}
	return nil
}

// prepare finds out what the server is, and sets it up, unless another writer has done so. Its
// error is a RetryError.
func (w *writer) prepare(ctx context.Context) error {
	s := w.site
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		api, err := w.server.Find(ctx)
		if err != nil {
			return &client.RetryError{Err: fmt.Errorf("influx: find out which InfluxDB answers: %w", err)}
		}
		if api != s.api { // at the start, or another server took the place of the one before
			s.api, s.ready = api, false
			if s.serves != nil {
				s.serves(api)
			}
		}
		s.known = true
	}
	if s.ready {
		return nil
	}
	err := w.server.Setup(ctx)
	if client.RetryAfter(err) >= 0 {
		s.known = false
		return err
	}
	s.hint = err // no right to, or refused permanently: it may exist already
	s.ready = true
	return nil
}

// unready makes the next post set the server up again, and returns why the last set-up failed.
func (s *site) unready() (hint error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.known = false, false
	return s.hint
}

// lost makes the next post ask the server first what it is: a connection failed, after which
// another server may answer.
func (s *site) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = false
}

// wait sleeps before the next retry, at least as long as the server asked for.
func (w *writer) wait(ctx context.Context, least time.Duration) error {
	d := max(w.waits.Next(), least)
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

// post posts a part and settles it: all stored, some rejected, or cut in two
// for the next round. An error means: try again.
func (w *writer) post(ctx context.Context, kind schema.Kind, p part) error {
	if limit, _ := w.rate.now(); p.points > 1 && (p.bad || p.points > limit) {
		w.halve(p, p.bad)
		return nil
	}
	began := time.Now()
	r, err := w.send(ctx, kind, p.lines)
	if err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			w.rate.trouble(began)
		}
		w.site.lost()
		w.again(p)
		return &client.RetryError{Err: fmt.Errorf("influx: post %d points: %w", p.points, err)}
	}
	n, partial := r.partial(p.points)
	switch {
	case r.done():
		w.rate.took(p.points, began, time.Since(began))
		w.site.taken[kind].Add(1)
		w.settle(p, 0, "", nil)
		if n := len(w.job.todo); p.pair != 0 && n > 0 && w.job.todo[n-1].pair == p.pair {
			w.job.todo[n-1].bad = true
		}
	case r.status == 400 && w.regroup(&p, r.text):
		w.worked()
		w.again(p) // a point stored twice is one point
	case partial:
		w.settlePart(p, n, r)
	case p.points <= 1 && (r.refusesLine() || r.tooLarge()):
		w.settle(p, p.points, r.said, p.lines)
	case r.tooLarge():
		w.rate.tooLarge(p.points)
		w.halve(p, false)
		w.worked()
	case r.refusesLine():
		w.halve(p, true)
		w.worked()
	case r.suspects() && w.suspect(&p, kind, r):
		w.worked()
	default:
		var hint error
		if r.status == 401 || r.status == 403 {
			w.set.ReadSecrets()
			hint = w.site.unready() // new credentials may have the right to create
		}
		if r.status == 401 && w.set.API() != 3 {
			r.said += w.server.Guarded()
		}
		if (r.overload() || r.status >= 500) && p.strikes == 0 && !r.missing() {
			w.rate.trouble(began)
		}
		err := fmt.Errorf("influx: post %d points: %w", p.points, r.err())
		if r.misdirected() {
			hint = w.site.unready()
		}
		if hint != nil && w.set.API() == 3 { // its own answers say little
			err = fmt.Errorf("%w; %w", err, hint)
		}
		if r.missing() {
			err = fmt.Errorf("%w; %w", err, w.server.Missing(w.site.unready()))
		}
		if r.suspects() {
			w.job.todo = slices.Insert(w.job.todo, 0, p) // the others first
		} else {
			w.again(p)
		}
		return &client.RetryError{Err: err, After: r.after}
	}
	return nil
}

// again makes a part the next to be posted.
func (w *writer) again(p part) { w.job.todo = append(w.job.todo, p) }

// Limits of strikes against a part. A strike is an answer that refuses it although others of
// its kind were stored since the previous answer.
const (
	strikesToHalve  = 2
	strikesToReject = 10 // of a single line
)

// suspect counts the strikes against a part that the server refused with an answer that may be
// about the server itself. With too many, a part is cut in two and a single line is rejected;
// then it returns true.
func (w *writer) suspect(p *part, kind schema.Kind, r reply) bool {
	taken := w.site.taken[kind].Load()
	if p.failed && p.seen != taken {
		p.strikes++
	}
	p.failed, p.seen = true, taken
	switch {
	case p.points > 1 && p.strikes >= strikesToHalve:
		p.strikes = strikesToHalve - 1
		w.halve(*p, false)
	case p.points <= 1 && p.strikes >= strikesToReject:
		w.settle(*p, p.points, r.err().Error(), p.lines)
	default:
		return false
	}
	return true
}

// settlePart settles a part of which the server refused so many points (-1: unknown) and stored
// the others. If the server lists the refused lines they are kept; else they are searched for,
// if there are few enough.
func (w *writer) settlePart(p part, refused int, r reply) {
	if refused < 0 && p.points > 1 {
		w.halve(p, true) // a point stored twice is one point
		w.worked()
		return
	}
	if refused < 0 {
		refused = p.points
	}
	lines := p.lines
	if refused < p.points {
		lines = pick(p.lines, r.listed, refused)
		if lines == nil && w.rejects != nil && refused > 0 && refused <= maxSought {
			w.halve(p, true)
			w.worked()
			return
		}
	}
	if strings.Contains(r.text, "beyond retention policy") {
		w.expired.Add(uint64(refused))
	}
	if refused < p.points {
		w.site.taken[w.job.kind].Add(1)
	}
	w.settle(p, refused, r.said, lines)
}

// pick returns the lines that a server listed as refused, or nil if it did not list all of them
// by number and text.
func pick(lines []byte, listed []refusedLine, refused int) (out []byte) {
	if len(listed) != refused {
		return nil
	}
	all := bytes.SplitAfter(lines, []byte{'\n'})
	seen := make(map[int]bool, refused)
	for _, l := range listed {
		if l.number < 1 || l.number > len(all) || seen[l.number] || !begins(all[l.number-1], l.text) {
			return nil
		}
		seen[l.number] = true
		out = append(out, all[l.number-1]...)
	}
	return out
}

// begins reports whether a server's text of a line is that line's, as far as its measurement and
// tags go: InfluxDB 3 writes the fields in its own way, and cuts long lines.
func begins(line []byte, text string) bool {
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		line = line[:i]
	}
	n := min(len(line), len(text))
	return string(line[:n]) == text[:n]
}

// regroup replaces a tag value by "others" if the server refused it as one too many, and
// reports whether to post the part again.
func (w *writer) regroup(p *part, said string) bool {
	v, ok := parseFull(said)
	if !ok {
		return false
	}
	w.lines.tagFull.Warn(w.set.Logger, "influx: the server accepts no more values of a tag; new ones are stored as others", "answer", client.PlainText(said))
	if !w.full.add(v) {
		return false
	}
	lines, n := w.full.regroup(p.lines)
	w.others.Add(uint64(n))
	p.lines = lines
	return n > 0
}

// maxSought is how many refused lines of a batch are searched for, to put them into the file of
// rejected lines, when the server has stored the others. With more, the file has only the
// server's message: each line costs about twenty requests.
const maxSought = 8

// halve cuts a part in two for the next rounds. The halves are a pair if one of them must have
// a line that the server refuses.
func (w *writer) halve(p part, pair bool) {
	a, b := p.split()
	for _, half := range []*part{&a, &b} {
		half.failed, half.seen, half.strikes = p.failed, p.seen, p.strikes
	}
	if pair {
		w.pairs++
		a.pair, b.pair = w.pairs, w.pairs
	}
	w.job.todo = append(w.job.todo, b, a)
}

// settle records that a part is stored except for the refused points; lines are theirs, if
// known.
func (w *writer) settle(p part, refused int, said string, lines []byte) {
	w.worked()
	w.stored.Add(uint64(p.points - refused))
	w.rejected.Add(uint64(refused))
	w.partly.Add(int64(p.points))
	w.job.partly += p.points
	if refused == 0 {
		return
	}
	w.mu.Lock()
	w.last, w.lastAt = said, time.Now()
	w.mu.Unlock()
	if err := w.rejects.write(refused, said, lines); err != nil {
		w.lines.unkept.Warn(w.set.Logger, "influx: cannot keep rejected points in "+rejectedName, "err", err)
	}
	w.lines.rejected.Warn(w.set.Logger, "influx: the server rejected points", "points", refused, "answer", said)
}

// split cuts the lines into two halves.
func (p part) split() (a, b part) {
	at, half := 0, p.points/2
	for range half {
		at += bytes.IndexByte(p.lines[at:], '\n') + 1
	}
	return part{lines: p.lines[:at], points: half}, part{lines: p.lines[at:], points: p.points - half}
}

// send sends one write request.
func (w *writer) send(ctx context.Context, kind schema.Kind, lines []byte) (reply, error) {
	body := lines
	if w.set.Compress {
		w.zipped = w.zip.Append(w.zipped[:0], lines)
		body = w.zipped
	}
	status, header, answer, err := w.server.Write(ctx, kind, body, w.set.Compress)
	if err != nil {
		return reply{}, err
	}
	return readReply(status, header, answer), nil
}
