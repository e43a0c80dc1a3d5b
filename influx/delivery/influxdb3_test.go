package delivery

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// faults are the tests of faults whose server influxtest.NewFaulty makes.
var faults = map[string]func(*testing.T){
	"TestFaultR11NextProcessDelivers": TestFaultR11NextProcessDelivers,
	"TestFaultR21FreshFirst":          TestFaultR21FreshFirst,
	"TestFaultR13Hangs":               TestFaultR13Hangs,
	"TestFaultR13SlowAnswer":          TestFaultR13SlowAnswer,
	"TestFaultR14Connections":         TestFaultR14Connections,
	"TestFaultR15Statuses":            TestFaultR15Statuses,
	"TestFaultR16Poison":              TestFaultR16Poison,
	"TestFaultR17TooLarge":            TestFaultR17TooLarge,
	"TestFaultR18Token":               TestFaultR18Token,
	"TestFaultR20Clock":               TestFaultR20Clock,
	"TestFaultR22Close":               TestFaultR22Close,
	"TestFaultR22States":              TestFaultR22States,
	"TestFaultR23Panic":               TestFaultR23Panic,
	"TestFaultR9Unwritable":           TestFaultR9Unwritable,
	"TestFaultR32PartialAnswers":      TestFaultR32PartialAnswers,
	"TestFaultR33NeverTaken":          TestFaultR33NeverTaken,
	"TestFaultR33NothingIsTaken":      TestFaultR33NothingIsTaken,
	"TestFaultR24Overflow":            TestFaultR24Overflow,
	"TestFaultTwoDestinations":        TestFaultTwoDestinations,
	"TestFaultDestinationsApart":      TestFaultDestinationsApart,
}

// apart are those that are not run with InfluxDB 3, with the reason.
var apart = map[string]string{
	"TestFaultPaceFollowsServer": "its server is slow because an answer takes a second, as each answer of InfluxDB 3 does: TestInfluxDB3FitsItsLog",
}

// Each fault of a server, with InfluxDB 3 in its place.
func TestInfluxDB3Faults(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "TestFault") {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "NewFaulty" && faults[fn.Name.Name] == nil && apart[fn.Name.Name] == "" {
					t.Errorf("%s is not run with InfluxDB 3: add it to faults", fn.Name.Name)
				}
				return true
			})
		}
	}
	for name, test := range faults {
		t.Run(name, test)
	}
}

// Databases and tables are made before the first point, whichever credentials are configured;
// points are stored by the API of InfluxDB 3 and are all there.
func TestInfluxDB3SetUp(t *testing.T) {
	s, cfg := influxtest.InFront(t, storetest.Start(t))
	cfg.FlushInterval, cfg.Gzip = "10ms", "on"
	token := cfg.Token
	for i, set := range []func(*client.Config){
		func(c *client.Config) {},
		func(c *client.Config) { c.Version, c.Org = "", "any" },
		func(c *client.Config) { c.Version, c.Token, c.Username, c.Password = "", "", "any", token },
	} {
		var log logtest.Buffer
		cfg := cfg
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		set(&cfg)
		for _, name := range []string{"ipfsmon/history", "ipfsmon/totals"} {
			s.Drop(name)
		}
		for range 2 {
			if err := client.Setup(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]time.Duration{"ipfsmon/history": 7 * 24 * time.Hour, "ipfsmon/totals": 0} {
			if keep, written, there := s.Database(name); !there || written || keep != want {
				t.Errorf("%d: %s is there: %v, made by a point: %v, keeps points for %v; want %v", i, name, there, written, keep, want)
			}
		}
		for k := range schema.Kinds {
			have := s.Tables("ipfsmon/" + k.String())
			for _, want := range schema.Tables(k) {
				if got := have[want.Name]; len(got) != len(want.Tags)+len(want.Fields) || got[want.Tags[0]] != "tag" || got[want.Fields[0].Key] == "" {
					t.Errorf("%d: table %s has %v, want %+v", i, want.Name, got, want)
				}
			}
		}
		st, err := publish(t, cfg, append(influxtest.Events(), influxtest.Numbered(i*100, i*100+100)...))
		if err != nil || st.Stored != st.Accepted || st.Rejected != 0 {
			t.Errorf("%d: %v, %+v", i, err, st)
		}
		if n := strings.Count(log.String(), "the server is InfluxDB 3"); cfg.Version == "" && n < 1 {
			t.Errorf("%d: the log does not name the server:\n%s", i, log.String())
		}
	}
	for path := range s.Asked() {
		switch path {
		case "GET /ping", "GET /query", "POST /query", "POST /api/v3/write_lp", "GET /api/v3/configure/database", "POST /api/v3/configure/database", "POST /api/v3/configure/table":
		default:
			t.Errorf("requests %s", path)
		}
	}
	for k := range schema.Kinds {
		c, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := influxtest.Rows(t, c, "SHOW MEASUREMENTS", false)
		c.Close()
		if err != nil || !strings.Contains(rows, "\nmeasurements,wants\n") || !strings.Contains(rows, "\nmeasurements,traffic\n") {
			t.Errorf("%s: %v, %s", k, err, rows)
		}
	}
	if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false); !strings.Contains(got, ",30") {
		t.Errorf("counted %q, want the 300 wants and some", got)
	}
}

// A first point would make a database that is kept for ever: nothing is written before the
// databases are there, and one message says what to make and with which token.
func TestInfluxDB3WithoutRight(t *testing.T) {
	no := false
	for name, set := range map[string]func(*influxtest.InfluxDB3, *client.Config){
		"a token that may only write": func(s *influxtest.InfluxDB3, c *client.Config) {
			s.Build, s.Writer, c.Token = "Enterprise", "apiv3_w", "apiv3_w"
		},
		"CreateDatabase is false": func(s *influxtest.InfluxDB3, c *client.Config) { c.CreateDatabase = &no },
	} {
		t.Run(name, func(t *testing.T) {
			s := influxtest.New3()
			s.Auth = true
			cfg := client.Config{URL: s.Start(t).URL, Version: "3", Token: s.Admin("_admin"), FlushInterval: "10ms", SpoolDir: t.TempDir()}
			set(s, &cfg)
			f := startFlow(t, cfg)
			f.publish(influxtest.Numbered(0, 100))
			st := f.until("failing", 5*time.Minute, func(st Stats) bool { return st.Failing && st.Queued == 100 })
			want(t, fmt.Errorf("%s", st.LastError), `{"db":"ipfsmon/history","retention_period":"168h"}`, `{"db":"ipfsmon/totals"}`, "Content-Type: application/json", "an administrator's token")
			if _, _, there := s.Database("ipfsmon/history"); there || st.Stored != 0 {
				t.Errorf("a point made the database, or %+v", st)
			}
			s.Make("ipfsmon/history", 7*24*time.Hour)
			s.Make("ipfsmon/totals", 0)
			f.until("stored", 5*time.Minute, func(st Stats) bool { return st.Stored == 100 })
			if st, err := f.stop(); err != nil || st.Rejected+st.Dropped != 0 {
				t.Errorf("%v, %+v", err, st)
			}
		})
	}
}

func want(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v\nwant %q", err, text)
		}
	}
}

// The limit of Core is no fault of the points: they wait until there is room.
func TestInfluxDB3FiveDatabases(t *testing.T) {
	s := influxtest.New3()
	for i := range 4 {
		s.Make(fmt.Sprint("db", i), 0)
	}
	f := startFlow(t, client.Config{URL: s.Start(t).URL, FlushInterval: "10ms", SpoolDir: t.TempDir()})
	f.publish(influxtest.Numbered(0, 100))
	st := f.until("failing", 5*time.Minute, func(st Stats) bool { return st.Failing })
	want(t, fmt.Errorf("%s", st.LastError), "at most 5 databases", "create the database ipfsmon/totals")
	s.Drop("db0")
	f.until("stored", 5*time.Minute, func(st Stats) bool { return st.Stored == 100 })
	if st, err := f.stop(); err != nil || st.Rejected+st.Dropped != 0 {
		t.Errorf("%v, %+v", err, st)
	}
}

// A server of another kind becomes an InfluxDB 3, and back: the first post after the connection
// broke has the right form. A ping that wants a token is asked again once there is one.
func TestInfluxDB3AppearsLater(t *testing.T) {
	old, s := influxtest.NewFaulty(t, influxtest.TakeAll), influxtest.New3()
	s.Auth = true
	token := s.Admin("_admin")
	var now atomic.Pointer[http.Handler]
	put := func(h http.Handler) { now.Store(&h) }
	put(old)
	var cut atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cut.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
		(*now.Load()).ServeHTTP(w, r)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("not yet"), 0o600); err != nil {
		t.Fatal(err)
	}
	no := false
	cfg := client.Config{URL: server.URL, Username: "any", PasswordFile: file, CreateDatabase: &no, FlushInterval: "10ms", SpoolDir: t.TempDir()}
	f := startFlow(t, cfg)
	f.publish(influxtest.Numbered(0, 100))
	f.until("stored by the old", 5*time.Minute, func(st Stats) bool { return st.Stored == 100 })
	put(s)
	cut.Store(true)
	s.Make("ipfsmon/history", time.Hour)
	s.Make("ipfsmon/totals", 0)
	f.publish(influxtest.Numbered(100, 200))
	st := f.until("refused without a token", 5*time.Minute, func(st Stats) bool { return st.Failing && strings.Contains(st.LastError, "401") })
	want(t, fmt.Errorf("%s", st.LastError), "/ping is refused too, as by an InfluxDB 3")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	f.until("stored by the new", 5*time.Minute, func(st Stats) bool { return st.Stored == 200 })
	if n := s.Asked()["POST /api/v3/write_lp"]; n == 0 {
		t.Errorf("requests %v, want posts to write_lp", s.Asked())
	}
	put(old)
	cut.Store(true)
	f.publish(influxtest.Numbered(200, 300))
	f.until("stored by the old again", 5*time.Minute, func(st Stats) bool { return st.Stored == 300 })
	if st, err := f.stop(); err != nil || st.Rejected+st.Dropped != 0 || old.Lines() != 200 {
		t.Errorf("%v, %d lines, %+v", err, old.Lines(), st)
	}
}

// Lines that contradict a table are named by the server: they are counted, logged and kept, in
// one request, and the others are stored.
func TestInfluxDB3NamesBadLines(t *testing.T) {
	s := influxtest.Made3()
	var posts atomic.Int32
	s.Rule = func(_ *http.Request, lines []string) (int, string, []string) {
		posts.Add(1)
		return 204, "", lines
	}
	url := s.Start(t).URL
	// Somebody else's table: blocks have text as their size.
	res, err := http.Post(url+"/api/v3/write_lp?db=ipfsmon/history&precision=nanosecond", "text/plain", strings.NewReader("blocks,node=n size=\"ten\",cid=\"a\" 1\n"))
	if err != nil || res.StatusCode != 204 {
		t.Fatal(err, res)
	}
	res.Body.Close()
	posts.Store(0)
	cfg := client.Config{URL: url, FlushInterval: "1m", BatchSize: 200, SpoolDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	f := startFlow(t, cfg)
	events := influxtest.Numbered(0, 180)
	for i := range 20 {
		events = append(events, &event.Event{Time: time.Now().UnixNano(), Kind: event.KindMessage, Blocks: []event.Block{{CID: influxtest.CID(i), Size: 10}}})
	}
	f.publish(events)
	f.until("settled", 5*time.Minute, func(st Stats) bool { return st.Stored+st.Rejected == 200 })
	st, err := f.stop()
	if err != nil || st.Rejected != 20 || st.Stored != 180 || posts.Load() != 1 {
		t.Errorf("%v, %d requests, %+v", err, posts.Load(), st)
	}
	got, err := os.ReadFile(filepath.Join(cfg.SpoolDir, rejectedName))
	if err != nil || strings.Count(string(got), "blocks,") != 20 || strings.Contains(string(got), "wants,") || !strings.Contains(string(got), "expected iox::column_type::field::string, got iox::column_type::field::integer") {
		t.Errorf("%v, rejected lines:\n%s", err, got)
	}
}

// An answer waits for the server's log, which is flushed once a second. A server that does that
// gets posts that are large enough: with 5,000 points in each, two at a time, this would take
// three times as long.
func TestInfluxDB3FitsItsLog(t *testing.T) {
	s := influxtest.Made3()
	s.Flush = time.Second
	var most, posts atomic.Int64
	s.Rule = func(_ *http.Request, lines []string) (int, string, []string) {
		posts.Add(1)
		for n := int64(len(lines)); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		return 204, "", lines
	}
	f := startFlow(t, client.Config{URL: s.Start(t).URL, SpoolDir: t.TempDir(), Timeout: "5m"}) // the stand-in may be slow, which is not what is tested
	f.publish(influxtest.Numbered(0, 1))
	f.until("begun", 5*time.Minute, func(st Stats) bool { return st.Stored == 1 })
	const n = 200_000
	f.publish(influxtest.Numbered(1, n))
	f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored == n })
	st, err := f.stop()
	if err != nil || most.Load() <= 5000 || posts.Load() > 25 || st.BatchSize != 20_000 {
		t.Errorf("%v: %d posts of at most %d points, want posts of up to 20,000: %+v", err, posts.Load(), most.Load(), st)
	}
}
