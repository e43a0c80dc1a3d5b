package embedded_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

// post makes a request as the monitor.
func post(t *testing.T, at *embedded.Child, path string, form url.Values, body string) string {
	t.Helper()
	to := at.URL() + path
	req, err := http.NewRequest(http.MethodPost, to+"?"+form.Encode(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	user, file := at.Login()
	password, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, strings.TrimSpace(string(password)))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		t.Fatalf("%s: %s, %v: %s", to, res.Status, err, b)
	}
	return string(b)
}

func query(t *testing.T, at *embedded.Child, q string) string {
	t.Helper()
	return post(t, at, "/query", url.Values{"q": {q}, "db": {"ipfsmon"}}, "")
}

// fill writes n points, some of them days ago, so that there are several shards.
func fill(t *testing.T, at *embedded.Child, from, n int) {
	t.Helper()
	query(t, at, `CREATE DATABASE ipfsmon WITH DURATION 2000h REPLICATION 1 SHARD DURATION 24h NAME history`)
	var b strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, "wants,type=t%d cid=\"c%d\",n=%di %d\n", i%5, i, i, time.Now().Add(-time.Duration(i%6)*24*time.Hour).UnixNano()+int64(i))
	}
	post(t, at, "/write", url.Values{"db": {"ipfsmon"}, "rp": {"history"}}, b.String())
}

// A backup of a running store has everything acknowledged; a folder restored from it answers
// the same; a damaged backup restores nothing.
func TestBackupAndRestore(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	child := storetest.StartIn(t, data)
	fill(t, child, 0, 3000)
	query(t, child, `CREATE RETENTION POLICY totals ON ipfsmon DURATION INF REPLICATION 1`)
	query(t, child, `CREATE CONTINUOUS QUERY cq ON ipfsmon BEGIN SELECT count(n) INTO totals.x FROM history.wants GROUP BY time(1h) END`)

	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // writes continue meanwhile
		defer close(done)
		for i := 3000; ; i += 100 {
			select {
			case <-stop:
				return
			default:
				fill(t, child, i, 100)
			}
		}
	}()
	name, size, err := embedded.Backup(t.Context(), data, dir, nil)
	close(stop)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Size() != size || info.Mode().Perm() != 0o600 || filepath.Dir(name) != dir {
		t.Fatalf("%s, %d bytes: %v, %v", name, size, info, err)
	}
	questions := []string{
		"SELECT count(cid), sum(n) FROM wants WHERE n < 3000 GROUP BY type",
		"SELECT count(n) FROM wants WHERE n < 3000 AND type = 't3'",
		"SHOW RETENTION POLICIES ON ipfsmon", "SHOW CONTINUOUS QUERIES", "SHOW TAG VALUES FROM wants WITH KEY = type",
	}
	var want []string
	for _, q := range questions {
		want = append(want, query(t, child, q))
	}
	if !strings.Contains(want[0], "600") {
		t.Fatalf("the store itself says %s", want[0])
	}

	again := t.TempDir()
	if err := embedded.Restore(t.Context(), again, name); err != nil {
		t.Fatal(err)
	}
	second := storetest.StartIn(t, again)
	for i, q := range questions {
		if got := query(t, second, q); got != want[i] {
			t.Errorf("%s:\n restored %s\n was      %s", q, got, want[i])
		}
	}
	fill(t, second, 0, 10) // and it takes more
	if index, err := filepath.Glob(filepath.Join(embedded.StoreDir(again), "data", "ipfsmon", "history", "*", "index", "*")); err != nil || len(index) == 0 {
		t.Errorf("the index is not on disk: %v, %v", index, err)
	}

	// Neither over a store nor over a file.
	if err := embedded.Restore(t.Context(), again, name); err == nil || !strings.Contains(err.Error(), "has a store already") {
		t.Errorf("over a store: %v", err)
	}
	if _, _, err := embedded.Backup(t.Context(), data, name, nil); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over a file: %v", err)
	}
	// A stopped store is backed up too.
	child.Close()
	if _, _, err := embedded.Backup(t.Context(), data, filepath.Join(dir, "second.zip"), nil); err != nil {
		t.Errorf("stopped: %v", err)
	}

	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	for what, b := range map[string][]byte{"cut": whole[:len(whole)*2/3], "damaged": damaged, "empty": nil} {
		bad, folder := filepath.Join(dir, what), t.TempDir()
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := embedded.Restore(t.Context(), folder, bad); err == nil {
			t.Errorf("a backup that is %s is restored", what)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("a backup that is %s leaves %v, %v", what, left, err)
		}
	}
}

// A store over its limit drops its oldest days, first of policies with a retention, and never
// of the day being written.
func TestMaxBytes(t *testing.T) {
	data := t.TempDir()
	cfg := storetest.Config(t, data, "1")
	child, err := embedded.Supervise(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, child, 0, 6000)
	query(t, child, `CREATE RETENTION POLICY totals ON ipfsmon DURATION INF REPLICATION 1 SHARD DURATION 24h`)
	post(t, child, "/write", url.Values{"db": {"ipfsmon"}, "rp": {"totals"}}, fmt.Sprintf("kept n=1i %d\n", time.Now().Add(-20*24*time.Hour).UnixNano()))
	child.Close()
	before := sizeOf(t, data)
	cfg.Env = append(cfg.Env, fmt.Sprintf("IPFSMON_TEST_STORE_MAX=%d", before*2/3))
	if child, err = embedded.Supervise(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	shards := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if shards = query(t, child, "SELECT count(n) FROM wants WHERE time < now() - 5d + 1h"); !strings.Contains(shards, "series") {
			break
		}
	}
	if strings.Contains(shards, "series") {
		t.Errorf("the oldest day is still there: %s", shards)
	}
	if got := query(t, child, "SELECT count(n) FROM wants WHERE time > now() - 1h"); !strings.Contains(got, "1000") {
		t.Errorf("of today: %s, want 1000", got)
	}
	if got := query(t, child, "SELECT count(n) FROM totals.kept"); !strings.Contains(got, "series") {
		t.Errorf("totals went before history: %s", got)
	}
}

func sizeOf(t *testing.T, data string) (total int64) {
	t.Helper()
	err := filepath.Walk(embedded.StoreDir(data), func(path string, info os.FileInfo, err error) error {
		if err == nil && (strings.HasSuffix(path, ".tsm") || strings.HasSuffix(path, ".wal")) {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}
