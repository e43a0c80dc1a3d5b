package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/samesite"
)

const base = "/metric_plugin/v1"

// methods is the answer of base, letter for letter as the old exporter sent it.
const methods = `Methods:
GET  /metric_plugin/v1/ping no-op
GET  /metric_plugin/v1/monitoring_addresses returns a list of addresses on which the monitor is listening for Bitswap monitoring connections`

// envelope is the form of every answer except the two text ones. Status repeats
// the HTTP status.
type envelope struct {
	Status int    `json:"status"`
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// handler returns the whole API: the checks of every request, then the routes.
func (s *Server) handler() http.Handler {
	// The defaults of httprouter are part of the API: 404 and 405 as text,
	// redirects of trailing slashes, answers to OPTIONS.
	r := httprouter.New()
	s.routes(func(method, route string, h httprouter.Handle) {
		r.Handle(method, route, func(w http.ResponseWriter, q *http.Request, p httprouter.Params) {
			if rw, ok := w.(*response); ok {
				rw.route = route
			}
			h(w, q, p)
		})
	})

	return http.HandlerFunc(func(inner http.ResponseWriter, q *http.Request) {
		w := &response{ResponseWriter: inner, route: "other"}
		defer func() { s.requests.add(w.route, w.status) }()
		defer s.recovered(w)
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if s.closing.Load() {
			h.Set("Connection", "close")
			answer(w, envelope{Status: http.StatusServiceUnavailable, Error: "server closing"})
			return
		}
		if route, h, open := s.beside(q); h != nil {
			w.route = route
			if !open && access.NeedsToken(q) && !s.gate.ShowsSocket(q) {
				unauthorized(w)
				return
			}
			h.ServeHTTP(w, q)
			return
		}
		if err := samesite.Check(q, s.cfg.AllowedHosts); err != nil {
			answer(w, envelope{Status: http.StatusForbidden, Error: err.Error()})
			return
		}
		if access.NeedsToken(q) && !s.gate.Shows(q) {
			unauthorized(w)
			return
		}
		if q.Body != nil {
			q.Body = http.MaxBytesReader(w, q.Body, maxBodyBytes)
		}
		r.ServeHTTP(w, q)
	})
}

// routes calls add for every route of the API. docs/openapi.yaml describes them.
func (s *Server) routes(add func(method, route string, h httprouter.Handle)) {
	get := func(route string, f func(*http.Request) (any, error)) { add(http.MethodGet, base+route, s.method(f)) }
	add(http.MethodGet, "/", text("check out "+base+"\n"))
	add(http.MethodGet, base, text(methods))
	add(http.MethodGet, "/metrics", s.metrics)
	get("/ping", func(*http.Request) (any, error) { return struct{}{}, nil })
	get("/monitoring_addresses", s.monitoringAddresses)
	get("/health", s.health)
	get("/ready", s.ready)
	get("/version", s.version)
	get("/pipeline", s.pipeline)
	get("/top", s.top)
	get("/floods", s.floods)
	get("/fleet", s.fleet)
	get("/fleet/history", s.fleetPast)
	get("/history", s.history)
	get("/subscribers", s.subscribers)
	add(http.MethodDelete, base+"/subscribers/:id", s.withToken(s.kick))
	add(http.MethodGet, base+"/sample_peer_metadata", s.samplePeerMetadata)
	add(http.MethodPost, base+"/broadcast_want", s.broadcast(s.want))
	add(http.MethodPost, base+"/broadcast_cancel", s.broadcast(s.cancel))
	add(http.MethodPost, base+"/broadcast_want_cancel", s.broadcast(s.wantCancel))
}

func text(body string) httprouter.Handle {
	return func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(body)) // if that fails, the client has disconnected
	}
}

// method returns a route that answers with the result of f. An *Error is sent to
// the client. Any other error is logged, and the client gets "internal server
// error".
func (s *Server) method(f func(*http.Request) (any, error)) httprouter.Handle {
	return func(w http.ResponseWriter, q *http.Request, _ httprouter.Params) {
		result, err := f(q)
		s.answer(w, q, result, err)
	}
}

func (s *Server) answer(w http.ResponseWriter, q *http.Request, result any, err error) {
	var known *Error
	switch {
	case errors.As(err, &known):
		answer(w, envelope{Status: known.Status, Error: known.Reason})
	case err != nil:
		if held, ok := s.failLine.Allow(); ok {
			s.log.Warn("httpapi: request failed", "path", q.URL.Path, "err", err.Error(), "held_back", held)
		}
		answer(w, envelope{Status: http.StatusInternalServerError, Error: "internal server error"})
	default:
		answer(w, envelope{Status: http.StatusOK, Result: result})
	}
}

func (s *Server) monitoringAddresses(*http.Request) (any, error) {
	addresses := []string{} // never null
	if s.deps.MonitoringAddresses != nil {
		addresses = append(addresses, s.deps.MonitoringAddresses()...)
	}
	return map[string][]string{"addresses": addresses}, nil
}

func answer(w http.ResponseWriter, e envelope) {
	body, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Errorf("httpapi: encode an answer: %w", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(body, '\n')) // if that fails, the client has disconnected
}

// recovered answers a request whose handler panicked. If the answer has begun, it
// breaks the connection: half an answer must not look like a complete one.
func (s *Server) recovered(w *response) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.guard.Caught(p, "httpapi: answer a request")
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	answer(w, envelope{Status: http.StatusInternalServerError, Error: "internal server error"})
}
