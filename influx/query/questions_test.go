package query

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

func TestQueriesDoc(t *testing.T) {
	var answers map[string]map[string]string
	if b, err := os.ReadFile("testdata/answers.json"); err != nil || json.Unmarshal(b, &answers) != nil {
		t.Fatalf("what a demo answered: %v", err)
	}
	influxtest.Generated(t, filepath.Join("..", "..", "docs", "queries.md"), Doc(answers))
	for _, q := range Questions {
		if notInDemo[q.Name] != "" {
			if answers[q.Name]["influxql"]+answers[q.Name]["flux"] != "" {
				t.Errorf("%s: a demo has an answer to it: take it out of notInDemo", q.Name)
			}
			continue
		}
		if strings.Count(answers[q.Name]["influxql"], "\n") < 2 || strings.Count(answers[q.Name]["flux"], "\n") < 2 {
			t.Errorf("%s: what a demo answered to it is not in testdata/answers.json", q.Name)
		}
	}
	if len(answers) != len(Questions) {
		t.Errorf("%d answers to %d questions", len(answers), len(Questions))
	}
	for _, name := range ofNetwork {
		if _, err := Named(name); err != nil {
			t.Errorf("ofNetwork: %v", err)
		}
	}
	if len(Questions) < 25 {
		t.Errorf("%d questions", len(Questions))
	}
	for _, q := range Questions {
		if got, err := Named(q.Name); err != nil || got.Asks != q.Asks {
			t.Errorf("%s: %v, %v", q.Name, got, err)
		}
		for _, s := range []string{q.InfluxQL, q.Flux} {
			if !strings.Contains(s, "{since}") {
				t.Errorf("%s: no time in %s", q.Name, s)
			}
		}
	}
	if _, err := Named("top-dogs"); err == nil || !strings.Contains(err.Error(), "top-cids") {
		t.Errorf("a name that is none: %v", err)
	}
}

func TestSince(t *testing.T) {
	f := func(statement, want string) {
		t.Helper()
		if got, err := Since(statement, "6h", "b", false); err != nil || got != want {
			t.Errorf("%s\n got  %s, %v\n want %s", statement, got, err, want)
		}
	}
	f("SELECT count(cid) FROM wants", "SELECT count(cid) FROM wants WHERE time > now() - 6h")
	f("select cid from wants limit 5;", "select cid from wants WHERE time > now() - 6h limit 5")
	f("SELECT cid FROM wants WHERE type='have' OR x = 1 GROUP BY time(1m), \"where\" LIMIT 1",
		"SELECT cid FROM wants WHERE time > now() - 6h AND (type='have' OR x = 1) GROUP BY time(1m), \"where\" LIMIT 1")
	f("SELECT sum(n) FROM (SELECT count(cid) AS n FROM wants WHERE x='y' GROUP BY peer) GROUP BY time(1m)",
		"SELECT sum(n) FROM (SELECT count(cid) AS n FROM wants WHERE x='y' GROUP BY peer) WHERE time > now() - 6h GROUP BY time(1m)")
	f("SELECT a FROM /where time/ WHERE b = 'group by time; it\\'s' ORDER BY time DESC", "SELECT a FROM /where time/ WHERE time > now() - 6h AND (b = 'group by time; it\\'s') ORDER BY time DESC")
	f("SELECT time, a FROM m", "SELECT time, a FROM m WHERE time > now() - 6h")
	f("SELECT a FROM m WHERE time > now() - {since} GROUP BY time({every})", "SELECT a FROM m WHERE time > now() - 6h GROUP BY time(5m)")
	f("SELECT count(a) FROM m GROUP BY time({every})", "SELECT count(a) FROM m WHERE time > now() - 6h GROUP BY time(5m)")
	for _, end := range []string{"group by x", "fill(0)", "order by time desc", "limit 1", "offset 1", "slimit 1", "soffset 1", "tz('UTC')"} {
		f("SELECT a FROM m "+end, "SELECT a FROM m WHERE time > now() - 6h "+end)
		f("SELECT a FROM m WHERE b = 1 "+end, "SELECT a FROM m WHERE time > now() - 6h AND (b = 1) "+end)
	}
	f("SELECT a FROM m WHERE b = 1 -- where; '\nGROUP BY c", "SELECT a FROM m WHERE time > now() - 6h AND (b = 1) GROUP BY c")
	f("-- of m\nSELECT a FROM m /* all; */ -- of it", "SELECT a FROM m WHERE time > now() - 6h")
	f("SELECT a FROM m WHERE b = '--' AND c = '/*' AND d =~ /--*/", "SELECT a FROM m WHERE time > now() - 6h AND (b = '--' AND c = '/*' AND d =~ /--*/)")
	f("SELECT a / 2, Z9_ FROM \"m\\\"\", /x y/ WHERE b = 'it", "SELECT a / 2, Z9_ FROM \"m\\\"\", /x y/ WHERE time > now() - 6h AND (b = 'it)")

	f("SELECT a FROM m WHERE (b = 1 OR c = 2)", "SELECT a FROM m WHERE time > now() - 6h AND ((b = 1 OR c = 2))")

	bad := func(statement, since string, flux bool, want string) {
		t.Helper()
		if got, err := Since(statement, since, "b", flux); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", statement, got, err, want)
		}
	}
	bad("SELECT a FROM m WHERE time > 0", "1h", false, "its own time")
	bad("SELECT a FROM m WHERE x = 1 AND (\"time\" > 0)", "1h", false, "its own time")
	bad("SELECT a FROM m; SELECT b FROM m", "1h", false, "single SELECT")
	bad("SELECT a FROM m LIMIT 1; SELECT b FROM m", "1h", false, "single SELECT")
	bad("SELECT a FROM m WHERE b = (c / time)", "1h", false, "its own time")
	bad("", "1h", false, "single SELECT")
	bad("/* SELECT a FROM m", "1h", false, "single SELECT")
	bad("SELECT a INTO n FROM m", "1h", false, "only reads")
	bad("SHOW MEASUREMENTS", "1h", false, "single SELECT")
	bad("from(bucket: \"b\") |> range(start: -1h)", "1h", true, "{since}")
	for _, s := range []string{"", "1", "h", "-1h", "1h; DROP", "1y", "0h", "0h0s", "1.5h"} {
		bad("SELECT a FROM m", s, false, "want")
	}
	for _, s := range []string{"99999999999w", "20000w", "30501w", "36501d", "36500d1ms", "1ms36500d", "2147483647w2147483647w"} {
		bad("SELECT a FROM m", s, false, "want at most 100 years")
	}
	for s, want := range map[string]time.Duration{"36500d": 36500 * 24 * time.Hour, "36499d24h": 36500 * 24 * time.Hour, "1w2d3h4m5s6ms": 219*time.Hour + 4*time.Minute + 5006*time.Millisecond, "1ms": time.Millisecond} {
		if got, err := parseSpan(s); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", s, got, err, want)
		}
	}
	if got, err := Since(`from(bucket: "{bucket}/x") |> range(start: -{since})`, "1h30m", "b", true); err != nil || got != `from(bucket: "b/x") |> range(start: -1h30m)` {
		t.Errorf("%q, %v", got, err)
	}
}

// Words of InfluxQL, with quotes, patterns and brackets.
func TestWords(t *testing.T) {
	got := ""
	for _, w := range words("azAZ_09 b-1c(d ('e\\'f') \"G;\");h/2 =~ /i j/,/k\\/l/ FROM /m/ n.o. /p/ {q}[r]@`s z A Z a") {
		got += fmt.Sprint(w.text, " ", w.at, " ", w.depth, "|")
	}
	const want = "azaz_09 0 0|b 8 0|c 11 0|d 13 1|'e\\'f' 16 2|\"g;\" 24 1|; 29 0|h 30 0|/i j/ 37 0|/k\\/l/ 43 0|from 50 0|/m/ 55 0|n 59 0|o 61 0|/p/ 64 0|q 69 0|r 72 0|s 76 0|z 78 0|a 80 0|z 82 0|a 84 0|"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEvery(t *testing.T) {
	for since, want := range map[string]string{"1m": "1s", "5m": "5s", "1h": "1m", "1d": "30m", "7d": "3h", "30d": "12h", "52w": "7d"} {
		d, err := parseSpan(since)
		if got := every(d); err != nil || got != want {
			t.Errorf("%s: a step of %s, want %s", since, got, want)
		}
	}
	steps := []string{"1s", "5s", "10s", "30s", "1m", "5m", "10m", "30m", "1h", "3h", "12h", "1d", "7d"}
	for i, step := range steps[:len(steps)-1] {
		d, err := parseSpan(step)
		if err != nil || every(100*d) != step || every(100*d+1) != steps[i+1] {
			t.Errorf("at most a hundred steps of %s: %s, above %s, %v", step, every(100*d), every(100*d+1), err)
		}
	}
}
