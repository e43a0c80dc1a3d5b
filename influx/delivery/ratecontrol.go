package delivery

import (
	"context"
	"sync"
	"time"
)

// How a rateControl changes.
const (
	leastPoints = 50  // trouble never reduces a post below so many points
	growAfter   = 4   // quick answers before it grows
	forgetAfter = 100 // stored posts until the bound set by a 413 is half forgotten
	quickPart   = 30  // an answer within Timeout/30 is quick,
	slowPart    = 6   // one after Timeout/6 is slow
)

// rateControl bounds the points of one request to a destination, and the requests
// that post its backlog at the same time. Both bounds grow while the server answers quickly,
// the points first, and shrink when it is slow, overloaded or does not answer. Recent points
// have their own request, with the same bound of points. A server that cannot be reached is not
// slow: the bounds stay.
type rateControl struct {
	most, least int // bounds of points
	mostPosts   int // bound of posts
	quick, slow time.Duration

	mu      sync.Mutex
	points  int
	ceiling int // of points, since the server rejected so many as too large; 0: none
	posts   int
	good    int       // quick answers since the last change
	stored  int       // posts since the last 413
	shrunk  time.Time // posts sent before then carry no new information
	changed chan struct{}
	closed  bool
}

// newRateControl starts with the maximum of points and one request.
func newRateControl(most, mostPosts int, timeout time.Duration) *rateControl {
	return &rateControl{most: most, least: min(most, leastPoints), mostPosts: max(mostPosts, 1), points: most, posts: 1,
		quick: timeout / quickPart, slow: timeout / slowPart, changed: make(chan struct{})}
}

// flushEvery is how often InfluxDB 3 writes its log, for which each answer waits: that it takes
// so long says nothing about its load.
const flushEvery = time.Second

// serves sets the maximum of points for the server that was found, and whether each of its
// answers waits for its log.
func (p *rateControl) serves(most int, timeout time.Duration, waits bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most, p.least, p.points = most, min(most, leastPoints), most
	p.quick, p.slow = timeout/quickPart, timeout/slowPart
	if waits {
		p.quick, p.slow = p.quick+flushEvery, p.slow+flushEvery
	}
}

// now returns the bounds of points and of posts.
func (p *rateControl) now() (points, posts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ceiling > 0 {
		return min(p.points, p.ceiling), p.posts
	}
	return p.points, p.posts
}

// took records that the server has stored a post.
func (p *rateControl) took(points int, began time.Time, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stored++; p.ceiling > 0 && p.stored >= forgetAfter { // the 413 may have been transient
		p.ceiling, p.stored = p.ceiling*2, 0
	}
	limit := p.points
	if p.ceiling > 0 {
		limit = min(limit, p.ceiling)
	}
	switch {
	case d > p.slow: // at least a quarter: the delay may be the network's, which fewer points do not shorten
		p.shrink(began, max(p.points*3/4, min(p.points, p.most/4)), p.posts-1)
	case d > p.quick:
		p.good = 0
	case points*2 >= limit: // a post less than half full does not show how long a full one would take
		if p.good++; p.good < growAfter {
			return
		}
		p.good = 0
		if p.points < p.most {
			p.points = min(p.most, p.points*2)
		} else if p.posts < p.mostPosts {
			p.posts++
			close(p.changed)
			p.changed = make(chan struct{})
		}
	}
}

// trouble records that the server could not cope with a post: it was overloaded, failed, or did
// not answer in time.
func (p *rateControl) trouble(began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shrink(began, p.points/2, p.posts/2)
}

// shrink shrinks once for all posts that were in flight at the same time.
func (p *rateControl) shrink(began time.Time, points, posts int) {
	p.good = 0
	if began.Before(p.shrunk) {
		return
	}
	p.points, p.posts, p.shrunk = max(points, p.least), max(posts, 1), time.Now()
}

// tooLarge records that the server accepts no post of so many points.
func (p *rateControl) tooLarge(points int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ceiling, p.stored, p.good = (points+1)/2, 0, 0
}

// enter waits until the nth backlog request, counted from 0, may be made. The error is ctx's,
// or errDrained.
func (p *rateControl) enter(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		allowed, closed, changed := n < p.posts, p.closed, p.changed
		p.mu.Unlock()
		switch {
		case allowed:
			return nil
		case closed:
			return errDrained
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends the waits in enter: nothing is left to post.
func (p *rateControl) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.changed)
		p.changed = make(chan struct{})
	}
}
