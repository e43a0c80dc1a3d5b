package query

import (
	"strings"
	"testing"
)

func TestHints(t *testing.T) {
	f := func(statement, want string) {
		t.Helper()
		got := strings.Join(Hints(statement, strings.HasPrefix(statement, "from")), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", statement, got, want)
		}
	}
	f("SELECT sum(blocks) FROM traffic", "did you mean totals.traffic?")
	f("SELECT sum(blocks) FROM history.traffic", "did you mean totals.traffic?")
	f("SELECT cid FROM totals.wants", "did you mean wants?")
	f("SELECT cid FROM want", "did you mean wants?")
	f("SELECT cid FROM Wants", "did you mean wants?")
	f("SELECT n FROM top_cid", "did you mean totals.top_cids?")
	f("SELECT n FROM zzzzzzzzz", "SHOW MEASUREMENTS")
	f("SELECT bogus FROM wants", "there is no field or tag bogus there; there are cid, peer")
	f("SELECT cids FROM wants", "did you mean cid?")
	f("SELECT cid FROM wants WHERE direction = 'recieved'", "direction is never \"recieved\"; want one of received, sent")
	f("SELECT sum(n) FROM (SELECT count(cid) AS n FROM want GROUP BY type) GROUP BY type", "did you mean wants?")
	f("SELECT sum(n) FROM (SELECT count(cid) AS n FROM wants GROUP BY type) GROUP BY typ", "did you mean type?")
	f("SELECT wants FROM totals.top_cids", "a minute after the start")
	f("SELECT messages FROM totals.traffic", "every 10 seconds")
	f("SELECT elapsed_us FROM latency", "HistoryLatency")
	f("SELECT cid FROM wants", "HistoryRetention")
	f("SELECT wants FROM totals.wants_1m", "every 10 seconds")
	f("SELECT * FROM /.*/", "")
	f("SHOW MEASUREMENTS", "")
	f(`from(bucket: "ipfsmon/history") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "traffic")`, "did you mean the bucket .../totals?")
	f(`from(bucket: "ipfsmon/totals") |> range(start: -1h) |> filter(fn: (r) => r["_measurement"] == "trafic")`, "did you mean totals.traffic?")
	f(`from(bucket: "ipfsmon/totals") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "traffic" and r._field == "bogus")`, "there is no field bogus there")
	f(`from(bucket: "a/history") from(bucket: "a/totals") r._measurement == "wants" r._measurement == "trafic"`, "did you mean totals.traffic?")
	f(`from(bucket: "a/totals") r._measurement == "traffic" r._field == "blocks" or r._field == "bogus"`, "there is no field bogus there")
	if got := strings.Join(Hints(`from(bucket: "a/history") from(bucket: "a/totals") r._measurement == "traffic"`, true), "|"); strings.Contains(got, "bucket") {
		t.Errorf("of two buckets one is meant: %s", got)
	}
	if got := strings.Join(Hints(`from(bucket: "a/totals") r._measurement == "zzzzzzzzz" r._field == "n"`, true), "|"); strings.Contains(got, "no field") {
		t.Errorf("fields of a measurement that is none: %s", got)
	}
}
