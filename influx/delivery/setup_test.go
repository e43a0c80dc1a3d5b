package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// The database may be missing at the start, or go away: the points wait, the
// error says what to create, and then all are stored.
func TestMissingDatabase(t *testing.T) {
	store := storetest.Start(t)
	f := func(create bool) {
		t.Helper()
		cfg := influxtest.StoreAt(store)
		cfg.Database, cfg.CreateDatabase, cfg.FlushInterval = fmt.Sprint("db", create), &create, "10ms"
		sink, err := newSink(cfg, "n")
		if err != nil {
			t.Fatal(err)
		}
		b := bus.New(bus.Config{})
		r := b.Subscribe("influx")
		b.Live()
		done := make(chan error)
		go func() { done <- sink.Run(context.WithoutCancel(t.Context()), r) }()
		publish := func(from, to uint64) {
			for _, e := range influxtest.Messages(int(to))[from:] {
				b.Publish(e)
			}
			if create {
				influxtest.WaitFor(t, "storing", func() bool { return sink.Stats().Stored == to })
			}
		}
		publish(0, 100)
		if create {
			influxtest.Ask(t, cfg, "DROP DATABASE "+cfg.Database, false)
			publish(100, 200)
		} else {
			influxtest.WaitFor(t, "failure with all points waiting", func() bool { st := sink.Stats(); return st.Failing && st.Queued == 100 })
			if st := sink.Stats(); !strings.Contains(st.LastError, `CREATE DATABASE "dbfalse" WITH DURATION 168h REPLICATION 1 NAME "history"`) ||
				!strings.Contains(st.LastError, `CREATE RETENTION POLICY "totals"`) {
				t.Errorf("stats %+v, want the statements to run", st)
			}
			for _, q := range []string{`CREATE DATABASE "dbfalse" WITH DURATION 168h REPLICATION 1 NAME "history"`, `CREATE RETENTION POLICY "totals" ON "dbfalse" DURATION INF REPLICATION 1`} {
				influxtest.Ask(t, cfg, q, false)
			}
		}
		b.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if st := sink.Stats(); st.Stored != st.Accepted || st.Dropped != 0 {
			t.Errorf("create %v: %+v", create, st)
		}
		if got := influxtest.Ask(t, cfg, "SELECT count(cid) FROM wants", false); !strings.HasSuffix(got, ",100\n") {
			t.Errorf("create %v: counted %q, want 100", create, got)
		}
	}
	f(true)
	f(false)
}

// fake2 implements the part of InfluxDB 2 that set-up needs.
type fake2 struct {
	*httptest.Server
	readOnly bool

	mu      sync.Mutex
	buckets []map[string]any
	dbrps   []map[string]any
	lines   int
}

func (f *fake2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	var body map[string]any
	if r.Method == http.MethodPost && r.URL.Path != "/api/v2/write" || r.Method == http.MethodPatch {
		_ = json.NewDecoder(r.Body).Decode(&body)
		if f.readOnly {
			reply(403, map[string]any{"code": "forbidden", "message": "insufficient permissions"})
			return
		}
	}
	if r.Header.Get("Authorization") != "Token t" {
		reply(401, map[string]any{"code": "unauthorized", "message": "unauthorized access"})
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v2/orgs":
		if r.URL.Query().Get("org") != "acme" {
			reply(404, map[string]any{"code": "not found", "message": "organization name not found"})
			return
		}
		reply(200, map[string]any{"orgs": []any{map[string]any{"id": "0o", "name": "acme"}}})
	case "GET /api/v2/dbrps":
		reply(200, map[string]any{"content": f.dbrps})
	case "GET /api/v2/buckets":
		found := []map[string]any{}
		for _, b := range f.buckets {
			if b["name"] == r.URL.Query().Get("name") {
				found = append(found, b)
			}
		}
		if len(found) == 0 {
			reply(404, map[string]any{"code": "not found", "message": "bucket not found"})
			return
		}
		reply(200, map[string]any{"buckets": found})
	case "POST /api/v2/buckets":
		body["id"] = fmt.Sprint("b", len(f.buckets))
		f.buckets = append(f.buckets, body)
		reply(201, body)
	case "PATCH /api/v2/buckets/b0":
		f.buckets[0]["retentionRules"] = body["retentionRules"]
		reply(200, f.buckets[0])
	case "POST /api/v2/dbrps":
		f.dbrps = append(f.dbrps, body)
		reply(201, body)
	case "POST /api/v2/write":
		for _, b := range f.buckets {
			if b["name"] == r.URL.Query().Get("bucket") {
				f.lines++
				w.WriteHeader(204)
				return
			}
		}
		reply(404, map[string]any{"code": "not found", "message": "bucket not found"})
	default:
		reply(404, map[string]any{"code": "not found", "message": r.Method + " " + r.URL.Path})
	}
}

func TestSetup2(t *testing.T) {
	f := &fake2{}
	f.Server = httptest.NewServer(f)
	defer f.Close()
	cfg := client.Config{URL: f.URL, Org: "acme", Token: "t"}
	for range 2 {
		if err := client.Setup(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	got := fmt.Sprint(f.buckets)
	if len(f.buckets) != 2 || !strings.Contains(got, "ipfsmon/history") || !strings.Contains(got, "ipfsmon/totals") || !strings.Contains(got, "everySeconds:604800") {
		t.Errorf("buckets %v", got)
	}
	if len(f.dbrps) != 2 || f.dbrps[0]["database"] != "ipfsmon" || f.dbrps[0]["retention_policy"] != "history" || f.dbrps[0]["default"] != true || f.dbrps[1]["default"] != false {
		t.Errorf("mappings %v", f.dbrps)
	}
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	retention := func(asked string, want int) {
		t.Helper()
		cfg.HistoryRetention = asked
		log.Reset()
		if err := client.Setup(t.Context(), cfg); err != nil || !strings.Contains(fmt.Sprint(f.buckets[0]), fmt.Sprint("everySeconds:", want)) {
			t.Errorf("%q: %v, history %v", asked, err, f.buckets[0])
		}
	}
	retention("0s", 0)
	retention("", 0)
	if strings.Contains(log.String(), "deletes older points") {
		t.Errorf("nothing is deleted, and the log has a warning:\n%s", log.String())
	}
	retention("24h", 86400)
	if !strings.Contains(log.String(), "the server deletes older points") {
		t.Errorf("history is kept for a shorter time, and the log has:\n%s", log.String())
	}
	retention("", 86400)
	cfg.HistoryRetention = "24h"

	bad := cfg
	bad.Org = "other"
	if err := client.Setup(t.Context(), bad); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("another organisation: %v", err)
	}
	f.readOnly = true
	f.buckets = nil
	err := client.Setup(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), `insufficient permissions`) || !strings.Contains(err.Error(), `influx bucket create --org "acme" --name "ipfsmon/history" --retention 24h`) {
		t.Errorf("without the right to create: %v", err)
	}
	// Writing continues without that right, once the buckets are there.
	time.AfterFunc(300*time.Millisecond, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.buckets = []map[string]any{{"id": "b0", "name": "ipfsmon/history"}, {"id": "b1", "name": "ipfsmon/totals"}}
	})
	st, err := publish(t, cfg, append(influxtest.Messages(10), &event.Event{Kind: event.KindSample, Sample: &event.Sample{}}))
	if err != nil || st.Stored != st.Accepted || f.lines < 2 {
		t.Errorf("%v, %+v, %d requests", err, st, f.lines)
	}
}
