package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/samesite"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// beside returns the handler of a request that is not for the API: that of the
// introspection WebSocket or of the live page. open is true for the page, whose
// files need no token.
func (s *Server) beside(q *http.Request) (route string, h http.Handler, open bool) {
	switch {
	case s.deps.Introspect != nil && q.URL.Path == "/introspect":
		return "/introspect", s.deps.Introspect, false
	case s.deps.Page == nil || q.Method != http.MethodGet && q.Method != http.MethodHead:
	case strings.HasPrefix(q.URL.Path, "/ui/"):
		return "/ui", s.own(s.deps.Page), true
	case q.URL.Path == "/" && strings.Contains(q.Header.Get("Accept"), "text/html"):
		return "/", s.own(s.deps.Page), true
	}
	return "", nil, false
}

// own rejects requests of web pages from elsewhere.
func (s *Server) own(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if err := samesite.Check(q, s.cfg.AllowedHosts); err != nil {
			answer(w, envelope{Status: http.StatusForbidden, Error: err.Error()})
			return
		}
		h.ServeHTTP(w, q)
	})
}

// The bounds of a history.
const (
	defaultSince = time.Hour
	minSince     = time.Minute
	maxSince     = 24 * time.Hour
	defaultStep  = 30 * time.Second
	minStep      = time.Second
	maxSteps     = 1000
)

func (s *Server) history(q *http.Request) (any, error) {
	v, err := query(q)
	if err != nil {
		return nil, err
	}
	read := func(name string, unless, least, most time.Duration) (time.Duration, error) {
		if v.Get(name) == "" {
			return unless, nil
		}
		d, err := units.ParseDuration(v.Get(name))
		if err != nil || d < least || d > most {
			return 0, badRequest(fmt.Sprintf("%s: want a duration from %v to %v, as in %v", name, least, most, unless))
		}
		return d.Truncate(time.Second), nil
	}
	since, err := read("since", defaultSince, minSince, maxSince)
	if err != nil {
		return nil, err
	}
	step, err := read("step", max(defaultStep, (since/maxSteps).Truncate(time.Second)+time.Second), minStep, maxSince)
	if err != nil {
		return nil, err
	}
	if since/step > maxSteps {
		return nil, badRequest(fmt.Sprintf("step: this makes %d steps, want at most %d", since/step, maxSteps))
	}
	if s.deps.History == nil {
		return nil, absent("the store")
	}
	h, err := s.deps.History(q.Context(), since, step)
	if err != nil {
		return nil, err
	}
	return h, nil
}
