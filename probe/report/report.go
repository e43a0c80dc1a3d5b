// Package report prints the DHT probe's results: a table, plots, CSV and JSON.
//
// In: rows of the store. Out: for each fleet and kind how many succeeded and the
// quantiles of their durations. Promised: quantiles are measured durations of
// successes, not interpolated (nearest rank); failures are counted separately; the
// same rows make the same bytes, whichever database they come from.
package report

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Group is the results of one fleet and kind.
type Group struct {
	Fleet   string `json:"fleet"`
	Kind    string `json:"kind"` // provide, retrieve, or a step of IPNI
	Count   int    `json:"count"`
	Success int    `json:"success"`
	// Quantiles of the durations of successes, in seconds; 0 without any.
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	// Means of the successes of which the lookup is known; 0 without any.
	Hops        float64 `json:"hops"`
	RPCs        float64 `json:"rpcs"`
	Dials       float64 `json:"dials"`
	FailedDials float64 `json:"failed_dials"`

	durations []time.Duration // of successes, sorted
}

// Kinds in the order of the table.
const (
	provide  = "provide"
	retrieve = "retrieve"
)

func kind(r *store.Result) string {
	if r.Provide {
		return cmp.Or(r.Step, provide)
	}
	return retrieve
}

// Groups sums results, by kind and then by fleet.
func Groups(results []store.Result) (out []Group) {
	type key struct{ kind, fleet string }
	places := map[key]int{}
	known := []int{}
	for i := range results {
		r := &results[i]
		k := key{kind(r), r.Fleet}
		at, ok := places[k]
		if !ok {
			at = len(out)
			places[k] = at
			out = append(out, Group{Fleet: r.Fleet, Kind: k.kind})
			known = append(known, 0)
		}
		g := &out[at]
		g.Count++
		if r.Error != "" {
			continue
		}
		g.Success++
		g.durations = append(g.durations, r.Duration)
		if l := r.Lookup; l != nil {
			known[at]++
			g.Hops += float64(l.Hops)
			g.RPCs += float64(l.RPCs)
			g.Dials += float64(l.Dials)
			g.FailedDials += float64(l.FailedDials)
		}
	}
	for i := range out {
		g := &out[i]
		slices.Sort(g.durations)
		g.P50, g.P90, g.P95, g.P99 = g.quantile(0.5), g.quantile(0.9), g.quantile(0.95), g.quantile(0.99)
		for _, mean := range []*float64{&g.Hops, &g.RPCs, &g.Dials, &g.FailedDials} {
			*mean = math.Round(*mean/float64(max(known[i], 1))*100) / 100
		}
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Fleet, b.Fleet)) })
	return out
}

// quantile returns the duration that a part q of the successes does not exceed.
func (g *Group) quantile(q float64) float64 {
	if len(g.durations) == 0 {
		return 0
	}
	return g.durations[max(int(math.Ceil(q*float64(len(g.durations)))), 1)-1].Seconds()
}

// Table writes groups for people.
func Table(w io.Writer, groups []Group) error {
	t := textout.NewNumbers(w)
	t.Row("kind", "fleet", "runs", "success", "p50", "p90", "p95", "p99", "hops", "RPCs", "dials", "failed")
	for _, g := range groups {
		row := []any{g.Kind, g.Fleet, g.Count, fmt.Sprintf("%.1f %%", 100*float64(g.Success)/float64(max(g.Count, 1)))}
		for _, q := range []float64{g.P50, g.P90, g.P95, g.P99} {
			row = append(row, human(q))
		}
		for _, n := range []float64{g.Hops, g.RPCs, g.Dials, g.FailedDials} {
			row = append(row, strconv.FormatFloat(n, 'f', 1, 64))
		}
		t.Row(row...)
	}
	return t.Flush()
}

// human writes seconds.
func human(s float64) string {
	if s == 0 {
		return "-"
	}
	return units.FormatDuration(time.Duration(s * float64(time.Second)))
}

// CSV writes one line for each result.
func CSV(w io.Writer, results []store.Result) error {
	c := csv.NewWriter(w)
	// Flush returns the error.
	_ = c.Write([]string{"time", "kind", "fleet", "region", "scheduler", "node", "cid", "seconds", "error", "rt_size",
		"hops", "rpcs", "failed_rpcs", "dials", "failed_dials"})
	for i := range results {
		r := &results[i]
		line := []string{r.At.UTC().Format("2006-01-02T15:04:05.000000Z"), kind(r), cell(r.Fleet), cell(r.Region), strconv.Itoa(r.Scheduler), strconv.Itoa(r.Node), r.CID,
			strconv.FormatFloat(r.Duration.Seconds(), 'f', -1, 64), cell(r.Error), strconv.Itoa(r.Table)}
		if l := r.Lookup; l != nil {
			for _, n := range []int{l.Hops, l.RPCs, l.FailedRPCs, l.Dials, l.FailedDials} {
				line = append(line, strconv.Itoa(n))
			}
		} else {
			line = append(line, "", "", "", "", "")
		}
		_ = c.Write(line)
	}
	c.Flush()
	return c.Error()
}

// cell escapes a text that a spreadsheet would read as a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// JSON writes the groups, their results, and about.
func JSON(w io.Writer, results []store.Result, about map[string]any) error {
	type row struct {
		Time    string  `json:"time"`
		Kind    string  `json:"kind"`
		Fleet   string  `json:"fleet"`
		Region  string  `json:"region"`
		CID     string  `json:"cid"`
		Seconds float64 `json:"seconds"`
		Error   string  `json:"error,omitempty"`
		RTSize  int     `json:"rt_size"`
		Lookup  *lookup `json:"lookup,omitempty"`
	}
	doc := struct {
		About   map[string]any `json:"about"`
		Groups  []Group        `json:"groups"`
		Results []row          `json:"results"`
	}{About: about, Groups: append([]Group{}, Groups(results)...), Results: []row{}}
	for i := range results {
		r := &results[i]
		x := row{r.At.UTC().Format("2006-01-02T15:04:05.000000Z"), kind(r), r.Fleet, r.Region, r.CID, r.Duration.Seconds(), r.Error, r.Table, nil}
		if l := r.Lookup; l != nil {
			x.Lookup = &lookup{l.Hops, l.RPCs, l.FailedRPCs, l.Dials, l.FailedDials, []float64{}}
			for _, t := range l.HopTimes {
				x.Lookup.HopTimes = append(x.Lookup.HopTimes, t.Seconds())
			}
		}
		doc.Results = append(doc.Results, x)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(doc)
}

type lookup struct {
	Hops        int       `json:"hops"`
	RPCs        int       `json:"rpcs"`
	FailedRPCs  int       `json:"failed_rpcs"`
	Dials       int       `json:"dials"`
	FailedDials int       `json:"failed_dials"`
	HopTimes    []float64 `json:"hop_times"`
}
