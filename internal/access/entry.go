package access

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// Entry is the way into a server: listeners that are bound once, served once, and
// closed at any time. All methods may be called from any goroutine.
type Entry struct {
	name      string
	gate      *Gate
	addresses []string
	conns     *listen.Conns

	mu        sync.Mutex
	listeners []*Listener
	running   chan struct{} // closed when the server's Run has ended; nil before it starts
	closed    bool
}

// Entry returns the entry of a server. Errors begin with the server's name.
func (g *Gate) Entry(name string, addresses []string, conns *listen.Conns) *Entry {
	return &Entry{name: name, gate: g, addresses: addresses, conns: conns}
}

// Listen binds all addresses, or none if one of them cannot be bound. It may be
// called once; after Close its error is net.ErrClosed.
func (e *Entry) Listen() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	if e.listeners != nil {
		return fmt.Errorf("%s: Listen was called a second time: want one call", e.name)
	}
	l, err := e.gate.Listen(e.addresses, e.conns)
	e.listeners = l
	return err
}

// Addrs returns the addresses that are bound, with their real ports.
func (e *Entry) Addrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	addrs := make([]net.Addr, 0, len(e.listeners))
	for _, l := range e.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Run returns the listeners for the server's Run, which serves them, closes them
// and then calls end. It may be called once, after Listen. After Close there are
// no listeners, and no error.
func (e *Entry) Run() (listeners []*Listener, end func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, nil, nil
	case e.running != nil:
		return nil, nil, fmt.Errorf("%s: Run was called a second time: want one call", e.name)
	case e.listeners == nil:
		return nil, nil, fmt.Errorf("%s: Run was called without Listen: want Listen first", e.name)
	}
	running := make(chan struct{})
	e.running = running
	return e.listeners, func() { close(running) }, nil
}

// Close closes the listeners of a server that does not run. If it runs, wait
// returns when its Run has ended. Close may be called more than once.
func (e *Entry) Close() (wait func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	running := e.running
	if running == nil {
		e.shut()
		return func() {}
	}
	return func() { <-running }
}

// Shut closes the listeners, for a server whose accept loops end with them.
func (e *Entry) Shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shut()
}

func (e *Entry) shut() {
	for _, l := range e.listeners {
		_ = l.Close() // it may be closed already
	}
}

// Listeners returns listeners as those of package net.
func Listeners(all []*Listener) []net.Listener {
	out := make([]net.Listener, 0, len(all))
	for _, l := range all {
		out = append(out, l)
	}
	return out
}

// needsToken is the context key for whether a connection's listener
// requires a token for every request.
type needsToken struct{}

// Contexts is the BaseContext of an HTTP server of a Gate's listeners: with its
// contexts, NeedsToken knows the listener of a request.
func Contexts(ctx context.Context) func(net.Listener) context.Context {
	return func(l net.Listener) context.Context {
		a, ok := l.(*Listener)
		return WithNeedsToken(ctx, ok && a.NeedsToken)
	}
}

// WithNeedsToken returns the context of a connection whose listener requires a
// token, or none.
func WithNeedsToken(ctx context.Context, needs bool) context.Context {
	return context.WithValue(ctx, needsToken{}, needs)
}

// NeedsToken reports whether a request came through a listener that requires a
// token.
func NeedsToken(q *http.Request) bool {
	n, _ := q.Context().Value(needsToken{}).(bool)
	return n
}

// Shows reports whether a request has a valid token in its header Authorization.
// It looks at no other place: tokens in URLs end up in logs, and a browser would
// send a cookie for requests of any page.
func (g *Gate) Shows(q *http.Request) bool {
	all := q.Header.Values("Authorization")
	if len(all) != 1 {
		return false
	}
	scheme, token, ok := strings.Cut(all[0], " ")
	return ok && strings.EqualFold(scheme, "Bearer") && g.Allowed(strings.TrimSpace(token))
}

// ShowsSocket is Shows for a WebSocket request, which may have the token among its
// sub-protocols instead.
func (g *Gate) ShowsSocket(q *http.Request) bool {
	if g.Shows(q) {
		return true
	}
	token, ok := socketToken(q)
	return ok && g.Allowed(token)
}
