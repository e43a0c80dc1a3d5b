package client

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

func TestConfigDefaults(t *testing.T) {
	s, err := Config{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if s.Base.String() != DefaultURL || s.v2 || !s.MayCreate || !s.KeepsHistory || s.Compress || s.Database != "ipfsmon" ||
		s.retain != 168*time.Hour || s.FlushEvery != time.Second || s.RequestTimeout != 30*time.Second || s.BatchSize != 5000 || s.QueueBytes != 64<<20 {
		t.Errorf("defaults are %+v", s)
	}
	s, err = Config{URL: "https://influx.example/path", Org: "o", Token: "t"}.resolve()
	if err != nil || !s.v2 || !s.Compress || s.bucket(schema.History) != "ipfsmon/history" || s.bucket(schema.Totals) != "ipfsmon/totals" {
		t.Errorf("API 2: %v, %+v", err, s)
	}
}

// All errors are reported together, with their keys and what is wanted.
func TestConfigErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(c Config, want ...string) {
		t.Helper()
		err := c.Validate()
		if err == nil {
			t.Errorf("%+v: no error, want %q", c, want)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not contain %q", err, w)
			}
		}
	}
	f(Config{URL: "influx:8086"}, "URL: ", "http://host:port")
	f(Config{URL: "ftp://influx"}, "URL: ", "http://host:port")
	f(Config{URL: "http://user:secret@influx"}, "URL: ", "PasswordFile")
	f(Config{URL: "http://influx/?db=x"}, "URL: ", "query")
	for _, u := range []string{"udp://influx", "udp://:8089", "udp://influx:0", "udp://influx:99999", "udp://influx:8089/db", "udp://influx:8089?totals=x",
		"udp://influx:8089?db=x", "udp://u:secret@influx:8089"} {
		f(Config{URL: u}, "URL: ", "udp://host:port?totals=port")
	}
	f(Config{URL: "file:relative"}, "URL: ", "file:///path")
	f(Config{URL: "file://host/path"}, "URL: ", "file:///path")
	f(Config{URL: "file:///folder/"}, "URL: ", "file:///path")
	f(Config{URL: "stdout://x"}, "URL: ", "stdout:")
	f(Config{URL: "stdout:", Username: "u"}, "URL: ", "http and https")
	f(Config{URL: "udp://influx:8089", Org: "o", Token: "t"}, "URL: ", "http and https")
	f(Config{URL: "udp://influx:8089", UDPRate: 1}, "UDPRate: ", "100 to 10000000")
	f(Config{SpoolDir: "spool", SpoolMaxBytes: 1, SpoolMaxAge: "1s", SpoolSyncEvery: "2m"}, "SpoolDir: ", "absolute", "SpoolMaxBytes: 1", "SpoolMaxAge: ", "SpoolSyncEvery: ")
	f(Config{Version: "4"}, `Version: "4"`)
	f(Config{Version: "1", Token: "t"}, "Version: ")
	f(Config{Version: "2"}, "Org: missing", "Token: missing")
	f(Config{Org: "o", Token: "t", Username: "u"}, "Username: ")
	f(Config{Org: "o", Token: "t", TokenFile: empty}, "TokenFile: set beside", "is empty")
	f(Config{Org: "o", Token: "two words"}, "Token: ")
	f(Config{Password: "p"}, "Username: missing")
	f(Config{Username: "u", PasswordFile: filepath.Join(dir, "none")}, "PasswordFile: ", "no such file")
	f(Config{Database: `a"b`}, "Database: ", "quotes")
	f(Config{Database: "a/b"}, "Database: ", "slashes")
	f(Config{HistoryRetention: "7 days"}, "HistoryRetention: ", "want a duration from 1h")
	f(Config{HistoryRetention: "1m", FlushInterval: "1ms", Timeout: "soon"}, "HistoryRetention: ", "FlushInterval: ", "Timeout: ")
	f(Config{BatchSize: -1, QueueBytes: 5, Gzip: "yes"}, "BatchSize: -1", "QueueBytes: 5", `Gzip: "yes"`)
	if err := (Config{URL: "http://user:secret@influx"}).Validate(); strings.Contains(err.Error(), "secret") {
		t.Errorf("the error contains the password: %v", err)
	}
	if err := (Config{URL: "http://user:secret@in flux"}).Validate(); strings.Contains(err.Error(), "secret") {
		t.Errorf("the error contains the password: %v", err)
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	for k, v := range map[string]string{
		"IPFSMON_INFLUXDB_URL": "http://10.0.0.1:8086", "IPFSMON_INFLUXDB_TOKEN_FILE": "/run/token", "IPFSMON_INFLUXDB_BATCH_SIZE": "100",
		"IPFSMON_INFLUXDB_CREATE_DATABASE": "false", "IPFSMON_INFLUXDB_HISTORY_RETENTION": "48h",
		"USERNAME": "somebody", "TOKEN": "of another program", "PASSWORD": "x", "URL": "http://elsewhere",
	} {
		t.Setenv(k, v)
	}
	var c Config
	if err := envconfig.Process("IPFSMON_INFLUXDB", &c); err != nil {
		t.Fatal(err)
	}
	no := false
	want := Config{URL: "http://10.0.0.1:8086", TokenFile: "/run/token", BatchSize: 100, CreateDatabase: &no, HistoryRetention: "48h"}
	got, _ := json.Marshal(c)
	exp, _ := json.Marshal(want)
	if string(got) != string(exp) {
		t.Errorf("got %s, want %s", got, exp)
	}
}
