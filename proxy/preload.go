package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	mh "github.com/multiformats/go-multihash"
	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	listening "github.com/ipfsmon/ipfsmon/internal/listen"
)

// Limits of the preload listener.
const (
	maxRunning  = 128 // concurrent requests to nodes, all callers together
	maxConns    = 512 // concurrent connections, all callers together
	maxOfOne    = 32  // of these, those of one address beyond loopback
	maxCallers  = 1 << 16
	refsPath    = "/api/v0/refs"
	lineTimeout = time.Minute // for a caller to read the answer
)

// refsServer answers /api/v0/refs: a caller asks the proxy's nodes to fetch what the caller's
// node has, or to list what they have.
type refsServer struct {
	p        *Proxy
	listener net.Listener
	server   *http.Server
	token    [sha256.Size]byte
	open     bool // no token required

	mu      sync.Mutex
	flights map[flightKey]*flight
	callers map[netip.Prefix]*caller
}

// caller is the budget of a caller.
type caller struct {
	running int
	limit   *rate.Limiter
}

func newRefsServer(p *Proxy) (*refsServer, error) {
	s := &refsServer{p: p, flights: map[flightKey]*flight{}, callers: map[netip.Prefix]*caller{}}
	token, err := readToken(p.cfg.PreloadToken)
	if err != nil {
		return nil, err
	}
	s.token, s.open = sha256.Sum256([]byte(token)), token == ""
	if s.listener, err = net.Listen("tcp", p.cfg.refsAt); err != nil {
		return nil, fmt.Errorf("-p: %w", err)
	}
	s.server = &http.Server{
		Handler: p.engine.guard.Handler("proxy: answer a preload request", s), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, BaseContext: func(net.Listener) context.Context { return p.ctx },
	}
	conns := listening.NewConns(listening.Bounds{Total: maxConns, PerAddress: maxOfOne})
	conns.Serve(s.server)
	s.listener = conns.Listener(s.listener)
	return s, nil
}

func (s *refsServer) serve() {
	if err := s.server.Serve(s.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.p.cfg.Logger.Error("proxy: the preload listener failed; preload requests are no longer answered", "err", err)
	}
}

// close waits a while for running requests, then ends them.
func (s *refsServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close() // the timeout
	}
	_ = s.listener.Close() // closing twice is harmless
}

// fail sends a status and a reason.
func (s *refsServer) fail(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"Message": reason, "Code": 0, "Type": "error"}) // kubo's form
}

// ServeHTTP answers one request.
func (s *refsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Any page may send requests: that is the purpose of preloads. There are no cookies, and
	// the answers are public.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.URL.Path != refsPath {
		s.fail(w, http.StatusNotFound, "there is only "+refsPath)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodPost:
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, POST, OPTIONS")
		s.fail(w, http.StatusMethodNotAllowed, "want GET or POST")
		return
	}
	s.p.engine.count(func(n *counts) { n.refs++ })
	if !s.allowed(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		s.fail(w, http.StatusUnauthorized, "want the token: Authorization: Bearer TOKEN")
		return
	}
	key, err := parseRefs(r)
	if err != nil {
		s.fail(w, http.StatusBadRequest, err.Error())
		return
	}
	from, err := s.caller(r)
	if err != nil {
		s.fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leave, wait := s.enter(from)
	if leave == nil {
		s.p.engine.count(func(n *counts) { n.refsRefused++ })
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		s.fail(w, http.StatusTooManyRequests, fmt.Sprintf("more than %d requests in a minute, or %d at a time", s.p.cfg.PreloadRate, s.p.cfg.PreloadParallel))
		return
	}
	defer leave()
	f, err := s.join(key, from)
	if err != nil {
		s.p.engine.count(func(n *counts) { n.refsRefused++ })
		s.fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	defer s.part(f, from)
	s.stream(w, r, f)
}

// stream writes a flight's lines as they arrive.
func (s *refsServer) stream(w http.ResponseWriter, r *http.Request, f *flight) {
	rc := http.NewResponseController(w)
	begun := false
	for i := 0; ; {
		lines, changed, end := f.read(i)
		if len(lines) == 0 && end == nil {
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			}
			continue
		}
		if !begun {
			if status, reason := f.refused(); len(lines) == 0 && status != 0 {
				s.fail(w, status, reason)
				return
			}
			begun = true
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("X-Chunked-Output", "1")
			w.Header().Set("Trailer", "X-Stream-Error")
		}
		_ = rc.SetWriteDeadline(time.Now().Add(lineTimeout)) // a listener without it has none
		for _, line := range lines {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		i += len(lines)
		if len(lines) > 0 {
			if rc.Flush() != nil {
				return
			}
			continue
		}
		if !errors.Is(end, errDone) { // the status has been sent: report the error as kubo does
			text := string(event.Clean(end.Error(), 200))
			_ = json.NewEncoder(w).Encode(ref{Err: text}) // the caller may be gone
			w.Header().Set("X-Stream-Error", text)
		}
		return
	}
}

func (s *refsServer) allowed(r *http.Request) bool {
	if s.open {
		return true
	}
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(shown))
	return ok && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

// parseRefs parses the argument: one CID, alone or as /ipfs/CID.
func parseRefs(r *http.Request) (flightKey, error) {
	q := r.URL.Query()
	args := q["arg"]
	if len(args) != 1 {
		return flightKey{}, errors.New("want one argument: ?arg=CID")
	}
	c, err := cidtext.Parse(strings.TrimPrefix(args[0], "/ipfs/"))
	if err != nil {
		return flightKey{}, fmt.Errorf("arg: want a CID, as in ?arg=bafy...: %s", event.Clean(err.Error(), 100))
	}
	if c.ByteLen() > maxCID || c.Prefix().MhType == mh.IDENTITY {
		return flightKey{}, fmt.Errorf("arg: want a CID of at most %d bytes that is not an identity CID", maxCID)
	}
	key := flightKey{cid: c}
	for name, to := range map[string]*bool{"recursive": &key.recursive, "unique": &key.unique} {
		if text := q.Get(name); text != "" {
			if *to, err = strconv.ParseBool(text); err != nil {
				return flightKey{}, fmt.Errorf("%s: want true or false", name)
			}
		}
	}
	return key, nil
}

// caller returns the address of the caller: the connection's, or behind a trusted proxy the
// last address in X-Forwarded-For that is not a trusted proxy's.
func (s *refsServer) caller(r *http.Request) (netip.Addr, error) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, errors.New("the connection has no address")
	}
	from := ap.Addr().Unmap().WithZone("")
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(list) {
		if !s.trusted(from) || strings.TrimSpace(text) == "" {
			break
		}
		text = strings.TrimSpace(text)
		a, err := netip.ParseAddr(strings.Trim(text, "[]"))
		if err != nil {
			ap, perr := netip.ParseAddrPort(text)
			if perr != nil {
				return netip.Addr{}, errors.New("X-Forwarded-For: want addresses")
			}
			a = ap.Addr()
		}
		from = a.Unmap().WithZone("")
	}
	return from, nil
}

func (s *refsServer) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(s.p.cfg.trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// budgetOf returns the unit that has a budget: an IPv4 address, or the /64 network of an IPv6
// address, which one customer has.
func budgetOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// enter takes a request off its caller's budget; leave returns the place. Without room leave is
// nil, and wait is how long to wait.
func (s *refsServer) enter(from netip.Addr) (leave func(), wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, most := time.Now(), s.p.cfg.PreloadRate
	key := budgetOf(from)
	c := s.callers[key]
	if c == nil {
		if len(s.callers) >= maxCallers {
			for k, x := range s.callers { // callers with their full budget again
				if x.running == 0 && x.limit.TokensAt(now) >= float64(most) {
					delete(s.callers, k)
				}
			}
			if len(s.callers) >= maxCallers {
				return nil, time.Minute
			}
		}
		c = &caller{limit: rate.NewLimiter(rate.Limit(float64(most)/60), most)}
		s.callers[key] = c
	}
	if c.running >= s.p.cfg.PreloadParallel {
		return nil, time.Second
	}
	if !c.limit.AllowN(now, 1) {
		return nil, time.Duration((1 - c.limit.TokensAt(now)) / float64(c.limit.Limit()) * float64(time.Second))
	}
	c.running++
	return func() {
		s.mu.Lock()
		c.running--
		s.mu.Unlock()
	}, 0
}
