package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx/client"
)

// historyTimeout bounds the store's answer for one figure of a history.
const historyTimeout = 10 * time.Second

// historyAtOnce is the maximum of concurrent history requests.
const historyAtOnce = 4

// past queries the store that points are written to.
type past struct {
	client *client.Client
	node   string
	turn   chan struct{} // cap historyAtOnce
}

// openHistory creates the client, if points are written to a server that can be queried.
func (m *Monitor) openHistory() {
	c := m.Config.InfluxDB
	if c == nil || c.URL == "" {
		return
	}
	server, err := client.New(*c)
	if err != nil {
		return // points are written to a file or over UDP
	}
	m.store = &past{client: server, node: m.Config.MonitorName, turn: make(chan struct{}, historyAtOnce)}
}

func (m *Monitor) closeHistory() {
	if m.store != nil {
		m.store.client.Close()
	}
}

// figures are the figures of a history with their statements: {during} stands for the time
// range, {where} for that and the node, {step} for the length of a step.
var figures = []struct {
	statement string
	columns   []figure
}{
	{
		statement: `SELECT sum(messages)/sum(interval_ms)*1000, sum(want_block)/sum(interval_ms)*1000, sum(want_have)/sum(interval_ms)*1000, ` +
			`sum(cancel)/sum(interval_ms)*1000, sum(have)/sum(interval_ms)*1000, sum(dont_have)/sum(interval_ms)*1000, ` +
			`sum(blocks)/sum(interval_ms)*1000, sum(block_bytes)/sum(interval_ms)*1000 ` +
			`FROM totals.traffic WHERE {where} GROUP BY time({step}), direction fill(none)`,
		columns: []figure{{"messages", "1/s"}, {"want_block", "1/s"}, {"want_have", "1/s"}, {"cancel", "1/s"}, {"have", "1/s"}, {"dont_have", "1/s"},
			{"blocks", "1/s"}, {"block_bytes", "B/s"}},
	},
	{
		statement: `SELECT sum(c) FROM (SELECT last(connected) AS c FROM totals.peers WHERE {where} GROUP BY time({step}), direction, transport fill(none)) ` +
			`WHERE {during} GROUP BY time({step}) fill(none)`,
		columns: []figure{{"peers", ""}},
	},
	{
		statement: `SELECT max(p50_us), max(p99_us) FROM totals.latency_totals WHERE answers > 0 AND {where} GROUP BY time({step}), direction, answer fill(none)`,
		columns:   []figure{{"latency_p50_us", "us"}, {"latency_p99_us", "us"}},
	},
}

type figure struct{ name, unit string }

// history answers the HTTP API's /history from the store.
func (m *Monitor) history(ctx context.Context, since, step time.Duration) (*httpapi.History, error) {
	if m.store == nil {
		return nil, &httpapi.Error{Status: http.StatusServiceUnavailable, Reason: "points are not written to an InfluxDB that can be queried"}
	}
	select {
	case m.store.turn <- struct{}{}:
		defer func() { <-m.store.turn }()
	default:
		return nil, &httpapi.Error{Status: http.StatusServiceUnavailable, Reason: fmt.Sprintf("%d history requests are running already: try again", historyAtOnce)}
	}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	h, err := m.store.ask(ctx, time.Now(), since, step)
	var refused *client.QueryError
	switch {
	case errors.As(err, &refused) && strings.Contains(refused.Message, "not found"): // no points yet
		return h, nil
	case err != nil:
		m.log.Debug("the store does not answer", "err", err)
		return nil, &httpapi.Error{Status: http.StatusServiceUnavailable, Reason: "the store does not answer"}
	}
	return h, nil
}

func (p *past) ask(ctx context.Context, now time.Time, since, step time.Duration) (*httpapi.History, error) {
	// Steps start where InfluxDB starts them: at multiples since 1970.
	from := now.Add(-since).Truncate(step)
	h := &httpapi.History{Since: from.UTC(), Until: now.UTC(), StepSeconds: step.Seconds(), Times: []int64{}, Series: []httpapi.Series{}}
	for t := from; !t.After(now); t = t.Add(step) {
		h.Times = append(h.Times, t.UnixMilli())
	}
	during := fmt.Sprintf("time >= %dms AND time <= %dms", from.UnixMilli(), now.UnixMilli())
	replace := strings.NewReplacer("{where}", during+" AND node = "+quoted(p.node), "{during}", during, "{step}", fmt.Sprintf("%ds", int64(step.Seconds())))
	for _, f := range figures {
		out := &historyOutput{h: h, step: step, columns: f.columns}
		if err := p.client.Query(ctx, replace.Replace(f.statement), false, out); err != nil {
			return h, err
		}
	}
	return h, nil
}

// quoted quotes a string for InfluxQL.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(s) + "'"
}

// historyOutput assigns the rows of an answer to their steps.
type historyOutput struct {
	h       *httpapi.History
	step    time.Duration
	columns []figure
	at      int // where the series of this answer start
}

// Series starts the figures of one direction and answer.
func (o *historyOutput) Series(_ string, labels []client.Label, _ []string) error {
	o.at = len(o.h.Series)
	for _, c := range o.columns {
		s := httpapi.Series{Name: c.name, Unit: c.unit, Values: make([]*float64, len(o.h.Times))}
		for _, l := range labels {
			switch l.Key {
			case "direction":
				s.Direction = l.Value
			case "answer":
				s.Answer = l.Value
			}
		}
		o.h.Series = append(o.h.Series, s)
	}
	return nil
}

// Row has a time and a value for each column.
func (o *historyOutput) Row(values []any) error {
	text, _ := values[0].(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("unreadable time in the store's answer: %w", err)
	}
	after := t.UnixMilli() - o.h.Times[0]
	i := int(after / o.step.Milliseconds())
	if after < 0 || i >= len(o.h.Times) {
		return nil
	}
	for c := range o.columns {
		if c+1 >= len(values) {
			break
		}
		if n, ok := values[c+1].(json.Number); ok {
			if v, err := n.Float64(); err == nil {
				o.h.Series[o.at+c].Values[i] = &v
			}
		}
	}
	return nil
}

// Close does nothing.
func (*historyOutput) Close() error { return nil }
