//go:build !race

// Not under the race detector: it reports what Flux of 2020 does in its own
// interpreter, and takes memory that these tests measure.

package embedded_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// many writes n points of one series, a microsecond apart.
func many(t *testing.T, child *embedded.Child, n int) {
	t.Helper()
	query(t, child, `CREATE DATABASE ipfsmon WITH DURATION 2000h REPLICATION 1 SHARD DURATION 24h NAME history`)
	begin := time.Now().Add(-2 * time.Hour)
	for from := 0; from < n; from += 50000 {
		var b strings.Builder
		for i := from; i < min(from+50000, n); i++ {
			fmt.Fprintf(&b, "wants n=%di %d\n", i, begin.UnixNano()+int64(i)*1000)
		}
		post(t, child, "/write", url.Values{"db": {"ipfsmon"}, "rp": {"history"}}, b.String())
	}
}

// peak is the most memory that a process had, in MiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}

func limited(t *testing.T, limits embedded.Limits) (*embedded.Child, *logtest.Buffer) {
	t.Helper()
	var log logtest.Buffer
	cfg := storetest.Config(t, t.TempDir(), "1")
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	storetest.Limit(&cfg, limits)
	child, err := embedded.Supervise(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Close() })
	return child, &log
}

// Answers that are too large are an error that says what to ask instead, and
// take no memory; chunked ones of any size pass.
func TestQueriesAreBounded(t *testing.T) {
	child, _ := limited(t, embedded.Limits{})
	many(t, child, 150_000)
	pid, before := child.PID(), peak(t, child.PID())
	f := func(form url.Values, want string) string {
		t.Helper()
		form.Set("db", "ipfsmon")
		got := post(t, child, "/query", form, "")
		if !strings.Contains(got, want) {
			t.Errorf("%s: want %q, got %.300s", form, want, got)
		}
		return got
	}
	begin := time.Now()
	f(url.Values{"q": {`SELECT sum(n) FROM wants WHERE time > now() - 2h GROUP BY time(1u) fill(0)`}}, "max-select-buckets limit exceeded")
	f(url.Values{"q": {`SELECT sum(n) FROM wants WHERE time > now() - 2h GROUP BY time(1u) fill(0)`}, "chunked": {"true"}}, "max-select-buckets limit exceeded")
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("refused after %v", d)
	}
	f(url.Values{"q": {`SELECT n FROM wants`}}, "the answer has more than 100000 rows: want LIMIT")
	f(url.Values{"q": {`SELECT count(n) FROM wants; SELECT n FROM wants`}}, "the answer has more than 100000 rows: want LIMIT")
	if got := f(url.Values{"q": {`SELECT n FROM wants LIMIT 100000`}}, ",99999]"); strings.Contains(got, "error") {
		t.Error("an answer of as many rows as the limit is refused")
	}
	for _, size := range []string{"", "10000", "1000000000", "7", "x"} {
		got := f(url.Values{"q": {`SELECT n FROM wants`}, "chunked": {"true"}, "chunk_size": {size}}, ",149999]")
		if strings.Contains(got, "error") || strings.Count(got, `"columns"`) < 2 {
			t.Errorf("chunks of %q: %d of them", size, strings.Count(got, `"columns"`))
		}
	}
	if child.PID() != pid {
		t.Errorf("the store was started again")
	}
	if after := peak(t, pid); after > before+400 {
		t.Errorf("the store took %d MiB before and %d MiB at most", before, after)
	}
}

// A query that takes too long is ended; the store continues.
func TestQueryTimeLimit(t *testing.T) {
	child, _ := limited(t, embedded.Limits{Time: time.Second, Rows: 1 << 30, Buckets: 1 << 60, Memory: 4 << 30})
	many(t, child, 1000)
	pid := child.PID()
	got := query(t, child, `SELECT sum(n) FROM wants WHERE time > now() - 3h GROUP BY time(1u) fill(0)`)
	if !strings.Contains(got, "the query took longer than 1s: want a shorter time") {
		t.Errorf("answered %.300s", got)
	}
	if got := query(t, child, `SELECT count(n) FROM wants`); !strings.Contains(got, ",1000]") || child.PID() != pid {
		t.Errorf("then answered %s, process %d, before %d", got, child.PID(), pid)
	}
}

// Queries that together take more memory than the limit are ended, and the
// store continues.
func TestQueryMemory(t *testing.T) {
	child, log := limited(t, embedded.Limits{Memory: 256 << 20, Rows: 1 << 30, Buckets: 1 << 60})
	many(t, child, 1000)
	pid := child.PID()
	got := query(t, child, `SELECT sum(n) FROM wants WHERE time > now() - 3h GROUP BY time(1u) fill(0)`)
	if !strings.Contains(got, "the store used more than 256 MiB of memory and ended all queries") {
		t.Errorf("answered %.300s", got)
	}
	if most := peak(t, pid); most > 1000 {
		t.Errorf("the store took %d MiB", most)
	}
	if got := query(t, child, `SELECT count(n) FROM wants`); !strings.Contains(got, ",1000]") || child.PID() != pid {
		t.Errorf("then answered %s, process %d, before %d", got, child.PID(), pid)
	}
	if !strings.Contains(log.String(), "memory limit exceeded") {
		t.Errorf("the log has %s", log)
	}
}

// A query that does not end, or takes all memory at once, ends the process, which is restarted
// and has lost nothing.
func TestRunawayEndsTheProcess(t *testing.T) {
	// Each function calls the one before twice.
	var double strings.Builder
	double.WriteString("f0 = (x) => x + 1\n")
	for i := range 45 {
		fmt.Fprintf(&double, "f%d = (x) => f%d(x: f%d(x: x))\n", i+1, i, i)
	}
	rows := `from(bucket: "ipfsmon/history") |> range(start: -4h) |> filter(fn: (r) => r._field == "n")`
	for name, q := range map[string]string{
		"a function that never returns":     double.String() + `from(bucket: "ipfsmon/history") |> range(start: -4h) |> limit(n: f45(x: 1))`,
		"a text that is larger than memory": `import "strings" ` + rows + ` |> map(fn: (r) => ({r with t: strings.repeat(v: "abcdefgh", i: 90000000)}))`,
	} {
		t.Run(name, func(t *testing.T) {
			child, log := limited(t, embedded.Limits{Memory: 256 << 20, Grace: time.Second})
			many(t, child, 1000)
			pid := child.PID()
			user, file := child.Login()
			password, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			status, answer := as(t, user, strings.TrimSpace(string(password)), "POST", child.URL()+"/api/v2/query", rows+` |> limit(n: 1)`)
			if status != 200 { // and Flux has started
				t.Fatalf("%d %s", status, answer)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "POST", child.URL()+"/api/v2/query", strings.NewReader(q))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(user, strings.TrimSpace(string(password)))
			req.Header.Set("Content-Type", "application/vnd.flux")
			if res, err := http.DefaultClient.Do(req); err == nil {
				b, _ := io.ReadAll(res.Body)
				res.Body.Close()
				t.Logf("answered %.300s", b)
			}
			for deadline := time.Now().Add(90 * time.Second); child.PID() == pid || child.PID() == 0; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the process continues: %s", log)
				}
			}
			for deadline := time.Now().Add(60 * time.Second); !strings.Contains(log.String(), "the process ended, restarting it"); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the log has %s", log)
				}
			}
			if !strings.Contains(log.String(), "ending this process, which loses no data") {
				t.Errorf("the log does not say why: %s", log)
			}
			for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				res, err := http.Get(child.URL() + "/ping")
				if err == nil {
					res.Body.Close()
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			if got := query(t, child, `SELECT count(n) FROM wants`); !strings.Contains(got, ",1000]") {
				t.Errorf("then answered %s", got)
			}
		})
	}
}
