package embedded_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// filled runs a store with points that the reader may already read, and returns it with the
// passwords of both users.
func filled(t *testing.T, points int) (child *embedded.Child, reader, monitor string) {
	t.Helper()
	data := t.TempDir()
	child = storetest.StartIn(t, data)
	fill(t, child, 0, points)
	reader, monitor = secret(t, data, embedded.ReaderUser), secret(t, data, embedded.MonitorUser)
	readable(t, child, reader)
	return child, reader, monitor
}

// readable waits until the reader may read a new database.
func readable(t *testing.T, child *embedded.Child, password string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status, answer := as(t, "reader", password, "GET", child.URL()+ask("SHOW MEASUREMENTS"), "")
		if status == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the reader may not read: %d %s", status, answer)
		}
	}
}

// ways sends a statement in every way that the server takes one.
func ways(t *testing.T, at, user, password, statement, params string) map[string]string {
	t.Helper()
	answers := map[string]string{}
	do := func(way, method, query string, header, body string) {
		t.Helper()
		req, err := http.NewRequest(method, at+"/query?"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		if header != "" {
			req.Header.Set("Content-Type", header)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		answers[way] = fmt.Sprintf("%d %s", res.StatusCode, b)
	}
	form := url.Values{"db": {"ipfsmon"}, "q": {statement}}
	if params != "" {
		form.Set("params", params)
	}
	do("GET", "GET", form.Encode(), "", "")
	do("POST", "POST", form.Encode(), "", "")
	do("form", "POST", "", "application/x-www-form-urlencoded", form.Encode())
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	f, err := m.CreateFormFile("q", "q.iql")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write([]byte(statement))
	m.Close()
	form.Del("q")
	do("multipart", "POST", form.Encode(), m.FormDataContentType(), b.String())
	return answers
}

// The reader's statements only read, whichever way they are sent, and whichever right InfluxDB
// itself requires.
func TestReaderOnlyReads(t *testing.T) {
	child, reader, monitor := filled(t, 100)
	query(t, child, `CREATE RETENTION POLICY totals ON ipfsmon DURATION INF REPLICATION 1`)

	evil := `CREATE CONTINUOUS QUERY evil ON ipfsmon BEGIN SELECT count(cid) AS peers INTO totals.agents FROM wants GROUP BY time(10s) END`
	for _, statement := range []string{
		evil,
		`SELECT * INTO forged FROM wants`,
		`SELECT * INTO ipfsmon.totals.forged FROM wants`,
		`SELECT count(n) FROM wants; SELECT * INTO forged FROM wants`,
		`SHOW MEASUREMENTS; ` + evil,
		`EXPLAIN ANALYZE SELECT * INTO forged FROM wants`,
		`SELECT * INTO forged FROM (SELECT * FROM wants)`,
		`select n /* x */ into "forged" from wants where time > now() - 1h`,
		`DROP CONTINUOUS QUERY evil ON ipfsmon`, `DROP MEASUREMENT wants`, `DROP SERIES FROM wants`, `DELETE FROM wants`, `DROP SHARD 1`,
		`DROP DATABASE ipfsmon`, `CREATE DATABASE other`, `CREATE RETENTION POLICY x ON ipfsmon DURATION 1h REPLICATION 1`,
		`ALTER RETENTION POLICY history ON ipfsmon DURATION 1h`, `DROP RETENTION POLICY totals ON ipfsmon`,
		`CREATE USER x WITH PASSWORD 'x'`, `SET PASSWORD FOR reader = 'x'`, `GRANT ALL ON ipfsmon TO reader`, `GRANT ALL PRIVILEGES TO reader`,
		`DROP USER monitor`, `KILL QUERY 1`, `CREATE SUBSCRIPTION s ON ipfsmon.history DESTINATIONS ALL 'udp://127.0.0.1:9'`,
	} {
		for way, answer := range ways(t, child.URL(), "reader", reader, statement, "") {
			if !strings.HasPrefix(answer, "403 ") && !strings.HasPrefix(answer, "400 ") {
				t.Errorf("%s %s: %s", way, statement, answer)
			}
		}
	}
	for way, answer := range ways(t, child.URL(), "reader", reader, evil, "") {
		if !strings.HasPrefix(answer, "403 ") || !strings.Contains(answer, "only user monitor may change anything: want SELECT, SHOW or EXPLAIN") {
			t.Errorf("%s: %s", way, answer)
		}
	}
	// With bound parameters.
	for way, answer := range ways(t, child.URL(), "reader", reader, `SELECT n INTO forged FROM wants WHERE n = $n`, `{"n": 1}`) {
		if !strings.HasPrefix(answer, "403 ") {
			t.Errorf("%s with parameters: %s", way, answer)
		}
	}
	for way, answer := range ways(t, child.URL(), "reader", reader, `SELECT count(n) FROM wants WHERE n < $n`, `{"n": 7}`) {
		if !strings.HasPrefix(answer, "200 ") || !strings.Contains(answer, ",7]") {
			t.Errorf("%s with parameters: %s", way, answer)
		}
	}
	for _, statement := range []string{
		`SELECT count(n) FROM wants`, `SELECT max(c) FROM (SELECT count(n) AS c FROM wants GROUP BY type)`, `SHOW MEASUREMENTS`, `SHOW SERIES`,
		`SHOW TAG KEYS`, `SHOW FIELD KEYS`, `SHOW TAG VALUES WITH KEY = type`, `SHOW DATABASES`, `SHOW RETENTION POLICIES`, `SHOW QUERIES`,
		`SHOW SERIES CARDINALITY`, `EXPLAIN SELECT count(n) FROM wants`, `EXPLAIN ANALYZE SELECT count(n) FROM wants`,
		`SELECT count(n) FROM wants; SHOW MEASUREMENTS`,
	} {
		for way, answer := range ways(t, child.URL(), "reader", reader, statement, "") {
			if !strings.HasPrefix(answer, "200 ") || strings.Contains(answer, `"error"`) {
				t.Errorf("%s %s: %s", way, statement, answer)
			}
		}
	}
	if got := query(t, child, `SHOW MEASUREMENTS`); strings.Contains(got, "forged") || !strings.Contains(got, "wants") {
		t.Errorf("measurements %s", got)
	}
	if got := query(t, child, `SHOW CONTINUOUS QUERIES; SHOW DATABASES; SHOW USERS; SHOW SUBSCRIPTIONS`); strings.Contains(got, "evil") || strings.Contains(got, "other") || strings.Contains(got, "udp") {
		t.Errorf("the store has %s", got)
	}
	// The monitor still may.
	for way, answer := range ways(t, child.URL(), "monitor", monitor, `SELECT n INTO rolled FROM wants`, "") {
		if !strings.HasPrefix(answer, "200 ") || strings.Contains(answer, `"error"`) {
			t.Errorf("%s: the monitor may not: %s", way, answer)
		}
	}
}

// What every path of the server answers to the reader, and what it does not have.
func TestPathsOfReader(t *testing.T) {
	child, reader, monitor := filled(t, 10)
	for _, c := range []struct {
		method, path, body string
		reader, monitor    int
	}{
		{"GET", "/ping", "", 204, 204},
		{"HEAD", "/ping", "", 204, 204},
		{"GET", "/health", "", 200, 200},
		{"GET", "/status", "", 204, 204},
		{"GET", ask("SHOW MEASUREMENTS"), "", 200, 200},
		{"POST", "/write?db=ipfsmon&rp=history", "w n=1i", 403, 204},
		{"POST", "/api/v2/write?bucket=ipfsmon/history", "w n=1i", 403, 204},
		{"POST", "/api/v2/query", fluxCount, 200, 200},
		{"GET", "/api/v2/query", "", 405, 405},
		{"POST", "/api/v1/prom/read?db=ipfsmon", "", 401, 400},
		{"POST", "/api/v1/prom/write?db=ipfsmon", "", 401, 400},
		{"GET", "/metrics", "", 401, 200},
		{"GET", "/debug/vars", "", 401, 200},
		{"GET", "/debug/requests?seconds=0", "", 401, 200},
		{"POST", "/ipfsmon/backup", "", 401, 200},
		{"GET", "/debug/pprof/heap", "", 404, 404},
		{"GET", "/debug/varsome", "", 404, 404},
		{"GET", "/", "", 404, 404},
		{"GET", "//query", "", 404, 404},
		{"GET", "/api/v2/buckets", "", 404, 404},
		{"DELETE", "/api/v2/delete", "", 404, 404},
	} {
		if got, answer := as(t, "reader", reader, c.method, child.URL()+c.path, c.body); got != c.reader {
			t.Errorf("reader %s %s: %d, want %d: %s", c.method, c.path, got, c.reader, answer)
		}
		if got, answer := as(t, "monitor", monitor, c.method, child.URL()+c.path, c.body); got != c.monitor {
			t.Errorf("monitor %s %s: %d, want %d: %.200s", c.method, c.path, got, c.monitor, answer)
		}
	}
}

// Flux that would reach beyond the store is refused for every user and in every way, and
// ordinary Flux works.
func TestFluxStaysInside(t *testing.T) {
	child, reader, monitor := filled(t, 100)
	canary := filepath.Join(t.TempDir(), "canary.csv")
	const table = "#datatype,string,long,string\n#group,false,false,false\n#default,_result,,\n,result,table,secret\n,,0,hidden\n"
	if err := os.WriteFile(canary, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	var caught atomic.Int64
	go func() {
		for {
			conn, err := trap.Accept()
			if err != nil {
				return
			}
			caught.Add(1)
			conn.Close()
		}
	}()
	to := trap.Addr().String()
	rows := `from(bucket: "ipfsmon/history") |> range(start: -400h) |> filter(fn: (r) => r._field == "n")`
	for _, q := range []string{
		`import "sql" sql.from(driverName: "mysql", dataSourceName: "a:b@tcp(` + to + `)/x?allowAllFiles=true", query: "SELECT 1")`,
		`import "sql" sql.from(driverName: "postgres", dataSourceName: "postgres://a:b@` + to + `/x?sslmode=disable", query: "SELECT 1")`,
		`import "sql" sql.from(driverName: "sqlite3", dataSourceName: "file:` + canary + `", query: "SELECT 1")`,
		`import "sql" ` + rows + ` |> sql.to(driverName: "mysql", dataSourceName: "a:b@tcp(` + to + `)/x", table: "t")`,
		`import "http" http.post(url: "http://` + to + `/")`,
		`import "http" ` + rows + ` |> map(fn: (r) => ({r with sent: http.post(url: "http://` + to + `/")}))`,
		`import "http" f = http.post x = f(url: "http://` + to + `/")`,
		`import "experimental/http" http.get(url: "http://` + to + `/")`,
		`import "experimental/http" ` + rows + ` |> map(fn: (r) => ({r with got: string(v: http.get(url: "http://` + to + `/").body)}))`,
		`import "csv" csv.from(file: "` + canary + `")`,
		`import "experimental/csv" csv.from(url: "http://` + to + `/")`,
		`import "socket" socket.from(url: "tcp://` + to + `", decoder: "line")`,
		`import "experimental/prometheus" prometheus.scrape(url: "http://` + to + `/metrics")`,
		`import "experimental/mqtt" ` + rows + ` |> mqtt.to(broker: "tcp://` + to + `", topic: "t", name: "n", timeColumn: "_time", tagColumns: [], valueColumns: ["_value"])`,
		`import "experimental/bigtable" bigtable.from(token: "{}", project: "p", instance: "i", table: "t")`,
		`import "kafka" ` + rows + ` |> kafka.to(brokers: ["` + to + `"], topic: "t")`,
		`import "slack" slack.message(url: "http://` + to + `/", token: "t", channel: "c", text: "x", color: "good")`,
		`import "slack" slack.http.post(url: "http://` + to + `/")`,
		`import "pagerduty" pagerduty.sendEvent(pagerdutyURL: "http://` + to + `/", routingKey: "k", client: "c", clientURL: "u", dedupKey: "d", class: "c", group: "g", severity: "info", eventAction: "trigger", source: "s", summary: "s", timestamp: "t")`,
		`import "influxdata/influxdb/v1" v1.json(file: "` + canary + `")`,
		`import "influxdata/influxdb/secrets" x = secrets.get(key: "HOME")`,
		`import "influxdata/influxdb/monitor" ` + rows + ` |> monitor.logs(fn: (r) => true)`,
		rows + ` |> to(bucket: "ipfsmon/history", host: "http://` + to + `", token: "t")`,
		rows + ` |> to(bucket: "ipfsmon/history")`,
		`import "experimental" ` + rows + ` |> experimental.to(bucket: "ipfsmon/history")`,
		`from(bucket: "ipfsmon/history", host: "http://` + to + `") |> range(start: -1h)`,
		`buckets(host: "http://` + to + `")`,
	} {
		for _, who := range [][2]string{{"reader", reader}, {"monitor", monitor}} {
			status, answer := as(t, who[0], who[1], "POST", child.URL()+"/api/v2/query", q)
			if status == 200 && !strings.Contains(answer, "error") || strings.Contains(answer, "hidden") {
				t.Errorf("%s %s: %d %s", who[0], q, status, answer)
			}
			if strings.HasPrefix(q, `import "http" http.post`) && !strings.Contains(answer, "function http.post of Flux is not available here: want one that reads this store or computes") {
				t.Errorf("%s: %s", q, answer)
			}
		}
	}
	// Other forms of the same.
	post := func(body any) (int, string) {
		t.Helper()
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest("POST", child.URL()+"/api/v2/query", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("monitor", monitor)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err = io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	spec := map[string]any{"operations": []any{
		map[string]any{"kind": "fromSocket", "id": "a", "spec": map[string]any{"url": "tcp://" + to, "decoder": "line"}},
		map[string]any{"kind": "yield", "id": "b", "spec": map[string]any{"name": "x"}},
	}, "edges": []any{map[string]any{"parent": "a", "child": "b"}}}
	if status, answer := post(map[string]any{"spec": spec}); status != 500 || !strings.Contains(answer, "want its text") {
		t.Errorf("a plan: %d %s", status, answer)
	}
	for _, body := range []map[string]any{
		{"ast": map[string]any{"type": "Package"}}, {"type": "ast", "ast": map[string]any{}}, {"type": "influxql", "query": "SELECT 1"}, {},
		{"extern": map[string]any{}, "query": ""},
	} {
		if status, answer := post(body); status != 400 {
			t.Errorf("%v: %d %s", body, status, answer)
		}
	}
	if status, answer := post(map[string]any{"query": `import "http" http.post(url: "http://` + to + `/")`, "spec": spec}); status != 500 || !strings.Contains(answer, "not available") {
		t.Errorf("text and plan: %d %s", status, answer)
	}
	if status, answer := post(map[string]any{"query": rows + ` |> group() |> count()`, "type": "flux"}); status != 200 || !strings.Contains(answer, ",100") {
		t.Errorf("an ordinary query: %d %s", status, answer)
	}
	for _, q := range []string{
		`buckets()`, `import "influxdata/influxdb/v1" v1.databases()`,
		`import "influxdata/influxdb/v1" v1.tagValues(bucket: "ipfsmon/history", tag: "type", start: -400h)`,
		`import "influxdata/influxdb/v1" v1.measurements(bucket: "ipfsmon/history")`,
		`import "strings" import "regexp" import "math" import "date" ` + rows + ` |> map(fn: (r) => ({r with up: strings.toUpper(v: r.type), day: date.monthDay(t: r._time)}))`,
		rows + ` |> aggregateWindow(every: 1d, fn: sum) |> top(n: 3)`,
		`import "csv" csv.from(csv: "` + strings.ReplaceAll(table, "\n", `\n`) + `")`,
	} {
		if status, answer := as(t, "reader", reader, "POST", child.URL()+"/api/v2/query", q); status != 200 || strings.Contains(answer, "error") || !strings.Contains(answer, ",") {
			t.Errorf("%s: %d %s", q, status, answer)
		}
	}
	if n := caught.Load(); n > 0 {
		t.Errorf("%d connections left the store", n)
	}
	if got := query(t, child, `SELECT count(n) FROM wants`); !strings.Contains(got, ",100]") {
		t.Errorf("the store has %s", got)
	}
}

// At its start the store warns of continuous queries that the monitor did not create, in the
// log of its process.
func TestWarnsOfContinuousQueries(t *testing.T) {
	data := t.TempDir()
	life := func(do func(*embedded.Child)) string {
		t.Helper()
		var log logtest.Buffer
		cfg := storetest.Config(t, data, "1")
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		child, err := embedded.Supervise(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		do(child)
		child.Close()
		return log.String()
	}
	life(func(c *embedded.Child) {
		fill(t, c, 0, 10)
		for _, name := range []string{storetest.OwnQuery, "evil"} {
			query(t, c, `CREATE CONTINUOUS QUERY `+name+` ON ipfsmon BEGIN SELECT count(n) INTO x FROM history.wants GROUP BY time(1h) END`)
		}
	})
	said := life(func(*embedded.Child) {})
	if !strings.Contains(said, "level=WARN") || !strings.Contains(said, "a continuous query that is not the monitor's") || !strings.Contains(said, `CREATE CONTINUOUS QUERY evil ON`) ||
		!strings.Contains(said, "DROP CONTINUOUS QUERY") || strings.Contains(said, "CREATE CONTINUOUS QUERY "+storetest.OwnQuery) {
		t.Errorf("the store said %s", said)
	}
}

// Time zones are in the program: tz() works where the system has none, as in a
// container. The system's files are hidden from the child.
func TestZonesWithoutTheSystems(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	cfg := storetest.Config(t, t.TempDir(), "1")
	self := cfg.Command
	// -D: the store is the child, and strace looks on.
	cfg.Command, cfg.Env = "strace", append(cfg.Env, "GOROOT=/nonexistent", "ZONEINFO=")
	cfg.Args = func(dir, listen string) []string {
		args := []string{"-D", "-f", "-qq", "-o", trace, "-e", "trace=openat,open", "-e", "inject=openat,open:error=ENOENT"}
		for _, folder := range []string{"/usr/share/zoneinfo/", "/usr/share/lib/zoneinfo/", "/usr/lib/locale/TZ/", "/etc/zoneinfo/"} {
			args = append(args, "-P", folder+"/Europe/Berlin") // as Go's time opens it
		}
		return append(args, self, dir, listen)
	}
	child, err := embedded.Supervise(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	fill(t, child, 0, 10)
	got := query(t, child, `SELECT count(n) FROM wants WHERE time > now() - 400h GROUP BY time(1d) fill(none) tz('Europe/Berlin')`)
	if !strings.Contains(got, `T00:00:00+0`) || strings.Contains(got, "error") {
		t.Errorf("answered %s", got)
	}
	if b, err := os.ReadFile(trace); err != nil || !strings.Contains(string(b), "/usr/share/zoneinfo//Europe/Berlin") || !strings.Contains(string(b), "INJECTED") {
		t.Errorf("the system's zones were not hidden: %v %s", err, b)
	}
}
