package influx

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// The server stores what the definition says: its continuous queries and the Flux of the tasks
// produce the same points, and those of the events.
func TestRollups(t *testing.T) {
	t.Parallel()
	server := storetest.Start(t)
	no := false
	cfg := influxtest.StoreAt(server)
	cfg.Rollups = &no
	minute := time.Now().Truncate(time.Minute)
	var events []*event.Event
	const n = 10
	for back := 2; back <= 4; back++ { // three whole minutes that are over
		for i := range n {
			for _, ev := range influxtest.HostileEvents(i*7, minute.Add(-time.Duration(back)*time.Minute+time.Duration(i)*time.Second).UnixNano()) {
				if ev.Conn != nil {
					ev.Conn.Duration = time.Duration(i) * time.Second
				}
				if ev.Latency != nil {
					ev.Latency.Elapsed = time.Duration(i) * time.Millisecond
				}
				for b := range ev.Blocks {
					ev.Blocks[b].Size = int32(i)
				}
				events = append(events, placed(ev, i))
			}
		}
	}
	if st, err := publish(t, cfg, events); err != nil || st.Stored != st.Accepted {
		t.Fatalf("%v, %+v", err, st)
	}
	cfg.Rollups = nil
	if err := client.Setup(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := client.Setup(t.Context(), cfg); err != nil { // again: nothing changes
		t.Fatal(err)
	}
	there := influxtest.Ask(t, cfg, "SHOW CONTINUOUS QUERIES", false)
	for _, r := range schema.Rollups() {
		if !strings.Contains(there, ","+r.Name()+",") && !strings.Contains(there, "\n"+r.Name()+",") {
			t.Errorf("no continuous query %s in %s", r.Name(), there)
		}
		if r.Every != time.Minute {
			continue
		}
		influxtest.WaitFor(t, r.Name(), func() bool {
			return strings.Count(influxtest.Ask(t, cfg, fmt.Sprintf("SELECT * FROM totals.%s", r.Name()), false), "\n") > 1
		})
		// Every sum over all tags and the three minutes, both ways.
		for _, s := range r.Of.Rollup {
			if s.Func != "count" && s.Func != "sum" {
				continue
			}
			kept := influxtest.Ask(t, cfg, fmt.Sprintf("SELECT sum(%q) AS x FROM totals.%s", s.As, r.Name()), false)
			raw := influxtest.Ask(t, cfg, fmt.Sprintf("SELECT %s(%q) AS x FROM %s", s.Func, s.Of, r.Of.Name), false)
			if last(kept) != last(raw) {
				t.Errorf("%s: sum of %s is %s, history has %s", r.Name(), s.As, last(kept), last(raw))
			}
		}
		start, stop := minute.Add(-4*time.Minute).UTC().Format(time.RFC3339), minute.Add(-time.Minute).UTC().Format(time.RFC3339)
		for i, q := range r.Flux("ipfsmon/history", start, stop) {
			s := r.Of.Rollup[i]
			in := map[string]string{}
			c, err := client.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			var rows rowCollector
			if err := c.Query(t.Context(), q, true, &rows); err != nil {
				t.Fatalf("%s: %v\n%s", r.Name(), err, q)
			}
			for _, row := range rows.all {
				if row["_measurement"] != r.Name() || row["_field"] != s.As {
					t.Fatalf("%s: Flux makes %v", r.Name(), row)
				}
				in[series(row, r.By())] = fmt.Sprint(row["_value"])
			}
			rows = rowCollector{}
			if err := c.Query(t.Context(), fmt.Sprintf("SELECT %q FROM totals.%s GROUP BY *", s.As, r.Name()), false, &rows); err != nil {
				t.Fatal(err)
			}
			for _, row := range rows.all {
				row["_time"] = row["time"]
				key := series(row, r.By())
				if in[key] != fmt.Sprint(row[s.As]) {
					t.Errorf("%s %s: InfluxQL has %v, Flux %q", r.Name(), key, row[s.As], in[key])
				}
				delete(in, key)
			}
			if len(in) > 0 || len(rows.all) == 0 {
				t.Errorf("%s %s: %d rows; only in Flux %v", r.Name(), s.As, len(rows.all), in)
			}
			c.Close()
		}
	}
}

// placed makes some events those of a proxy's sides.
func placed(ev *event.Event, i int) *event.Event {
	if ev.Side = event.Side(i % int(event.Sides)); ev.Side == event.Downstream {
		ev.Downstream = event.Text(fmt.Sprint("node, ", i%2))
	}
	return ev
}

// last is the last cell of CSV.
func last(csv string) string {
	csv = strings.TrimSpace(csv)
	return csv[strings.LastIndexAny(csv, ",\n")+1:]
}

// series names the point of a row.
func series(row map[string]any, by []string) string {
	at, _ := time.Parse(time.RFC3339, fmt.Sprint(row["_time"]))
	out := at.UTC().Format(time.RFC3339)
	for _, tag := range by {
		value := row[tag]
		if value == nil { // Flux has no such column, InfluxQL an empty one
			value = ""
		}
		out += fmt.Sprintf(" %s=%v", tag, value)
	}
	return out
}

// rowCollector is an Output that keeps all rows, with the labels in them.
type rowCollector struct {
	labels  []client.Label
	columns []string
	all     []map[string]any
}

func (c *rowCollector) Series(_ string, labels []client.Label, columns []string) error {
	c.labels, c.columns = labels, columns
	return nil
}

func (c *rowCollector) Row(values []any) error {
	row := map[string]any{}
	for _, l := range c.labels {
		row[l.Key] = l.Value
	}
	for i, v := range values {
		row[c.columns[i]] = v
	}
	c.all = append(c.all, row)
	return nil
}

func (c *rowCollector) Close() error { return nil }

// The tasks as they are, less what only InfluxDB 2 has (their option, and to()
// at the end of each stream), make the points of the definition: those of the
// same sums in InfluxQL.
func TestTasksRun(t *testing.T) {
	server := storetest.Start(t)
	no := false
	cfg := influxtest.StoreAt(server)
	cfg.Rollups = &no
	var events []*event.Event
	now := time.Now()
	for _, back := range []time.Duration{2 * time.Minute, 3 * time.Minute, 9 * time.Minute, time.Hour, 2 * time.Hour} {
		for i := range 10 {
			for _, ev := range influxtest.HostileEvents(i*7, now.Add(-back+time.Duration(i)*time.Second).UnixNano()) {
				events = append(events, placed(ev, i))
			}
		}
	}
	if st, err := publish(t, cfg, events); err != nil || st.Stored != st.Accepted {
		t.Fatalf("%v, %+v", err, st)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	option, to := regexp.MustCompile(`(?m)^option task = .*\n`), regexp.MustCompile(`to\(bucket: "ipfsmon/totals", org: "o"\)`)
	for _, r := range schema.Rollups() {
		script := option.ReplaceAllString(r.Task("o", "ipfsmon"), "")
		n := 0
		script = to.ReplaceAllStringFunc(script, func(string) string { n++; return fmt.Sprintf("yield(name: %q)", fmt.Sprint("r", n)) })
		if n != len(r.Of.Rollup) || strings.Contains(script, "option ") {
			t.Fatalf("%d streams in\n%s", n, script)
		}
		var made, want rowCollector
		for { // in one interval, whose end both take from the clock
			stop := time.Now().Truncate(r.Every)
			made, want = rowCollector{}, rowCollector{}
			if err := c.Query(t.Context(), script, true, &made); err != nil {
				t.Fatalf("%s: %v\n%s", r.Name(), err, script)
			}
			q := r.ContinuousQuery("ipfsmon")
			q = q[strings.Index(q, "SELECT"):strings.Index(q, " END")]
			q = regexp.MustCompile(` INTO \S+`).ReplaceAllString(q, "")
			q = strings.Replace(q, " GROUP BY", fmt.Sprintf(" WHERE time >= %d AND time < %d GROUP BY", stop.Add(-r.Again).UnixNano(), stop.UnixNano()), 1)
			if err := c.Query(t.Context(), q, false, &want); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			if time.Now().Truncate(r.Every).Equal(stop) {
				break
			}
		}
		got := map[string]string{}
		for _, row := range made.all {
			if row["_measurement"] != r.Name() {
				t.Fatalf("%s makes %v", r.Name(), row)
			}
			got[fmt.Sprint(row["_field"], " ", series(row, r.By()))] = fmt.Sprint(row["_value"])
		}
		points := 0
		for _, row := range want.all {
			row["_time"] = row["time"]
			for _, s := range r.Of.Rollup {
				if row[s.As] == nil || s.Func == "count" && fmt.Sprint(row[s.As]) == "0" { // an interval without points
					continue
				}
				key := fmt.Sprint(s.As, " ", series(row, r.By()))
				if got[key] != fmt.Sprint(row[s.As]) {
					t.Errorf("%s %s: InfluxQL has %v, the task %q", r.Name(), key, row[s.As], got[key])
				}
				delete(got, key)
				points++
			}
		}
		if points == 0 || len(got) > 0 {
			t.Errorf("%s: %d points, only of the task %v", r.Name(), points, got)
		}
	}
}
