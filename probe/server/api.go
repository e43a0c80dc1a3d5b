package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/probe"
)

// SchedulerHeader names the scheduler of a request: its fleets joined by commas.
const SchedulerHeader = "X-Scheduler-Id"

// PeerHeader has the server's peer ID in an answer to /readiness. parsec's servers
// do not send it.
const PeerHeader = "X-Peer-Id"

// Limits of the API.
const (
	maxContent  = 1 << 20               // bytes of content
	maxBody     = maxContent/3*4 + 4096 // of the request, content in base64
	maxCIDText  = 512
	maxParallel = 16 // measurements at once
	// The most connections at once: in total, and from one address beyond loopback.
	maxConns           = 256
	maxConnsPerAddress = 64
	generationKey      = "generation"
)

// Generation is the form of an answer; parsec has two.
type Generation int

// The generations: that of parsec's README, and that of its later versions.
const (
	README Generation = 1
	Head   Generation = 2
)

// ParseGeneration parses a generation's number; "" is def.
func ParseGeneration(s string, def Generation) (Generation, error) {
	switch s {
	case "":
		return def, nil
	case "1":
		return README, nil
	case "2":
		return Head, nil
	}
	return 0, fmt.Errorf("generation %.32q: want 1 or 2", s)
}

// Answer is the answer to a measurement in both generations: the first has
// Duration and Error, the second Measurements. Durations are nanoseconds.
type Answer struct {
	CID              string
	Duration         *time.Duration `json:",omitempty"`
	Error            *string        `json:",omitempty"`
	Measurements     []Measured     `json:",omitempty"`
	RoutingTableSize int
	Lookup           *Lookup `json:",omitempty"` // an addition to parsec's API: what the lookup did
}

// Measured is one step.
type Measured struct {
	Step     string
	Duration time.Duration
	Error    string
}

// Lookup is probe.Lookup over HTTP; times are nanoseconds.
type Lookup struct {
	Hops, RPCs, FailedRPCs, Dials, FailedDials int
	HopTimes                                   []time.Duration
}

// answer converts a measurement to an Answer.
func answer(r *probe.Measurement, g Generation, t probe.Target) *Answer {
	a := &Answer{CID: r.CID.String(), RoutingTableSize: r.Table}
	if g == Head {
		for _, s := range r.Steps {
			a.Measurements = append(a.Measurements, Measured{s.Step, s.Duration, s.Error})
		}
	} else {
		a.Duration, a.Error = &r.Duration, &r.Err
	}
	if l := r.Lookup; t == probe.DHT {
		a.Lookup = &Lookup{l.Hops, l.RPCs, l.FailedRPCs, l.Dials, l.FailedDials, append([]time.Duration{}, l.HopTimes...)}
	}
	return a
}

// refusal is an error answer: a status and its reason.
type refusal struct {
	status int
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Errorf(format, args...)}
}

// order is the body of a request. parsec's contract has Target where its program
// has Routing.
type order struct {
	Content []byte
	Routing string
	Target  string
}

// read reads an order; empty permits an empty body.
func read(w http.ResponseWriter, r *http.Request, empty bool) (o order, t probe.Target, err error) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if k, _, err := mime.ParseMediaType(kind); err != nil || k != "application/json" && k != "text/plain" && k != "application/x-www-form-urlencoded" {
			return o, "", refuse(http.StatusUnsupportedMediaType, "Content-Type %.64q: want application/json", kind)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return o, "", refuse(http.StatusRequestEntityTooLarge, "the body is too long: want at most %d bytes", maxBody)
	case err != nil:
		return o, "", refuse(http.StatusBadRequest, "the body cannot be read: %v", err)
	case len(strings.TrimSpace(string(body))) == 0 && empty:
		return o, probe.DHT, nil
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return o, "", refuse(http.StatusBadRequest, "malformed body: %v", err)
	}
	t, err = probe.ParseTarget(o.Routing)
	if err != nil {
		return o, "", refuse(http.StatusBadRequest, "Routing: %v", err)
	}
	if o.Target != "" {
		other, err := probe.ParseTarget(o.Target)
		if err != nil {
			return o, "", refuse(http.StatusBadRequest, "Target: %v", err)
		}
		if o.Routing != "" && t != other {
			return o, "", refuse(http.StatusBadRequest, "Routing is %s and Target is %s: want one of them", t, other)
		}
		t = other
	}
	return o, t, nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /provide", s.measured(s.provide))
	mux.HandleFunc("POST /retrieve/{cid}", s.measured(s.retrieve))
	mux.HandleFunc("GET /readiness", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(PeerHeader, s.cfg.Measurer.Host.ID().String())
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.cfg.Metrics.Request(r.Method, r.URL.Path, r.Header.Get(SchedulerHeader))
		mux.ServeHTTP(w, r)
	})
}

// measured returns the handler of a measurement: what all of them have in common.
func (s *Server) measured(do func(http.ResponseWriter, *http.Request) (*probe.Measurement, probe.Target, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g, err := ParseGeneration(r.URL.Query().Get(generationKey), s.cfg.Generation)
		if err != nil {
			reply(w, 0, nil, refuse(http.StatusBadRequest, "%v", err))
			return
		}
		if name := r.Header.Get(SchedulerHeader); len(name) > 4096 {
			reply(w, 0, nil, refuse(http.StatusRequestHeaderFieldsTooLarge, "%s has %d bytes: want at most 4096", SchedulerHeader, len(name)))
			return
		}
		m, t, err := do(w, r)
		reply(w, g, &result{m, t}, err)
	}
}

type result struct {
	m *probe.Measurement
	t probe.Target
}

func reply(w http.ResponseWriter, g Generation, r *result, err error) {
	status, body := http.StatusOK, any(nil)
	if err != nil {
		status = http.StatusInternalServerError
		var no *refusal
		if errors.As(err, &no) {
			status = no.status
		}
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "10")
		}
		body = struct{ Error string }{err.Error()}
	} else {
		body = answer(r.m, g, r.t)
	}
	b, err := json.Marshal(body)
	if err != nil { // cannot happen: the types always have a JSON form
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // if that fails, the client has disconnected
}

func (s *Server) provide(w http.ResponseWriter, r *http.Request) (*probe.Measurement, probe.Target, error) {
	o, t, err := read(w, r, false)
	if err != nil {
		return nil, t, err
	}
	if len(o.Content) == 0 || len(o.Content) > maxContent {
		return nil, t, refuse(http.StatusBadRequest, "Content has %d bytes: want 1 to %d, in base64", len(o.Content), maxContent)
	}
	if err := s.denied(probe.CIDOf(o.Content)); err != nil {
		return nil, t, err
	}
	return s.measure(r, t, true, func() probe.Measurement {
		if t == probe.IPNI {
			return s.cfg.Indexer.Provide(r.Context(), o.Content)
		}
		return s.cfg.Measurer.Provide(r.Context(), o.Content)
	})
}

func (s *Server) retrieve(w http.ResponseWriter, r *http.Request) (*probe.Measurement, probe.Target, error) {
	text := r.PathValue("cid")
	if len(text) > maxCIDText {
		return nil, "", refuse(http.StatusBadRequest, "the CID has %d bytes: want at most %d", len(text), maxCIDText)
	}
	c, err := cidtext.Parse(text)
	if err != nil {
		return nil, "", refuse(http.StatusBadRequest, "invalid CID %.80q: %v", text, err)
	}
	_, t, err := read(w, r, true)
	if err != nil {
		return nil, t, err
	}
	if err := s.denied(c); err != nil {
		return nil, t, err
	}
	return s.measure(r, t, false, func() probe.Measurement {
		if t == probe.IPNI {
			return s.cfg.Indexer.Retrieve(r.Context(), c)
		}
		return s.cfg.Measurer.Retrieve(r.Context(), c)
	})
}

// denied returns an error for a CID on a deny list.
func (s *Server) denied(c cid.Cid) error {
	for _, d := range s.cfg.Deny {
		if d.denies(c) {
			return refuse(http.StatusUnavailableForLegalReasons, "%s is on a deny list of this server", c)
		}
	}
	return nil
}

func (s *Server) measure(r *http.Request, t probe.Target, provide bool, do func() probe.Measurement) (*probe.Measurement, probe.Target, error) {
	if t == probe.IPNI && s.cfg.Indexer == nil {
		return nil, t, refuse(http.StatusBadRequest, "Routing IPNI: this server has no indexer: want it started with --indexer-host")
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return nil, t, refuse(http.StatusTooManyRequests, "%d measurements are running, more would disturb each other: retry later", maxParallel)
	}
	m := do()
	s.cfg.Metrics.Measured(provide, t, &m, r.Header.Get(SchedulerHeader))
	return &m, t, nil
}
