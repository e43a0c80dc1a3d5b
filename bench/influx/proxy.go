package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// The states of an outage.
const (
	up     = int32(iota)
	down   // nobody listens
	denied // 401 for everything
	hung   // requests are taken and not answered
)

// proxy stands before a real server, for one writer, and has the outages.
type proxy struct {
	addr    string
	forward *httputil.ReverseProxy
	state   atomic.Int32
	mu      sync.Mutex
	server  *http.Server
	served  chan struct{}
	changed chan struct{} // closed when the state changes
}

func newProxy(target string) (*proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: "127.0.0.1:0", forward: httputil.NewSingleHostReverseProxy(u), changed: make(chan struct{})}
	p.forward.ErrorLog = nil
	p.forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	return p, p.listen()
}

func (p *proxy) url() string { return "http://" + p.addr }

func (p *proxy) listen() error {
	var l net.Listener
	var err error
	for range 200 { // the port is ours, but the system may not have released it
		if l, err = net.Listen("tcp", p.addr); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	p.addr, p.server, p.served = l.Addr().String(), &http.Server{Handler: p}, make(chan struct{})
	go func(s *http.Server, served chan struct{}) { // ended by set
		_ = s.Serve(l)
		close(served)
	}(p.server, p.served)
	return nil
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		switch p.state.Load() {
		case denied:
			w.WriteHeader(http.StatusUnauthorized)
			return
		case hung:
			select {
			case <-changed:
				continue
			case <-r.Context().Done():
				return
			}
		}
		p.forward.ServeHTTP(w, r)
		return
	}
}

// set changes the state. Whoever waited for an answer of a hung server gets it
// when the server is up again.
func (p *proxy) set(state int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.state.Swap(state)
	close(p.changed)
	p.changed = make(chan struct{})
	switch {
	case state == down && was != down:
		_ = p.server.Close() // connections end as they would with the server's process
		<-p.served
	case state != down && was == down:
		return p.listen()
	}
	return nil
}

func (p *proxy) close() {
	if p.state.Load() != down {
		_ = p.set(down)
	}
}

// sleep is time.Sleep that ends with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}
