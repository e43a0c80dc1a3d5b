package httpapi

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/julienschmidt/httprouter"
)

// The default and the highest number of entries of /top.
const (
	defaultTop = 20
	maxTop     = 1000
)

func badRequest(reason string) error { return &Error{http.StatusBadRequest, reason} }

// absent is the error for a request about a part that this monitor does not have.
func absent(what string) error {
	return &Error{http.StatusServiceUnavailable, what + " is switched off in this monitor's configuration, or its node has no network"}
}

// query returns the query parameters, and an error where net/http would ignore
// what it cannot parse.
func query(q *http.Request) (url.Values, error) {
	v, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return nil, badRequest("malformed query: want name=value, separated by &, with special characters as %XX")
	}
	return v, nil
}

func (s *Server) health(*http.Request) (any, error) {
	if s.deps.Healthy != nil {
		if err := s.deps.Healthy(); err != nil {
			return nil, &Error{http.StatusServiceUnavailable, err.Error()}
		}
	}
	return map[string]bool{"healthy": true}, nil
}

func (s *Server) ready(*http.Request) (any, error) {
	if s.deps.Ready != nil {
		if err := s.deps.Ready(); err != nil {
			return nil, &Error{http.StatusServiceUnavailable, err.Error()}
		}
	}
	return map[string]bool{"ready": true}, nil
}

func (s *Server) version(*http.Request) (any, error) {
	if s.deps.Version == nil {
		return nil, absent("version")
	}
	return s.deps.Version(), nil
}

func (s *Server) pipeline(*http.Request) (any, error) {
	if s.deps.Pipeline == nil {
		return nil, absent("pipeline")
	}
	return s.deps.Pipeline(), nil
}

func (s *Server) top(q *http.Request) (any, error) {
	v, err := query(q)
	if err != nil {
		return nil, err
	}
	kind := v.Get("kind")
	if kind != "cids" && kind != "peers" {
		return nil, badRequest("kind: want cids or peers")
	}
	n := defaultTop
	if v.Has("n") {
		if n, err = strconv.Atoi(v.Get("n")); err != nil || n < 1 || n > maxTop {
			return nil, badRequest("n: want a number from 1 to " + strconv.Itoa(maxTop))
		}
	}
	if s.deps.Top == nil {
		return nil, absent("top")
	}
	entries, err := s.deps.Top(kind, n)
	if err != nil {
		return nil, err
	}
	return map[string]any{"kind": kind, "entries": entries, "coverage": s.coverage()}, nil
}

func (s *Server) subscribers(*http.Request) (any, error) {
	if s.deps.Subscribers == nil {
		return nil, absent("the stream")
	}
	all := append([]Subscriber{}, s.deps.Subscribers()...) // never null
	return map[string][]Subscriber{"subscribers": all}, nil
}

func (s *Server) kick(w http.ResponseWriter, q *http.Request, p httprouter.Params) {
	switch {
	case s.deps.Kick == nil:
		s.answer(w, q, nil, absent("the stream"))
	case !s.deps.Kick(p.ByName("id")):
		s.answer(w, q, nil, &Error{http.StatusNotFound, "no subscriber with this ID"})
	default:
		s.answer(w, q, struct{}{}, nil)
	}
}

func (s *Server) metrics(w http.ResponseWriter, q *http.Request, _ httprouter.Params) {
	if s.deps.Metrics == nil {
		s.answer(w, q, nil, absent("metrics"))
		return
	}
	s.deps.Metrics.ServeHTTP(w, q)
}
