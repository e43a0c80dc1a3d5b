package httpapi

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// response records the route and the status of an answer, for the counters.
type response struct {
	http.ResponseWriter
	route  string // one of routes, or other
	status int    // 0 until the answer begins
}

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap is used by http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// requests counts answers by route and status. Both are closed sets, so its size
// is bounded.
type requests struct {
	mu    sync.Mutex
	count map[requestKey]uint64
}

type requestKey struct {
	route string
	code  int
}

func (r *requests) add(route string, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[requestKey]uint64)
	}
	r.count[requestKey{route, code}]++
}

// list returns the counts by route and code.
func (r *requests) list() []pipeline.Requests {
	r.mu.Lock()
	out := make([]pipeline.Requests, 0, len(r.count))
	for k, n := range r.count {
		out = append(out, pipeline.Requests{Route: k.route, Code: k.code, Count: n})
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b pipeline.Requests) int {
		return cmp.Or(strings.Compare(a.Route, b.Route), cmp.Compare(a.Code, b.Code))
	})
	return out
}
