package influx

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// writerEnv makes the test program a writer, which another test kills: a job as JSON.
const writerEnv = "IPFSMON_TEST_WRITER"

// writerJob is what a writer publishes as which node.
type writerJob struct {
	Config Config
	Node   string
	Seed   uint64
	N      int
	Begin  time.Time
	Over   time.Duration
}

// events are those of the job: N of each kind, spread over its time in no order.
func (j writerJob) events() (events []*event.Event) {
	r := rand.New(rand.NewPCG(j.Seed, 1))
	for i := range j.N {
		at := j.Begin.Add(time.Duration(r.Int64N(int64(j.Over)))).UnixNano()
		for _, ev := range influxtest.HostileEvents(int(j.Seed)*1000+i, at) {
			switch {
			case ev.Conn != nil:
				ev.Conn.Duration = time.Duration(r.IntN(1000)) * time.Second
			case ev.Latency != nil:
				ev.Latency.Elapsed = time.Duration(r.IntN(1e6)) * time.Microsecond
			case ev.Kind == event.KindMessage:
				for b := range ev.Blocks {
					ev.Blocks[b].Size = r.Int32N(1 << 20)
				}
			case ev.Identify == nil:
				continue // no history, or none that is summed
			}
			events = append(events, placed(ev, i))
		}
	}
	return events
}

// placed makes some events those of a proxy's sides.
func placed(ev *event.Event, i int) *event.Event {
	if ev.Side = event.Side(i % int(event.Sides)); ev.Side == event.Downstream {
		ev.Downstream = event.Text(fmt.Sprint("node, ", i%2))
	}
	return ev
}

// run publishes the events and calls stored once the server has them all.
func (j writerJob) run(ctx context.Context, stored func()) error {
	sink, err := New(j.Config, j.Node)
	if err != nil {
		return err
	}
	events := j.events()
	b := bus.New(bus.Config{MaxEvents: len(events) + 1, MaxBytes: 1 << 30})
	reader := b.Subscribe("influx")
	b.Live()
	done := make(chan error, 1)
	go func() { done <- sink.Run(context.WithoutCancel(ctx), reader) }()
	for _, ev := range events {
		b.Publish(ev)
	}
	for ctx.Err() == nil {
		if st := sink.Stats(); st.Events == uint64(len(events)) && st.Queued == 0 && st.Stored == st.Accepted && st.LateSums == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stored()
	<-ctx.Done()
	b.Close()
	return <-done
}

// writerMain is the child: it says "stored" once, and continues until it is killed.
func writerMain(text string) int {
	var j writerJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // the parent is gone
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := j.run(ctx, func() { fmt.Println("stored") }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestRollups: what the monitor sums is what the server computes from history, with late events, a writer
// that is killed and started again, and two writers to one store.
func TestRollups(t *testing.T) {
	t.Parallel()
	cfg := influxtest.StoreAt(storetest.Start(t))
	cfg.FlushInterval = "100ms"
	begin := time.Now().Truncate(time.Hour).Add(-2 * time.Hour)
	jobs := make([]writerJob, 2)
	for i := range jobs {
		dir := t.TempDir()
		// The writers have run for longer than what they publish.
		sums, _, err := rollup.Open(dir, begin)
		if err != nil {
			t.Fatal(err)
		}
		if err := sums.Close(begin); err != nil {
			t.Fatal(err)
		}
		own := cfg
		own.SpoolDir = dir
		jobs[i] = writerJob{Config: own, Node: fmt.Sprint("writer, ", i), Seed: uint64(i), N: 300, Begin: begin, Over: 90 * time.Minute}
	}
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() {
			for run := range 2 { // the second has late points, for the minutes of the first
				jobs[i].Seed += 2
				if run == 1 {
					jobs[i].N = 200
				}
				text, err := json.Marshal(jobs[i])
				if err != nil {
					t.Error(err)
					return
				}
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), writerEnv+"="+string(text))
				child.Stderr = os.Stderr
				in, err := child.StdinPipe()
				if err != nil {
					t.Error(err)
					return
				}
				out, err := child.StdoutPipe()
				if err == nil {
					err = child.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "stored"; {
				}
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
				_ = child.Wait() // killed
				in.Close()
			}
		})
	}
	wg.Wait()
	// A third run: late again, in sinks that end as they should. A minute of a killed run that was written with a part
	// of its points is written with the whole by this one.
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var all, stored sync.WaitGroup
	stored.Add(len(jobs))
	for _, last := range jobs {
		last.Seed, last.N = last.Seed+2, 100
		all.Go(func() {
			if err := last.run(ctx, stored.Done); err != nil {
				t.Error(err)
			}
		})
	}
	stored.Wait()
	rollupsEqual(t, cfg, begin, begin.Add(2*time.Hour))
	end()
	all.Wait()
}

// TestRollupsFitInfluxDB3: the sums that the monitor writes have the columns and types of the tables that it makes in
// InfluxDB 3, which refuses what does not fit, and arrive there whole.
func TestRollupsFitInfluxDB3(t *testing.T) {
	t.Parallel()
	store := storetest.Start(t)
	s, cfg := influxtest.InFront(t, store)
	cfg.FlushInterval, cfg.SpoolDir = "50ms", t.TempDir()
	begin := time.Now().Truncate(time.Hour).Add(-2 * time.Hour)
	sums, _, err := rollup.Open(cfg.SpoolDir, begin)
	if err != nil {
		t.Fatal(err)
	}
	if err := sums.Close(begin); err != nil {
		t.Fatal(err)
	}
	j := writerJob{Config: cfg, Node: "of 3, = 1", Seed: 1, N: 100, Begin: begin, Over: 90 * time.Minute}
	ctx, end := context.WithTimeout(t.Context(), 2*time.Minute)
	defer end()
	if err := j.run(ctx, func() {
		rollupsEqual(t, influxtest.StoreAt(store), begin, begin.Add(2*time.Hour))
		end()
	}); err != nil {
		t.Fatal(err)
	}
	have := s.Tables("ipfsmon/" + schema.Totals.String())
	for _, want := range schema.Tables(schema.Totals) {
		types := map[string]string{"int64": "integer", "float64": "float", "bool": "boolean", "utf8": "string"}
		columns := map[string]string{}
		for _, tag := range want.Tags {
			columns[tag] = "tag"
		}
		for _, f := range want.Fields {
			columns[f.Key] = types[f.Type]
		}
		if got := have[want.Name]; !maps.Equal(got, columns) {
			t.Errorf("table %s has %v, want %v", want.Name, got, columns)
		}
	}
}

// TestRollupsWithoutHistory: they are written where history is not, and only to the destinations that want them.
func TestRollupsWithoutHistory(t *testing.T) {
	t.Parallel()
	cfg := influxtest.StoreAt(storetest.Start(t))
	no := false
	cfg.FlushInterval, cfg.SpoolDir, cfg.History = "50ms", t.TempDir(), &no
	cfg.Also = client.Destinations{{Name: "other", URL: cfg.URL, Username: cfg.Username, PasswordFile: cfg.PasswordFile, Database: "other", Rollups: &no}}
	begin := time.Now().Truncate(time.Hour).Add(-time.Hour)
	sums, _, err := rollup.Open(cfg.SpoolDir, begin)
	if err != nil {
		t.Fatal(err)
	}
	if err := sums.Close(begin); err != nil {
		t.Fatal(err)
	}
	j := writerJob{Config: cfg, Node: "n", N: 50, Begin: begin, Over: 10 * time.Minute}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	if err := j.run(ctx, func() {
		influxtest.WaitFor(t, "sums of minutes", func() bool {
			return strings.HasSuffix(influxtest.Ask(t, cfg, "SELECT sum(identifies) FROM totals.identifies_1h, totals.identifies_1m", false), ",50\n")
		})
		end()
	}); err != nil {
		t.Fatal(err)
	}
	history := influxtest.Ask(t, cfg, "SELECT count(peer) FROM history.identifies", false)
	other := cfg
	other.Database = "other"
	there := influxtest.Ask(t, other, "SHOW MEASUREMENTS", false)
	if strings.Count(history, "\n") > 1 || !strings.Contains(there, "identifies") || strings.Contains(there, "_1") {
		t.Errorf("history %q, in the destination without rollups %q", history, there)
	}
}

// rollupsEqual compares all rollups with what the server computes from the history of that time, as soon
// as they are there.
func rollupsEqual(t *testing.T, cfg Config, from, to time.Time) {
	t.Helper()
	var wrong []string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		wrong = nil
		compared := 0
		for _, r := range schema.Rollups() {
			compared += compareRollup(t, cfg, r, from, to, &wrong)
		}
		if len(wrong) == 0 && compared > 0 {
			t.Logf("%d values compared", compared)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d of %d values differ:\n%s", len(wrong), compared, strings.Join(wrong[:min(len(wrong), 20)], "\n"))
			return
		}
	}
}

// countedOf says what history those rollups are of that have tags of their own; the oracles of questions compare these tags.
var countedOf = map[*schema.Measurement]struct {
	history, where string
	own            []string
}{
	schema.Lifetimes:  {"connections", "state = 'closed' AND unmatched = false", []string{"up_to_s"}},
	schema.BlockSizes: {"blocks", "size >= 0", []string{"up_to_bytes"}},
	schema.Asking:     {"wants", "type != 'cancel'", []string{"full", "send_dont_have"}},
}

func compareRollup(t *testing.T, cfg Config, r schema.Rollup, from, to time.Time, wrong *[]string) (compared int) {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(statement string) []map[string]any {
		var rows rowCollector
		if err := c.Query(t.Context(), statement, false, &rows); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return rows.all
	}
	history, where, by := r.Of.Name, "", r.By()
	if of, ok := countedOf[r.Of]; ok {
		history, where = of.history, " AND "+of.where
		by = slices.DeleteFunc(by, func(tag string) bool { return slices.Contains(of.own, tag) })
	}
	var fields, sums, tags []string
	for _, s := range r.Of.Rollup {
		fields = append(fields, fmt.Sprintf("%s(%q) AS %q", s.Func, s.Of, s.As))
		again := s.Func
		if again == "count" {
			again = "sum"
		}
		sums = append(sums, fmt.Sprintf("%s(%q) AS %q", again, s.As, s.As))
	}
	for _, tag := range by {
		tags = append(tags, strconv.Quote(tag))
	}
	group := fmt.Sprintf("GROUP BY time(%s), %s fill(none)", strings.TrimPrefix(schema.RollupSuffix(r.Every), "_"), strings.Join(tags, ", "))
	during := fmt.Sprintf("time >= %d AND time < %d", from.UnixNano(), to.UnixNano())
	want := map[string]map[string]any{}
	for _, row := range ask(fmt.Sprintf("SELECT %s FROM history.%s WHERE %s%s %s", strings.Join(fields, ", "), history, during, where, group)) {
		if fmt.Sprint(row[r.Of.Rollup[0].As]) != "0" {
			want[series(row, by)] = row
		}
	}
	points := fmt.Sprintf("SELECT * FROM totals.%s WHERE %s GROUP BY *", r.Name(), during)
	if where != "" {
		points = fmt.Sprintf("SELECT %s FROM totals.%s WHERE %s %s", strings.Join(sums, ", "), r.Name(), during, group)
	}
	for _, row := range ask(points) {
		key := series(row, by)
		of := want[key]
		for _, s := range r.Of.Rollup {
			compared++
			got, _ := strconv.ParseFloat(fmt.Sprint(row[s.As]), 64)
			exact, _ := strconv.ParseFloat(fmt.Sprint(of[s.As]), 64)
			most := math.Abs(exact) * 1e-9
			if s.Func == "median" {
				most = exact/32 + 1
			}
			if of == nil || math.Abs(got-exact) > most {
				*wrong = append(*wrong, fmt.Sprintf("%s %s: %s is %v, history has %v", r.Name(), key, s.As, row[s.As], of[s.As]))
			}
		}
		delete(want, key)
	}
	for key := range want {
		*wrong = append(*wrong, fmt.Sprintf("%s %s is missing", r.Name(), key))
	}
	return compared
}

// series names the point of a row.
func series(row map[string]any, by []string) string {
	at, _ := time.Parse(time.RFC3339, fmt.Sprint(row["time"]))
	out := at.UTC().Format(time.RFC3339)
	for _, tag := range by {
		out += fmt.Sprintf(" %s=%v", tag, row[tag])
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

// TestOldContinuousQueries: those of an earlier version are found and named with the statement that
// removes them, which removes nothing else; the monitor removes none.
func TestOldContinuousQueries(t *testing.T) {
	t.Parallel()
	cfg := influxtest.StoreAt(storetest.Start(t))
	var log strings.Builder
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	setup := func() string {
		t.Helper()
		log.Reset()
		if err := client.Setup(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	if got := setup(); strings.Contains(got, "earlier version") {
		t.Errorf("a new store: %s", got)
	}
	for _, name := range []string{"wants_1m", "latency_1h", "somebody_elses"} {
		influxtest.Ask(t, cfg, fmt.Sprintf(`CREATE CONTINUOUS QUERY %q ON "ipfsmon" BEGIN SELECT count("cid") AS "wants" INTO "ipfsmon"."totals".%q FROM "ipfsmon"."history"."wants" GROUP BY time(1m) END`, name, name), false)
	}
	got := setup()
	if !strings.Contains(got, "earlier version") || !strings.Contains(got, "found=2") || !strings.Contains(got, "ipfsmon query --write") {
		t.Errorf("the log has %s", got)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	old, err := c.OldRollups(t.Context())
	if err != nil || len(old.Names) != 2 {
		t.Fatalf("%v, %+v", err, old)
	}
	influxtest.Ask(t, cfg, old.Statement, false)
	there := influxtest.Ask(t, cfg, "SHOW CONTINUOUS QUERIES", false)
	if strings.Contains(there, "wants_1m") || strings.Contains(there, "latency_1h") || !strings.Contains(there, "somebody_elses") {
		t.Errorf("left are %s", there)
	}
}
