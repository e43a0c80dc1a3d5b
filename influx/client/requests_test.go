package client

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// standIn is a server that records the requests and answers each with the same.
type standIn struct {
	*httptest.Server
	mu      sync.Mutex
	asked   string // the last request
	status  int
	answer  string
	version string
}

func newStandIn(t *testing.T) *standIn {
	s := &standIn{status: http.StatusOK, answer: `{"results":[{"statement_id":0}]}`}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, db := r.URL.Query()["db"]
		s.asked = fmt.Sprint(r.Method, " ", r.URL.Path, " db=", r.URL.Query().Get("db"), db, " org=", r.URL.Query().Get("org"), " ", r.Header.Get("Authorization"), " ", r.Header.Get("Content-Type"))
		if s.version != "" {
			w.Header().Set("X-Influxdb-Version", s.version)
		}
		w.WriteHeader(s.status)
		_, _ = w.Write([]byte(s.answer))
	}))
	t.Cleanup(s.Close)
	return s
}

// client returns a client of it.
func (s *standIn) client(t *testing.T, cfg Config) *Client {
	t.Helper()
	cfg.URL = s.URL
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// What a request has, by API: its method, the database, the organisation, the credentials and
// the type of its body.
func TestRequests(t *testing.T) {
	s := newStandIn(t)
	f := func(cfg Config, want string, do func(*Client) error) {
		t.Helper()
		if err := do(s.client(t, cfg)); err != nil {
			t.Error(err)
		}
		if s.asked != want {
			t.Errorf("%q, want %q", s.asked, want)
		}
	}
	ask := func(statement string) func(*Client) error {
		return func(c *Client) error { return c.Query(t.Context(), statement, false, &table{}) }
	}
	f(Config{}, "POST /query db=ipfsmontrue org=  ", ask("SELECT a FROM b"))
	f(Config{Database: "d", Username: "u", Password: "p"}, "POST /query db=dtrue org= Basic dTpw ", ask("SELECT a FROM b"))
	f(Config{Org: "o", Token: "t"}, "POST /query db=ipfsmontrue org=o Token t ", ask("SELECT a FROM b"))
	f(Config{Version: "3", Token: "t"}, "GET /query db=ipfsmon/historytrue org= Bearer t ", ask("SELECT a FROM b"))
	f(Config{Version: "3", Token: "t"}, "GET /query db=ipfsmon/totalstrue org= Bearer t ", ask("SELECT a FROM totals.b"))
	f(Config{Version: "3"}, "GET /query db=false org=  ", ask("SHOW DATABASES"))
	open := func(body []byte) func(*Client) error {
		return func(c *Client) error {
			_, err := c.request3(t.Context(), http.MethodPost, "x", nil, body)
			return err
		}
	}
	f(Config{Version: "3", Token: "t"}, "POST /x db=false org= Bearer t application/json", open([]byte("{}")))
	f(Config{Version: "3", Token: "t"}, "POST /x db=false org= Bearer t ", open(nil))
}

// A series is announced once, though its rows come in several chunks, and again when its name, tags or
// columns are others; a row that does not fit its header is an error.
func TestSeriesOfAnswers(t *testing.T) {
	s := newStandIn(t)
	c := s.client(t, Config{})
	chunk := func(name, tags, columns, values string) string {
		return fmt.Sprintf(`{"results":[{"statement_id":0,"series":[{"name":%q,"tags":{%s},"columns":[%s],"values":[%s]}]}]}`+"\n", name, tags, columns, values)
	}
	f := func(want, answer string) {
		t.Helper()
		s.answer = answer
		var out table
		if err := c.Query(t.Context(), "SHOW X", false, &out); err != nil {
			out.text = err.Error()
		}
		if !strings.HasPrefix(out.text, want) {
			t.Errorf("%s\n%q, want %q", answer, out.text, want)
		}
	}
	one := chunk("m", "", `"a"`, "[1]")
	f("m[] [a]\n[]interface {}{\"1\"}\n[]interface {}{\"1\"}\n", one+one)
	f("m[] [a]\n[]interface {}{\"1\"}\nn[] [a]\n[]interface {}{\"1\"}\n", one+chunk("n", "", `"a"`, "[1]"))
	f("m[] [a]\n[]interface {}{\"1\"}\nm[{y 1} {z 2}] [a]\n[]interface {}{\"1\"}\n", one+chunk("m", `"z":"2","y":"1"`, `"a"`, "[1]"))
	f("m[] [a]\n[]interface {}{\"1\"}\nm[] [b]\n[]interface {}{\"1\"}\n", one+chunk("m", "", `"b"`, "[1]"))
	f("read the answer of "+s.URL+": a row has 1 values, want 2 as the header has", chunk("m", "", `"a","b"`, "[1]"))
	f("read the answer of "+s.URL+": a row has 2 values, want 1 as the header has", chunk("m", "", `"a"`, "[1,2]"))
	s.version = "1.8.10" // which sends one series in a chunk
	f("m[] []\nn[] []\n", `{"results":[{"series":[{"name":"m"},{"name":"n"}]}]}`)
	f("the answer is truncated", `{"results":[{"series":[{"name":"m","columns":["time"]},{"name":"n","columns":["time"]}]}]}`)
}

// What a ping finds out: it is logged when the API is another than the configured one, and a
// failure changes nothing.
func TestFind(t *testing.T) {
	s := newStandIn(t)
	f := func(cfg Config, version string, status, api int, guarded bool, logged int) {
		t.Helper()
		s.version, s.status = version, status
		var log bytes.Buffer
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		c := s.client(t, cfg)
		for range 2 {
			if got, err := c.Find(t.Context()); err != nil || got != api {
				t.Errorf("%q, %d: API %d, %v, want %d", version, status, got, err, api)
			}
		}
		if got := c.Guarded() != ""; got != guarded {
			t.Errorf("%q, %d: guarded %v", version, status, got)
		}
		if got := strings.Count(log.String(), "the server is InfluxDB 3"); got != logged {
			t.Errorf("%q, %d: logged %d times, want %d", version, status, got, logged)
		}
	}
	f(Config{}, "1.8.10", 204, 1, false, 0)
	f(Config{}, "", 401, 1, true, 0)
	f(Config{}, "", 200, 1, false, 0)
	f(Config{}, "3.11.2", 200, 3, false, 1)
	f(Config{Version: "3"}, "3.11.2", 200, 3, false, 0)
	f(Config{Org: "o", Token: "t"}, "v2.7.12", 204, 2, false, 0)
	c := s.client(t, Config{Org: "o", Token: "t"})
	s.CloseClientConnections()
	s.Close()
	if api, err := c.Find(t.Context()); err == nil || api != 2 {
		t.Errorf("without a server: API %d, %v", api, err)
	}
}

// The files of the secrets are read again when the server refuses them, and what cannot be read
// leaves the old secret.
func TestSecretsAreReadAgain(t *testing.T) {
	s := newStandIn(t)
	s.status = http.StatusUnauthorized
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, cfg := range []Config{{Username: "u", PasswordFile: file}, {Org: "o", TokenFile: file}, {Version: "3", TokenFile: file}, {Version: "3", TokenFile: file}} {
		if i == 3 {
			s.status = http.StatusForbidden
		}
		write("first")
		c := s.client(t, cfg)
		secret := func() string { return c.set.password + c.set.token }
		write("second")
		if got := secret(); got != "first" {
			t.Errorf("%+v: %q before a refusal", cfg, got)
		}
		if err := c.Setup(t.Context()); err == nil || secret() != "second" {
			t.Errorf("%+v: %q after a refusal, %v", cfg, secret(), err)
		}
		write("")
		c.set.ReadSecrets()
		if got := secret(); got != "second" {
			t.Errorf("%+v: %q of an empty file", cfg, got)
		}
	}
	c := s.client(t, Config{Username: "u", Password: "p"})
	c.set.ReadSecrets()
	if c.set.password != "p" {
		t.Error("a password without a file is lost")
	}
}

// Which URLs have a server that can be queried and set up.
func TestURLsOfServers(t *testing.T) {
	for url, want := range map[string]bool{"http://127.0.0.1:1": true, "https://127.0.0.1:1": true, "udp://127.0.0.1:1": false, "file:///x": false, "stdout:": false} {
		c, err := New(Config{URL: url})
		if (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
		if err == nil {
			c.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := Setup(ctx, Config{URL: url}); (err != nil) != want { // nobody listens at port 1
			t.Errorf("set-up of %s: %v", url, err)
		}
		cancel()
	}
}

// A proxy that cannot be reached is named, and a server that cannot be reached is not called one.
func TestProxyIsNotThere(t *testing.T) {
	for _, cfg := range []Config{{URL: "http://a.example", Proxy: "http://127.0.0.1:1"}, {URL: "http://127.0.0.1:1"}} {
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Version(t.Context())
		if err == nil || strings.Contains(err.Error(), "the proxy cannot be reached") != (cfg.Proxy != "") {
			t.Errorf("%+v: %v", cfg, err)
		}
		c.Close()
	}
}

// What settings say and fill in.
func TestSettingsByHand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]Config{
		`HistoryRetention: "1m": want a duration from 1h0m0s, such as "168h0m0s"`: {HistoryRetention: "1m"},
		`Timeout: "1ms": want a duration from 100ms to 10m0s, such as "30s"`:      {Timeout: "1ms"},
		"PasswordFile: set beside Password; want only one of them":                {Username: "u", Password: "p", PasswordFile: file},
	} {
		if err := cfg.Validate(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, cfg := range []Config{{Username: "u", Password: "p"}, {Username: "u", PasswordFile: file}} {
		if s, err := cfg.resolve(); err != nil || s.password != "p" {
			t.Errorf("%q, %v", s.password, err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	if s, err := (Config{Log: log}).resolve(); err != nil || s.Logger != log {
		t.Error("the log is another one")
	}
	if s, err := (Config{}).resolve(); err != nil || s.Logger != slog.Default() {
		t.Error("without a log it is not the default one")
	}
	no := false
	for _, history := range []*bool{nil, &no} {
		c, err := New(Config{Version: "3", History: history})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(c.Missing(nil).Error()+c.missing3(context.Canceled).Error(), "ipfsmon/history"); got != (history == nil) {
			t.Errorf("what to create has history: %v", got)
		}
	}
	if got := ErrorText(bytes.Repeat([]byte{0x80}, maxText+1)); got != "" {
		t.Errorf("%q of bytes that begin no character", got)
	}
}

// An answer to Flux: its tables one after the other, and the server's error in one of them.
func TestAnswersToFlux(t *testing.T) {
	s := newStandIn(t)
	c := s.client(t, Config{})
	ask := func(answer string) (string, error) {
		s.answer = answer
		var out table
		err := c.Query(t.Context(), "from(bucket: \"b\")", true, &out)
		return out.text, err
	}
	const one = "#datatype,string,long,long\r\n,result,table,_value\r\n,_result,0,1\r\n\r\n"
	const two = "[] [_value]\n[]interface {}{\"1\"}\n"
	if got, err := ask(one + "\r\n" + one); err != nil || got != two+two {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ask(one + "#datatype,string,string\r\n,error,reference\r\n,it went wrong,7\r\n\r\n"); err == nil || err.Error() != "it went wrong" || got != two {
		t.Errorf("%q, %v", got, err)
	}
}

// SHOW without a measurement is asked of the databases that the monitor has.
func TestShowOfInfluxDB3(t *testing.T) {
	no := false
	for want, history := range map[string]*bool{"ipfsmon/history ipfsmon/totals": nil, "ipfsmon/totals": &no} {
		s, err := Config{Version: "3", History: history}.resolve()
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.split3("SHOW MEASUREMENTS")
		var got []string
		for _, one := range all {
			got = append(got, one.database)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q, %v, want %s", got, err, want)
		}
	}
}

// Continuous queries of an earlier version are found by their names, those of this database alone, and the log
// says how to remove them.
func TestOldContinuousQueries(t *testing.T) {
	s := newStandIn(t)
	var log bytes.Buffer
	c := s.client(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	answer := func(columns, row string) {
		series := func(name, row string) string {
			return fmt.Sprintf(`{"name":%q,"columns":[%s],"values":[%s]}`, name, columns, row)
		}
		s.answer = `{"results":[{"statement_id":0,"series":[` + series("other", strings.ReplaceAll(row, "wants_1m", "blocks_1h")) + "," + series("ipfsmon", row) + "]}]}"
	}
	f := func(columns, row string, want bool) {
		t.Helper()
		log.Reset()
		answer(columns, row)
		old, err := c.OldRollups(t.Context())
		names, statement := "[]", ""
		if want {
			names, statement = "[wants_1m]", `DROP CONTINUOUS QUERY "wants_1m" ON "ipfsmon"`
		}
		if err != nil || fmt.Sprint(old.Names) != names || old.Statement != statement {
			t.Errorf("%s: %+v, %v", columns, old, err)
		}
		c.reportOldRollups(t.Context())
		if got := strings.Contains(log.String(), "ipfsmon query --write 'DROP CONTINUOUS"); got != want || (log.Len() > 0) != want {
			t.Errorf("%s", log.String())
		}
	}
	f(`"name","query"`, `["wants_1m","x"],["somebody's","x"]`, true)
	f(`"query","name"`, `["x","wants_1m"]`, true)
	f(`"query"`, `["wants_1m"]`, false)
	f(`"name"`, `["somebody's"]`, false)
	log.Reset()
	s.status = http.StatusForbidden
	if _, err := c.OldRollups(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "list continuous queries: ") {
		t.Error(err)
	}
	if c.reportOldRollups(t.Context()); log.Len() > 0 {
		t.Errorf("without the right to list them: %s", log.String())
	}
}

// Each statement of the set-up that an InfluxDB 1.x refuses is an error, and what is there is not created again.
func TestRefusedSetup(t *testing.T) {
	for _, c := range []struct{ databases, policies, retention, refused string }{
		{"", "", "", "CREATE DATABASE"},
		{`["ipfsmon"]`, "", "", "CREATE RETENTION POLICY"},
		{`["ipfsmon"]`, `["history","168h0m0s",true]`, "", "CREATE RETENTION POLICY"}, // of totals
		{`["ipfsmon"]`, `["history","168h0m0s",true],["totals","0s",false]`, "2h", "ALTER RETENTION POLICY"},
		{`["ipfsmon"]`, `["history","168h0m0s",false],["totals","0s",true]`, "", "ALTER RETENTION POLICY"},
		{`["ipfsmon"]`, `["history","168h0m0s",true],["totals","9h0m0s",false]`, "", ""},
	} {
		for _, refuses := range []bool{true, false} {
			var asked []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query().Get("q")
				switch rows := func(columns, values string) {
					fmt.Fprintf(w, `{"results":[{"statement_id":0,"series":[{"name":"x","columns":[%s],"values":[%s]}]}]}`, columns, values)
				}; {
				case r.URL.Path != "/query":
					w.WriteHeader(http.StatusNoContent)
				case strings.HasPrefix(q, "SHOW DATABASES"):
					rows(`"name"`, c.databases)
				case strings.HasPrefix(q, "SHOW RETENTION"):
					rows(`"name","duration","default"`, c.policies)
				case strings.HasPrefix(q, "SHOW"):
					fmt.Fprint(w, `{"results":[{"statement_id":0}]}`)
				default:
					if asked = append(asked, q); refuses && strings.HasPrefix(q, c.refused) {
						w.WriteHeader(http.StatusForbidden)
						fmt.Fprint(w, `{"error":"it is refused"}`)
						return
					}
					fmt.Fprint(w, `{"results":[{"statement_id":0}]}`)
				}
			}))
			err := Setup(t.Context(), Config{URL: s.URL, HistoryRetention: c.retention, Log: slog.New(slog.DiscardHandler)})
			s.Close()
			if refuses := refuses && c.refused != ""; (err != nil) != refuses || refuses && !strings.Contains(err.Error(), "it is refused") {
				t.Errorf("%+v: %v", c, err)
			}
			if c.refused == "" && len(asked) > 0 || c.refused != "" && (len(asked) == 0 || !strings.HasPrefix(asked[0], c.refused)) {
				t.Errorf("%+v: %q", c, asked)
			}
		}
	}
}

// A retention that is shortened deletes points, which is a warning; one that is extended is none.
func TestShorteningIsAWarning(t *testing.T) {
	for have, want := range map[time.Duration]string{0: "level=WARN", 37 * time.Hour: "level=WARN", 35 * time.Hour: "level=INFO"} {
		var log bytes.Buffer
		c := &Client{set: &Settings{retain: 36 * time.Hour, asked: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		if !c.keeps(have) || !strings.Contains(log.String(), want) {
			t.Errorf("%v: %s, want %s", have, log.String(), want)
		}
	}
}

// An answer to a post that ends within its text is an error.
func TestAnswerToAPostIsCut(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("partial"))
	}))
	defer s.Close()
	c, err := New(Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if status, _, answer, err := c.Write(t.Context(), 0, nil, false); err == nil {
		t.Errorf("%d, %q", status, answer)
	}
}
