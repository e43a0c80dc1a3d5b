package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/textout"
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name:      "top",
		Usage:     "watch a running monitor in the terminal: rates, content, peers, latency, losses",
		ArgsUsage: "[ADDRESS]",
		Description: "ADDRESS is that of the HTTP API, host:port, unix:/path or a URL (default: that of the running monitor, or " + defaultHTTP + ").\n" +
			"Keys: tab or 1 to 5 choose the view, p pauses, + and - change the interval, q quits. Works over ssh.\n\n" +
			"Example: ipfsmon top\n" +
			"         ipfsmon top --token-file token https://node.example:8432\n" +
			"         ipfsmon top --once --format json | jq .rates",
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 2 * time.Second, Usage: "`TIME` between two readings"},
			&cli.BoolFlag{Name: "once", Usage: "print the figures of one interval and exit"},
			&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT` of --once: text or json"},
		}, reachFlags()...),
		Action: runTop,
	}
}

// onceLines is how many lines of each view --once prints.
const onceLines = 24

// minTopInterval is the shortest time between two readings.
const minTopInterval = 200 * time.Millisecond

func runTop(c *cli.Context) error {
	address := c.Args().First()
	if address == "" {
		address = httpAddress()
	}
	every, format := c.Duration("interval"), c.String("format")
	switch {
	case every < minTopInterval:
		return wrongUse(c, "--interval %v: want %v or more", every, minTopInterval)
	case format != "text" && format != "json":
		return wrongUse(c, "--format %q: want text or json", format)
	case format == "json" && !c.Bool("once"):
		return wrongUse(c, "--format json: want --once too")
	case !c.Bool("once") && !term.IsTerminal(int(os.Stdout.Fd())):
		return wrongUse(c, "standard output is not a terminal: want --once")
	}
	to, err := reach(c)
	if err != nil {
		return asUsed("top", err)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	s := newTopSource(address, to)
	defer s.client.CloseIdleConnections()
	first, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("top: %w", err)
	}
	if !c.Bool("once") {
		return newTopModel(s, first, every).run(ctx)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(every):
	}
	second, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("top: %w", err)
	}
	second.since(first)
	if format == "json" {
		enc := json.NewEncoder(textout.JSON(os.Stdout))
		enc.SetIndent("", "  ")
		return enc.Encode(second)
	}
	m := newTopModel(s, second, every)
	out := textout.ForTerminal(os.Stdout)
	for view := range topViews {
		m.view = view
		body := m.body()
		if _, err := fmt.Fprintf(out, "%s\n%s\n\n", topViews[view].name, strings.Join(body[:min(len(body), onceLines)], "\n")); err != nil {
			return err
		}
	}
	return nil
}

// topRate is how many of a kind there were a second.
type topRate struct {
	Kind     string  `json:"kind"`
	Received float64 `json:"received"`
	Sent     float64 `json:"sent"`
}

// topCount is a name and how often it is there.
type topCount struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// topLatency is a summary of times in seconds, of the last interval of a minute;
// 0: there was none.
type topLatency struct {
	What   string  `json:"what"`
	Count  uint64  `json:"count"` // since the start
	Median float64 `json:"median_s"`
	P90    float64 `json:"p90_s"`
	P99    float64 `json:"p99_s"`
}

// topLoss is a counter of something that is missing somewhere.
type topLoss struct {
	What  string  `json:"what"`
	Total uint64  `json:"total"` // since the start
	Rate  float64 `json:"rate"`  // a second
}

// topReading is one reading of a monitor. All of its texts are harmless to a
// terminal.
type topReading struct {
	At          time.Time    `json:"at"`
	Monitor     string       `json:"monitor"`
	Version     string       `json:"version"`
	Ready       bool         `json:"ready"`
	NotReady    string       `json:"not_ready,omitempty"` // why
	Peers       uint64       `json:"peers"`
	Known       uint64       `json:"known_peers"`
	Rates       []topRate    `json:"rates"`
	Transports  []topCount   `json:"transports"`
	Agents      []topCount   `json:"agents"`
	CIDs        []topEntry   `json:"cids"`
	Wanters     []topEntry   `json:"wanters"`
	Latencies   []topLatency `json:"latencies"`
	Losses      []topLoss    `json:"losses"`
	Stored      uint64       `json:"stored"`
	Queued      uint64       `json:"queued"`
	Destination string       `json:"destination_error,omitempty"`
	Hidden      string       `json:"hidden,omitempty"` // why no CIDs and peers are named

	pipe pipeline.Pipeline
}

// topEntry is a CID or a peer with its wants in the last interval of a minute.
type topEntry struct {
	CID   string `json:"cid,omitempty"`
	Peer  string `json:"peer,omitempty"`
	Agent string `json:"agent,omitempty"`
	Wants uint64 `json:"wants"`
	Error uint64 `json:"error"`
	Peers uint64 `json:"peers,omitempty"`
}

// topSource reads a monitor's HTTP API.
type topSource struct {
	base   string
	client *http.Client
}

// topTimeout is the most time that one request takes.
const topTimeout = 10 * time.Second

func newTopSource(address string, to listen.To) *topSource {
	address, to.Socket = listen.SplitAddress(address)
	to.Timeout = topTimeout
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	return &topSource{strings.TrimSuffix(address, "/"), to.Client()}
}

// maxAnswer is the most bytes of an answer that are read.
const maxAnswer = 16 << 20

// get requests a path and returns the body, and the status if it is not in
// accepted.
func (s *topSource) get(ctx context.Context, path string, accepted ...int) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode != http.StatusOK && !slices.Contains(accepted, res.StatusCode) {
		err = fmt.Errorf("GET %s: %s: %s", s.base+path, res.Status, textout.Short(strings.TrimSpace(string(body)), 256))
	}
	return body, res.StatusCode, err
}

// api calls a method of the HTTP API. reason is the API's own error, with its
// status in accepted.
func (s *topSource) api(ctx context.Context, method string, into any, accepted ...int) (reason string, err error) {
	body, status, err := s.get(ctx, "/metric_plugin/v1/"+method, accepted...)
	if err != nil {
		return "", err
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  string          `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("GET %s: not the HTTP API of a monitor: %w", s.base+"/metric_plugin/v1/"+method, err)
	}
	if status != http.StatusOK {
		return cmp.Or(textout.Line(answer.Error, 512), http.StatusText(status)), nil
	}
	if into != nil {
		if err := json.Unmarshal(answer.Result, into); err != nil {
			return "", fmt.Errorf("GET %s: %w", s.base+"/metric_plugin/v1/"+method, err)
		}
	}
	return "", nil
}

// read reads the monitor once. Rates need since.
func (s *topSource) read(ctx context.Context) (*topReading, error) {
	r := &topReading{At: time.Now()}
	var version struct{ Monitor, Version string }
	var cids, wanters struct{ Entries []topEntry }
	var families map[string]*dto.MetricFamily
	var mu sync.Mutex // guards r.Hidden
	hide := func(reason string) {
		mu.Lock()
		defer mu.Unlock()
		r.Hidden = cmp.Or(r.Hidden, reason)
	}
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i, f := range []func() error{
		func() error { _, err := s.api(ctx, "version", &version); return err },
		func() error { _, err := s.api(ctx, "pipeline", &r.pipe); return err },
		func() error {
			var err error
			r.NotReady, err = s.api(ctx, "ready", nil, http.StatusServiceUnavailable)
			r.Ready = err == nil && r.NotReady == ""
			return err
		},
		func() error {
			reason, err := s.api(ctx, "top?kind=cids&n=100", &cids, http.StatusServiceUnavailable, http.StatusForbidden)
			hide(reason)
			return err
		},
		func() error {
			reason, err := s.api(ctx, "top?kind=peers&n=100", &wanters, http.StatusServiceUnavailable, http.StatusForbidden)
			hide(reason)
			return err
		},
		func() error {
			body, _, err := s.get(ctx, "/metrics")
			if err != nil {
				return err
			}
			p := expfmt.NewTextParser(model.UTF8Validation)
			families, err = p.TextToMetricFamilies(strings.NewReader(string(body)))
			return err
		},
	} {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	for _, err := range errs {
		var wrong *url.Error
		if errors.As(err, &wrong) {
			return nil, wrong // one of six
		}
		if err != nil {
			return nil, err
		}
	}
	r.Monitor, r.Version = textout.Line(version.Monitor, 64), textout.Line(version.Version, 32)
	r.CIDs, r.Wanters = cleanEntries(cids.Entries), cleanEntries(wanters.Entries)
	r.fromMetrics(families)
	r.fromPipeline()
	return r, nil
}

func cleanEntries(all []topEntry) []topEntry {
	for i := range all {
		e := &all[i]
		e.CID, e.Peer, e.Agent = textout.Line(e.CID, 128), textout.Line(e.Peer, 128), textout.Line(e.Agent, 64)
	}
	return all
}

// fromMetrics reads what only the metrics have.
func (r *topReading) fromMetrics(all map[string]*dto.MetricFamily) {
	counts := func(name, label string) (out []topCount) {
		sums := map[string]uint64{}
		for _, m := range all[name].GetMetric() {
			sums[labelOf(m, label)] += uint64(max(m.GetGauge().GetValue(), 0))
		}
		for name, n := range sums {
			if n > 0 {
				out = append(out, topCount{textout.Line(name, 64), n})
			}
		}
		slices.SortFunc(out, func(a, b topCount) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
		return out
	}
	r.Transports = counts("ipfsmon_peers", "transport")
	r.Agents = counts("plugin_metric_export_peers_by_agent_version", "agent_version")
	for _, m := range all["plugin_metric_export_wiretap_peers"].GetMetric() {
		r.Peers = uint64(max(m.GetGauge().GetValue(), 0))
	}
	for _, m := range all["ipfsmon_known_peers"].GetMetric() {
		r.Known = uint64(max(m.GetGauge().GetValue(), 0))
	}
	for _, f := range []struct{ name, what string }{
		{"ipfsmon_retrieval_to_provider_seconds", "want to provider"},
		{"ipfsmon_retrieval_to_block_seconds", "want to block"},
		{"ipfsmon_retrieval_search_seconds", "search for providers"},
	} {
		for _, m := range all[f.name].GetMetric() {
			what := f.what
			if source := labelOf(m, "source"); source != "" {
				what += ", " + textout.Line(source, 32)
			}
			l := topLatency{What: what, Count: m.GetSummary().GetSampleCount()}
			for _, q := range m.GetSummary().GetQuantile() {
				v := q.GetValue()
				switch {
				case math.IsNaN(v): // none in the interval
				case q.GetQuantile() == 0.5:
					l.Median = v
				case q.GetQuantile() == 0.9:
					l.P90 = v
				case q.GetQuantile() == 0.99:
					l.P99 = v
				}
			}
			r.Latencies = append(r.Latencies, l)
		}
	}
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// topKinds are the kinds of what messages carry, in the order in which they are
// shown.
var topKinds = []struct {
	name string
	of   func(t pipeline.Traffic) uint64
}{
	{"messages", func(t pipeline.Traffic) uint64 { return t.Messages }},
	{"want_have", func(t pipeline.Traffic) uint64 { return t.WantHave }},
	{"want_block", func(t pipeline.Traffic) uint64 { return t.WantBlock }},
	{"cancel", func(t pipeline.Traffic) uint64 { return t.Cancel }},
	{"have", func(t pipeline.Traffic) uint64 { return t.Have }},
	{"dont_have", func(t pipeline.Traffic) uint64 { return t.DontHave }},
	{"blocks", func(t pipeline.Traffic) uint64 { return t.Blocks }},
	{"block bytes", func(t pipeline.Traffic) uint64 { return t.BlockBytes }},
}

// fromPipeline reads the losses and the state of the delivery.
func (r *topReading) fromPipeline() {
	p := &r.pipe
	add := func(what string, n uint64) { r.Losses = append(r.Losses, topLoss{What: what, Total: n}) }
	for _, reader := range p.Bus.Readers {
		add("events missed by "+textout.Line(reader.Name, 32), reader.Missed)
	}
	add("messages over a peer's limit, without an event", p.Capture.Limited)
	add("entries cut from long messages", p.Capture.Received.Truncated+p.Capture.Sent.Truncated)
	add("messages that could not be sent", p.Capture.SendErrors)
	if d := p.Derive; d != nil {
		add("waiting wants forgotten", d.Lost)
	}
	if s := p.Stream; s != nil {
		add("events dropped for slow subscribers", s.DroppedEvents)
	}
	if i := p.Influx; i != nil {
		r.Stored, r.Queued = i.Stored, i.Queued
		for n, d := range i.Destinations {
			name := textout.Line(d.Name, 32)
			i.Destinations[n].Name = name
			add("points dropped, "+name, d.Dropped)
			add("points rejected, "+name, d.Rejected)
			if d.Failing {
				r.Destination = fmt.Sprintf("%s: %d points wait: %s", name, d.Queued, textout.Line(d.LastError, 256))
			}
		}
	}
	panics := p.Capture.Panics
	if p.HTTP != nil {
		panics += p.HTTP.Panics
	}
	add("panics recovered from", panics)
}

// since computes the rates from an earlier reading. A counter that is smaller now
// is that of a monitor that was started again.
func (r *topReading) since(old *topReading) {
	seconds := r.At.Sub(old.At).Seconds()
	rate := func(now, before uint64) float64 {
		if now < before || seconds <= 0 {
			return 0
		}
		return float64(now-before) / seconds
	}
	r.Rates = nil
	for _, k := range topKinds {
		r.Rates = append(r.Rates, topRate{k.name,
			rate(k.of(r.pipe.Capture.Received), k.of(old.pipe.Capture.Received)), rate(k.of(r.pipe.Capture.Sent), k.of(old.pipe.Capture.Sent))})
	}
	before := map[string]uint64{}
	for _, l := range old.Losses {
		before[l.What] = l.Total
	}
	for i, l := range r.Losses {
		r.Losses[i].Rate = rate(l.Total, before[l.What])
	}
}
