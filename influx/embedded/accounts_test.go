package embedded_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

// as makes a request as a user, or as nobody, and returns status and answer.
func as(t *testing.T, user, password, method, to, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	if strings.Contains(to, "/api/v2/query") {
		req.Header.Set("Content-Type", "application/vnd.flux")
		req.Header.Set("Accept", "application/csv")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func secret(t *testing.T, data, user string) string {
	t.Helper()
	b, err := os.ReadFile(embedded.PasswordFile(data, user))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(embedded.PasswordFile(data, user)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s's password: %v, %v", user, info.Mode(), err)
	}
	if strings.Count(string(b), "\n") != 1 || len(b) < 20 {
		t.Errorf("%s's password is %q", user, b)
	}
	return strings.TrimSpace(string(b))
}

func ask(q string) string { return "/query?" + url.Values{"db": {"ipfsmon"}, "q": {q}}.Encode() }

const fluxCount = `from(bucket: "ipfsmon/history") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "wants" and r._field == "n") |> group() |> count()`

// Nobody has access without a password; the reader reads everything, including later databases,
// and changes nothing.
func TestAccounts(t *testing.T) {
	data := t.TempDir()
	child := storetest.StartIn(t, data)
	at := child.URL()
	fill(t, child, 0, 100)
	monitor, reader := secret(t, data, embedded.MonitorUser), secret(t, data, embedded.ReaderUser)
	if monitor == reader {
		t.Error("both have one password")
	}
	f := func(user, password string, want int, method, path, body string) string {
		t.Helper()
		got, answer := as(t, user, password, method, at+path, body)
		if got != want {
			t.Errorf("%q %s %s: %d, want %d: %s", user, method, path, got, want, answer)
		}
		return answer
	}
	for _, who := range [][2]string{{"", ""}, {"reader", "wrong"}, {"monitor", reader}, {"monitor", ""}, {"nobody", monitor}} {
		f(who[0], who[1], 401, "GET", ask("SELECT count(n) FROM wants"), "")
		f(who[0], who[1], 401, "POST", "/write?db=ipfsmon", "forged n=1i")
		f(who[0], who[1], 401, "POST", "/api/v2/write?bucket=ipfsmon/history", "forged n=1i")
		f(who[0], who[1], 401, "POST", "/api/v2/query", fluxCount)
		f(who[0], who[1], 401, "POST", "/ipfsmon/backup", "")
		f(who[0], who[1], 401, "GET", "/debug/vars", "")
		f(who[0], who[1], 401, "GET", "/metrics", "")
		f(who[0], who[1], 204, "GET", "/ping", "")
	}
	deadline := time.Now().Add(30 * time.Second) // the right comes just after the database
	for {
		if status, _ := as(t, "reader", reader, "GET", at+ask("SELECT count(n) FROM wants"), ""); status == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the reader may not read: %d", status)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := f("reader", reader, 200, "GET", ask("SELECT count(n) FROM wants"), ""); !strings.Contains(got, ",100]") {
		t.Errorf("the reader counts %s", got)
	}
	f("reader", reader, 200, "GET", ask("SHOW TAG VALUES FROM wants WITH KEY = type"), "")
	if got := f("reader", reader, 200, "POST", "/api/v2/query", fluxCount); !strings.Contains(got, ",") {
		t.Errorf("the reader counts with Flux: %s", got)
	}
	f("reader", reader, 403, "POST", "/write?db=ipfsmon", "forged n=1i")
	f("reader", reader, 403, "POST", "/api/v2/write?bucket=ipfsmon/history", "forged n=1i")
	f("reader", reader, 403, "POST", ask("DROP DATABASE ipfsmon"), "")
	f("reader", reader, 403, "POST", ask("CREATE DATABASE other"), "")
	f("reader", reader, 403, "POST", ask("SET PASSWORD FOR monitor = 'x'"), "")
	f("reader", reader, 401, "POST", "/ipfsmon/backup", "")
	f("monitor", monitor, 200, "GET", "/debug/vars", "")
	if got := f("monitor", monitor, 200, "GET", ask("SHOW MEASUREMENTS"), ""); strings.Contains(got, "forged") {
		t.Errorf("measurements %s", got)
	}
}

// A store that never had passwords gets them at its next start and keeps its data; a password
// changed in its file takes effect.
func TestAccountsOfAnOldStore(t *testing.T) {
	data := t.TempDir()
	life := func(do func(*embedded.Child)) {
		t.Helper()
		child, err := embedded.Supervise(t.Context(), storetest.Config(t, data, "1"))
		if err != nil {
			t.Fatal(err)
		}
		defer child.Close()
		do(child)
	}
	life(func(c *embedded.Child) {
		fill(t, c, 0, 10)
		query(t, c, "DROP USER reader; DROP USER monitor")
	})
	for _, user := range []string{embedded.MonitorUser, embedded.ReaderUser} {
		if err := os.Remove(embedded.PasswordFile(data, user)); err != nil {
			t.Fatal(err)
		}
	}
	if user, file := embedded.Login(data); user != "" || file != "" {
		t.Errorf("%q, %q", user, file)
	}
	counts := func(c *embedded.Child) {
		t.Helper()
		if got := query(t, c, "SELECT count(n) FROM wants"); !strings.Contains(got, ",10]") {
			t.Errorf("counted %s", got)
		}
	}
	life(counts)
	if err := os.WriteFile(embedded.PasswordFile(data, embedded.MonitorUser), []byte("another of 16 or more\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	life(func(c *embedded.Child) {
		counts(c)
		secret(t, data, embedded.MonitorUser)
		status, _ := as(t, "monitor", "another of 16 or more", "GET", c.URL()+ask("SHOW DATABASES"), "")
		if status != 200 {
			t.Errorf("the password of the file: %d", status)
		}
	})
	// An invalid one, as after a full disk, is replaced.
	if err := os.WriteFile(embedded.PasswordFile(data, embedded.MonitorUser), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	life(counts)
	secret(t, data, embedded.MonitorUser)
}
