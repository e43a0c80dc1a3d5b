package harness

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// StartInfluxDB16 runs Debian's InfluxDB 1.6.7 as startInfluxDB1 does.
func StartInfluxDB16(t *testing.T, data ...string) (address, authorization string) {
	t.Helper()
	program, err := exec.LookPath("influxd")
	require.NoError(t, err, "InfluxDB 1.6.7 is missing; on Debian: apt-get install --no-install-recommends influxdb")
	version, err := exec.Command(program, "version").CombinedOutput()
	require.NoError(t, err, string(version))
	require.Contains(t, string(version), "InfluxDB v1.6.7", "%s is of another version", program)
	return startInfluxDB1(t, program, data...)
}

// startInfluxDB1 runs an InfluxDB 1.x on loopback until the test's
// end, which asks everyone for a password. The administrator's authorization is
// what it returns besides the address. data are settings of its storage in place of
// an index on disk; those that begin with "http " are of its server.
func startInfluxDB1(t *testing.T, program string, data ...string) (address, authorization string) {
	t.Helper()
	var server, storage []string
	for _, d := range data {
		if s, ok := strings.CutPrefix(d, "http "); ok {
			server = append(server, s)
		} else {
			storage = append(storage, d)
		}
	}
	if storage == nil {
		storage = []string{`index-version = "tsi1"`}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "influxdb.conf")
	// What switches reporting off is called reporting-disabled upstream, and
	// reporting-enabled in Debian's build. The one ignores the other's name.
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
reporting-disabled = true
reporting-enabled = false
bind-address = "127.0.0.1:0"
[meta]
  dir = %[1]q
[data]
  dir = %[2]q
  wal-dir = %[3]q
  %[4]s
[http]
  bind-address = "127.0.0.1:0"
  auth-enabled = true
  log-enabled = false
  %[5]s
[monitor]
  store-enabled = false
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), strings.Join(storage, "\n  "), strings.Join(server, "\n  ")), 0o600))
	p := Launch(t, WithoutInflux(dir), program, "-config", file)
	address = "http://" + p.Find(`Listening on HTTP.* addr=(127\.0\.0\.1:\d+)`)
	status, body := Request(t, "POST", address+"/query?"+url.Values{
		"q": {"CREATE USER admin WITH PASSWORD 'of-the-test' WITH ALL PRIVILEGES"},
	}.Encode(), "", "")
	require.Equal(t, 200, status, string(body))
	return address, "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:of-the-test"))
}

// NewInfluxDB16 runs Debian's InfluxDB as StartInfluxDB16 does and returns it with user
// monitor, whose sink has a spool.
func NewInfluxDB16(t *testing.T, data ...string) *Database {
	t.Helper()
	address, admin := StartInfluxDB16(t, data...)
	d := &Database{Secret: "of the monitor", SecretFile: filepath.Join(t.TempDir(), "password"), Authorization: admin}
	require.NoError(t, os.WriteFile(d.SecretFile, []byte(d.Secret), 0o600))
	d.Config = influx.Config{URL: address, Username: "monitor", PasswordFile: d.SecretFile, FlushInterval: "100ms", SpoolDir: filepath.Join(t.TempDir(), "spool")}
	d.Ask(t, "CREATE USER monitor WITH PASSWORD '"+d.Secret+"' WITH ALL PRIVILEGES")
	return d
}

// StartInfluxDB113 runs InfluxDB 1.13.2, built from its module, as startInfluxDB1 does.
func StartInfluxDB113(t *testing.T, data ...string) (address, authorization string) {
	t.Helper()
	return startInfluxDB1(t, buildInfluxDB(t, "1.13.2"), data...)
}

// BuildInfluxDB2 returns the InfluxDB 2.9.1 that test/influxdb/build.sh builds.
func BuildInfluxDB2(t *testing.T) string {
	t.Helper()
	return buildInfluxDB(t, "2.9.1")
}

// buildInfluxDB returns an InfluxDB that test/influxdb/build.sh builds, once for
// all runs: it takes minutes.
func buildInfluxDB(t *testing.T, version string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	out := filepath.Join(cache, "ipfsmon", "influxd-"+version)
	build := exec.Command(Root+"/test/influxdb/build.sh", version, out)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run(), "build InfluxDB %s", version)
	return out
}

// StartInfluxDB2 runs InfluxDB 2.9.1 on loopback until the test's end and
// returns its address, its organisation and a token with all rights. It
// has a bucket "initial", which its set-up asks for, and none of ours.
func StartInfluxDB2(t *testing.T) (address, org, token string) {
	t.Helper()
	program, dir := BuildInfluxDB2(t), t.TempDir()
	p := Launch(t, WithoutInflux(dir), program, "--http-bind-address", "127.0.0.1:0", "--reporting-disabled",
		"--bolt-path", filepath.Join(dir, "bolt"), "--sqlite-path", filepath.Join(dir, "sqlite"), "--engine-path", filepath.Join(dir, "engine"))
	address, org = "http://127.0.0.1:"+p.Find(`service=tcp-listener.* port=(\d+)`), "ipfsmon"

	var answer struct{ Auth struct{ Token string } }
	status, body := Request(t, "POST", address+"/api/v2/setup", "",
		`{"username": "admin", "password": "of-the-test", "org": "`+org+`", "bucket": "initial"}`)
	Decode(t, 201, status, body, &answer)
	return address, org, answer.Auth.Token
}

// Database is a real InfluxDB with the facts that a test needs.
type Database struct {
	Config        influx.Config // for the sink, with the secret in a file
	SecretFile    string        // the file
	Secret        string        // what belongs into it
	Rotate        func() string // makes the server refuse the secret, returns a new one
	Authorization string        // header of a user who may do everything
}

// Call makes a request as a user who may do everything and returns the status
// and the answer's body.
func (d *Database) Call(t *testing.T, method, path string, params url.Values, body string) (int, []byte) {
	t.Helper()
	return Request(t, method, d.Config.URL+path+"?"+params.Encode(), d.Authorization, body)
}

func Request(t *testing.T, method, url, authorization, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, b
}

// Ask runs InfluxQL and returns the rows of all series by column name.
func (d *Database) Ask(t *testing.T, statement string) []map[string]any {
	t.Helper()
	name := d.Config.Database
	if name == "" {
		name = client.DefaultDatabase
	}
	status, body := d.Call(t, "POST", "/query", url.Values{"db": {name}, "q": {statement}, "org": {d.Config.Org}}, "")
	require.Equal(t, 200, status, "%s: %s", statement, body)
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	require.NoError(t, json.Unmarshal(body, &answer), string(body))
	var rows []map[string]any
	for _, r := range answer.Results {
		require.Empty(t, r.Error, statement)
		for _, s := range r.Series {
			for _, values := range s.Values {
				row := map[string]any{}
				for i, c := range s.Columns {
					row[c] = values[i]
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// WithoutInflux is a process environment with its own home and none of
// the settings that InfluxDB takes from its environment.
func WithoutInflux(home string) []string {
	var env []string
	for _, e := range Environ(home) {
		if !strings.HasPrefix(e, "INFLUX") {
			env = append(env, e)
		}
	}
	return env
}

// Counted checks that the server has exactly so many points of each measurement that is written
// without rollups.
func (d *Database) Counted(t *testing.T, want map[string]int) {
	t.Helper()
	for _, m := range schema.All {
		if m.OfRollups() {
			continue
		}
		froms := []string{m.Kind.String() + "." + m.Name, "ipfsmon." + m.Kind.String() + "." + m.Name}
		if m.Kind == schema.History {
			froms = append(froms, m.Name) // the default
		}
		for _, from := range froms {
			rows := d.Ask(t, "SELECT count(*) FROM "+from)
			require.Len(t, rows, 1, from)
			for _, f := range m.Fields {
				require.EqualValues(t, want[m.Name], rows[0]["count_"+f.Key], "count(%s) of %s", f.Key, from)
			}
		}
	}
}

// Decode reads a JSON answer of the wanted status.
func Decode(t *testing.T, want, status int, body []byte, into any) {
	t.Helper()
	require.Equal(t, want, status, string(body))
	require.NoError(t, json.Unmarshal(body, into), string(body))
}
