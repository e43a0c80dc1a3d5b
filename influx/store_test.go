package influx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// Every measurement is stored, answered in InfluxQL under its documented name
// by its documented query, and in Flux.
func TestStoreAnswers(t *testing.T) {
	t.Parallel()
	server := storetest.Start(t)
	cfg := influxtest.StoreAt(server)
	cfg.HistoryDHT = true
	events := influxtest.Events()
	since := time.Now().UnixNano() - 1
	for _, e := range events {
		e.Time = time.Now().UnixNano()
	}
	st, err := publish(t, cfg, events)
	if err != nil {
		t.Fatal(err)
	}
	if st.Stored != st.Accepted || st.Rejected != 0 {
		t.Errorf("stats %+v", st)
	}
	want := map[string]int{}
	enc := lineproto.NewEncoder("test", true)
	enc.SetDHTHistory()
	for _, p := range influxtest.Decode(t, influxtest.Encode(enc, events...)) {
		want[p.Name]++
	}
	// Figures of minutes and hours come with rollups only, minutes in their last seconds.
	second := cfg
	second.Rollups = new(true)
	for _, e := range events {
		e.Time = time.Now().Truncate(time.Minute).Add(-time.Minute - time.Second).UnixNano()
	}
	if st, err := publish(t, second, slices.DeleteFunc(slices.Clone(events), func(e *event.Event) bool {
		return e.Kind != event.KindSample && e.Kind != event.KindSummary && e.Kind != event.KindFleet
	})); err != nil || st.Rejected != 0 {
		t.Fatal(err, st)
	}
	for _, m := range schema.All {
		from := m.Name
		if m.Kind == schema.Totals {
			from = "totals." + m.Name
		}
		got := influxtest.Ask(t, cfg, fmt.Sprintf("SELECT count(%s) FROM %s WHERE time > %d", m.Fields[0].Key, from, since), false)
		if m.OfRollups() {
			got = influxtest.Ask(t, cfg, fmt.Sprintf("SELECT count(%s) FROM %s", m.Fields[0].Key, from), false)
			if strings.Count(got, "\n") < 2 {
				t.Errorf("%s: no points", m.Name)
			}
		} else if !strings.HasSuffix(got, fmt.Sprintf(",%d\n", want[m.Name])) {
			t.Errorf("%s: counted %q, want %d", m.Name, got, want[m.Name])
		}
		if got := influxtest.Ask(t, cfg, m.Query, false); strings.Count(got, "\n") < 2 {
			t.Errorf("%s: its documented query finds nothing: %q", m.Name, got)
		}
	}
	flux := `from(bucket: "ipfsmon/history") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "wants" and r._field == "cid") |> group() |> count()`
	if got := influxtest.Ask(t, cfg, flux, true); !strings.Contains(got, fmt.Sprint(want["wants"])) {
		t.Errorf("Flux counted %q, want %d", got, want["wants"])
	}
	for _, q := range query.Questions {
		for _, flux := range []bool{false, true} {
			statement := q.InfluxQL
			if flux {
				statement = q.Flux
			}
			statement, err := query.Fill(statement, q.Since, "ipfsmon")
			if err != nil {
				t.Fatal(err)
			}
			influxtest.Ask(t, cfg, statement, flux) // that it finds something is for test/dashboards, where a demo has run
		}
	}
	policies := influxtest.Ask(t, cfg, "SHOW RETENTION POLICIES ON ipfsmon", false)
	for _, p := range []string{"history,168h0m0s,24h0m0s,1,true", "totals,0s,168h0m0s,1,false"} {
		if !strings.Contains(policies, p) {
			t.Errorf("retention policies %q, want %q among them", policies, p)
		}
	}
	if strings.Contains(policies, "autogen") {
		t.Errorf("retention policies %q, want no others", policies)
	}
	if names := influxtest.Ask(t, cfg, "SHOW DATABASES", false); strings.Contains(names, "_internal") {
		t.Errorf("the server watches itself into a database: %q", names)
	}
}

// The strings of peers that break other writers are stored as they are, and
// nothing else appears.
func TestHostileStrings(t *testing.T) {
	server := storetest.Start(t)
	cfg := influxtest.StoreAt(server)
	var eighteenHundred []string // protocols of one peer
	for i := range 1800 {
		eighteenHundred = append(eighteenHundred, fmt.Sprint("/made/up/", i))
	}
	hostile := []string{strings.Join(eighteenHundred, ","), "<img src=x onerror=>", "javascript:", strings.Repeat("k", 64<<10+1), "time", "\x00\x01\x7f", "kubo\\,\n",
		`kubo\`, `\`, "", strings.Repeat("x", 8192), "a v=1i 1\nforged,who=me v=666i 1", "a\r\nb", ",=", " ", `"'`,
		"<script>alert(1)</script>", "${jndi:ldap://x}", "{{constructor}}", "\x1b[31m", "\u202eevil", "\u200b", "\x00", "\xff\xfe", "a\u0301\u0301\u0301\u0301",
		"=cmd|' /C calc'!A0", "%s%n", "../../etc/passwd", `\\" v=1`, `x\,y\ z`}
	at := time.Now().UnixNano()
	var events []*event.Event
	sample, summary := &event.Sample{}, &event.Summary{}
	for i, s := range hostile {
		agent, protocol, addr := event.Clean(s, event.MaxAgentText), event.Clean(s, event.MaxProtocolText), event.Clean(s, event.MaxAddrText)
		events = append(events,
			&event.Event{Time: at, Kind: event.KindIdentify, Peer: influxtest.Peer(i), Country: s, Identify: &event.Identify{Agent: agent, ProtocolVersion: protocol, ObservedAddr: addr}},
			&event.Event{Time: at, Kind: event.KindConnection, Peer: influxtest.Peer(i), Conn: &event.Conn{Addr: addr, Transport: s, Security: s, Muxer: s}})
		sample.Agents = append(sample.Agents, event.AgentCount{Agent: agent, Peers: 1})
		sample.Protocols = append(sample.Protocols, event.ProtocolCount{Protocol: protocol, Peers: 1})
		sample.Streams = append(sample.Streams, event.StreamCount{Protocol: protocol, Direction: s, Streams: 1})
		sample.Node.Bandwidth = append(sample.Node.Bandwidth, event.Bandwidth{Protocol: protocol, InBytes: 1, InRate: math.NaN(), OutRate: math.Inf(-1)})
		sample.Node.Routing = append(sample.Node.Routing, event.RoutingTable{Name: s})
		summary.TopPeers = append(summary.TopPeers, event.TopPeer{Peer: influxtest.Peer(i), Agent: agent, Wants: math.MaxUint64})
		summary.Codecs = append(summary.Codecs, event.Share{Name: s, N: math.MaxUint64})
	}
	events = append(events, &event.Event{Time: at, Kind: event.KindSummary, Summary: summary},
		&event.Event{Time: math.MinInt64, Kind: event.KindSummary, Summary: summary}, &event.Event{Time: math.MaxInt64, Kind: event.KindSummary, Summary: summary})
	events = append(events, &event.Event{Time: at, Kind: event.KindSample, Sample: sample})
	st, err := publish(t, cfg, events)
	if err != nil || st.Stored != st.Accepted || st.Rejected != 0 {
		t.Fatalf("%v, %+v", err, st)
	}
	known := map[string]*schema.Measurement{}
	for _, m := range schema.All {
		known[m.Name] = m
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	measurements, err := c.Rows(t.Context(), "SHOW MEASUREMENTS ON ipfsmon", "name")
	if err != nil {
		t.Fatal(err)
	}
	for name := range measurements {
		m := known[name]
		if m == nil {
			t.Errorf("a measurement %q, which is not in the schema", name)
			continue
		}
		tags, err := c.Rows(t.Context(), fmt.Sprintf("SHOW TAG KEYS ON ipfsmon FROM %s.%s", m.Kind, name), "tagKey")
		if err != nil || len(tags) != len(m.Tags) {
			t.Errorf("%s: tags %v, %v; want those of the schema", name, tags, err)
		}
		fields, err := c.Rows(t.Context(), fmt.Sprintf("SHOW FIELD KEYS ON ipfsmon FROM %s.%s", m.Kind, name), "fieldKey")
		if err != nil || len(fields) != len(m.Fields) {
			t.Errorf("%s: fields %v, %v; want those of the schema", name, fields, err)
		}
	}
	rows, err := c.Rows(t.Context(), "SELECT agent, observed_addr, peer FROM identifies", "peer")
	if err != nil || len(rows) != len(hostile) {
		t.Fatalf("%v, %d rows, want %d", err, len(rows), len(hostile))
	}
	for i, s := range hostile {
		want := string(event.Clean(s, event.MaxAgentText))
		if got := rows[influxtest.Peer(i).String()]["agent"]; got != want {
			t.Errorf("agent %q is stored as %q", want, got)
		}
	}
	agents, err := c.Rows(t.Context(), `SHOW TAG VALUES ON ipfsmon FROM totals.agent_versions WITH KEY = "agent"`, "value")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kubo", "unknown", ",=", `x\,y\ z`, `"'`} {
		if _, ok := agents[want]; !ok {
			t.Errorf("no agent %q among %q", want, agents)
		}
	}
}

// Hostile events make few series on a real server too.
func TestStoreSeries(t *testing.T) {
	server := storetest.Start(t)
	var events []*event.Event
	at := time.Now().UnixNano()
	for i := range 5000 {
		events = append(events, influxtest.HostileEvents(i, at+int64(i))...)
	}
	cfg := influxtest.StoreAt(server)
	if st, err := publish(t, cfg, events); err != nil || st.Stored != st.Accepted {
		t.Fatalf("%v, %+v", err, st)
	}
	estimate := influxtest.Ask(t, cfg, "SHOW SERIES CARDINALITY ON ipfsmon", false)
	var estimated int
	if _, err := fmt.Sscan(estimate[strings.LastIndexAny(strings.TrimSpace(estimate), ",\n")+1:], &estimated); err != nil {
		t.Fatalf("SHOW SERIES CARDINALITY: %q: %v", estimate, err)
	}
	if estimated < 1000 || estimated >= 5000 {
		t.Errorf("%d series of 30,000 hostile events; want at least 1000, which the limits allow, and fewer than 5000", estimated)
	}
}

// What was answered for is there after kill -9, and the next store opens.
func TestKillNine(t *testing.T) {
	data := t.TempDir()
	child := storetest.StartIn(t, data)
	cfg := influxtest.StoreAt(child)
	if st, err := publish(t, cfg, influxtest.Messages(1000)); err != nil || st.Stored != 1000 {
		t.Fatalf("%v, %+v", err, st)
	}
	pid, addr := child.PID(), child.Addr()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	influxtest.WaitFor(t, "restart", func() bool { return child.PID() != 0 && child.PID() != pid })
	influxtest.WaitFor(t, "answer", func() bool { _, err := pingStore(t.Context(), child.URL()); return err == nil })
	if child.Addr() != addr || child.Stats().Restarts != 1 {
		t.Errorf("restarted %d times at %s, want once at %s", child.Stats().Restarts, child.Addr(), addr)
	}
	if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false); !strings.HasSuffix(got, ",1000\n") {
		t.Errorf("after kill -9: %q, want 1000", got)
	}
}

// session runs a store in a folder while f does something with it.
func session(t *testing.T, data string, f func(client.Config)) {
	t.Helper()
	child, err := embedded.Supervise(t.Context(), storetest.Config(t, data, "1"))
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	f(influxtest.StoreAt(child))
}

// A MANIFEST that a kill left empty does not lose a shard.
func TestHalfWrittenIndex(t *testing.T) {
	data := t.TempDir()
	add := func(cfg client.Config) {
		t.Helper()
		if st, err := publish(t, cfg, influxtest.Messages(100)); err != nil || st.Stored != 100 {
			t.Fatalf("%v, %+v", err, st)
		}
	}
	session(t, data, add)
	for i, content := range []string{"", `{"levels": [`} {
		found, err := filepath.Glob(filepath.Join(embedded.StoreDir(data), "data", "ipfsmon", "history", "*", "index", "*", "MANIFEST"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no MANIFEST to damage: %v", err)
		}
		if err := os.WriteFile(found[0], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		session(t, data, func(cfg client.Config) {
			add(cfg)
			want := 200 + 100*i
			if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants WHERE direction = 'received'", false); !strings.HasSuffix(got, fmt.Sprintf(",%d\n", want)) {
				t.Errorf("after a MANIFEST of %q: counted %q, want %d", content, got, want)
			}
		})
	}
}

// What is written behind an entry that a kill cut short is there after the next
// end.
func TestHalfWrittenLog(t *testing.T) {
	data := t.TempDir()
	// Each entry is a byte, four of length, and so much more.
	for i, torn := range []string{"", "\x01", "\x01\x00\x00\x01\x00", "\x01\x00\x00\x01\x00abc", "\x00\x00\x00\x00\x00\x00"} {
		if i > 0 {
			found, err := filepath.Glob(filepath.Join(embedded.StoreDir(data), "wal", "ipfsmon", "history", "*", "_*.wal"))
			if err != nil || len(found) == 0 {
				t.Fatalf("no log to damage: %v", err)
			}
			f, err := os.OpenFile(found[len(found)-1], os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(torn); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		session(t, data, func(cfg client.Config) {
			if st, err := publish(t, cfg, influxtest.Messages(100)); err != nil || st.Stored != 100 {
				t.Fatalf("%v, %+v", err, st)
			}
		})
	}
	session(t, data, func(cfg client.Config) {
		if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants WHERE direction = 'received'", false); !strings.HasSuffix(got, ",500\n") {
			t.Errorf("counted %q, want 500", got)
		}
	})
}

// While the store is away nothing is lost, and it continues when it is back.
func TestStoreDiesUnderLoad(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	child := storetest.StartIn(t, data)
	cfg := influxtest.StoreAt(child)
	cfg.FlushInterval, cfg.BatchSize = "10ms", 500
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			time.Sleep(200 * time.Millisecond)
			if pid := child.PID(); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}()
	st, err := publishOver(t, cfg, influxtest.Messages(20_000), time.Second, 30*time.Second)
	<-done
	if err != nil || st.Stored != 20_000 || st.Dropped != 0 {
		t.Fatalf("%v, %+v", err, st)
	}
	if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false); !strings.HasSuffix(got, ",20000\n") {
		t.Errorf("counted %q, want 20000", got)
	}
}

// All files are for their user alone.
func TestFilesArePrivate(t *testing.T) {
	data := t.TempDir()
	child := storetest.StartIn(t, data)
	if _, err := publish(t, influxtest.StoreAt(child), influxtest.Events()); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := filepath.WalkDir(embedded.StoreDir(data), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		n++
		return nil
	})
	if err != nil || n < 10 {
		t.Errorf("%d files seen, %v", n, err)
	}
}

// Two stores in one folder, addresses beyond this machine, taken ports: refused
// with the reason.
func TestServeRefuses(t *testing.T) {
	data := t.TempDir()
	child := storetest.StartIn(t, data)
	f := func(dir, listen, want string) {
		t.Helper()
		err := embedded.Serve(t.Context(), embedded.ServerConfig{Dir: dir, Listen: listen, Ready: func(string) { t.Error("it serves") }})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s on %s: %v, want %q", dir, listen, err, want)
		}
	}
	f(embedded.StoreDir(data), "127.0.0.1:0", "in use by another ipfsmon store")
	f(t.TempDir(), "0.0.0.0:0", "not a loopback address")
	f(t.TempDir(), "example.com:8086", "not a loopback address")
	f(t.TempDir(), "8086", "want a loopback address and a port")
	f(t.TempDir(), child.Addr(), "address already in use")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(file, "127.0.0.1:0", "not a directory")

	_, err := embedded.Supervise(t.Context(), storetest.Config(t, data, "1"))
	if err == nil || !strings.Contains(err.Error(), "in use by another ipfsmon store") {
		t.Errorf("a second child: %v", err)
	}
}

// Web pages do not get in: neither by their origin nor by a rebound name.
func TestGuard(t *testing.T) {
	server := storetest.Start(t)
	f := func(host, origin string, want int) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, server.URL()+"/ping", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("Host %q, Origin %q: %d, want %d", host, origin, res.StatusCode, want)
		}
	}
	f("", "", 204)
	f("localhost:1", "", 204)
	f("[::1]:8086", "", 204)
	f("evil.example:8086", "", 403)
	f("127.0.0.1.evil.example", "", 403)
	f("", "http://evil.example", 403)
	f("", "null", 403)
	http.DefaultClient.CloseIdleConnections()
}

// A store that runs is found by its data folder; one that does not is opened
// for a while; one that is not there is refused.
func TestOpenStore(t *testing.T) {
	data := t.TempDir()
	if _, _, err := embedded.OpenStore(t.Context(), data, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	child, err := embedded.Supervise(t.Context(), storetest.Config(t, data, "1"))
	if err != nil {
		t.Fatal(err)
	}
	if st, err := publish(t, influxtest.StoreAt(child), influxtest.Messages(10)); err != nil || st.Stored != 10 {
		t.Fatalf("%v, %+v", err, st)
	}
	url, stop, err := embedded.OpenStore(t.Context(), data, nil)
	if err != nil || url != child.URL() {
		t.Fatalf("running: %s, %v, want %s", url, err, child.URL())
	}
	stop()
	child.Close()
	if _, err := embedded.FindStore(t.Context(), data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close it is still found: %v", err)
	}
	// A stale address file, as after kill -9, whose port is another server's.
	other := influxtest.NewFaulty(t, func(int, *http.Request, []string) (int, string, []string) { return 204, "", nil })
	if err := os.WriteFile(filepath.Join(embedded.StoreDir(data), "address"), []byte(strings.TrimPrefix(other.URL, "http://")+" stale\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop, err = embedded.OpenStore(t.Context(), data, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Config{URL: url}
	cfg.Username, cfg.PasswordFile = embedded.Login(data)
	if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false); !strings.HasSuffix(got, ",10\n") {
		t.Errorf("stopped: counted %q, want 10", got)
	}
	stop()
	if _, err := pingStore(context.Background(), url); err == nil {
		t.Error("it still runs after stop")
	}
}

// Who opens a store is warned of continuous queries that the monitor did not
// make, and of none of the monitor's own.
func TestOpenStoreWarnsOfForeignQueries(t *testing.T) {
	data := t.TempDir()
	child, err := embedded.Supervise(t.Context(), storetest.Config(t, data, "1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Setup(t.Context(), influxtest.StoreAt(child)); err != nil {
		t.Fatal(err)
	}
	made := `CREATE CONTINUOUS QUERY evil ON ipfsmon BEGIN SELECT count(cid) INTO x FROM history.wants GROUP BY time(1h) END; `
	for _, name := range schema.RollupNames() { // as earlier versions of the monitor made them
		made += `CREATE CONTINUOUS QUERY ` + name + ` ON ipfsmon BEGIN SELECT count(cid) INTO totals.` + name + ` FROM history.wants GROUP BY time(1h) END; `
	}
	has := influxtest.Ask(t, influxtest.StoreAt(child), made+`SHOW CONTINUOUS QUERIES`, false)
	for _, name := range schema.RollupNames() {
		if !strings.Contains(has, name) {
			t.Errorf("no %s among %s", name, has)
		}
	}
	child.Close()
	before := slog.Default()
	defer slog.SetDefault(before)
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	_, stop, err := embedded.OpenStore(t.Context(), data, schema.RollupNames())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if said := log.String(); strings.Count(said, "not the monitor's") != 1 || !strings.Contains(said, "CREATE CONTINUOUS QUERY evil ON") {
		t.Errorf("the store said %s", said)
	}
}

// pingStore reports whether a server answers.
func pingStore(ctx context.Context, url string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ping", nil)
	if err != nil {
		return 0, err
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
