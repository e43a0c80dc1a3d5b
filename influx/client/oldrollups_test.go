package client

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestOldTasks: tasks of an earlier version are found by their names and removed, and no others. The server is a
// stand-in: an InfluxDB 2 that runs tasks needs a Flux engine, which cannot be built here.
func TestOldTasks(t *testing.T) {
	var mu sync.Mutex
	tasks := map[string]string{"1": "ipfsmon wants_1m", "2": "ipfsmon latency_1h", "3": "somebody's"}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch id, one := strings.CutPrefix(r.URL.Path, "/api/v2/tasks/"); {
		case r.Method == http.MethodDelete && one:
			delete(tasks, id)
			w.WriteHeader(http.StatusNoContent)
		case r.Method == http.MethodGet && r.URL.Path == "/api/v2/tasks":
			found := []map[string]any{}
			for id, name := range tasks {
				if name == r.URL.Query().Get("name") && r.URL.Query().Get("org") == "o" {
					found = append(found, map[string]any{"id": id, "orgID": "1", "name": name, "flux": "x"})
				}
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"tasks": found})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	c, err := New(Config{URL: s.URL, Org: "o", Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	old, err := c.OldRollups(t.Context())
	slices.Sort(old.Names)
	if err != nil || !slices.Equal(old.Names, []string{"ipfsmon latency_1h", "ipfsmon wants_1m"}) || old.Statement != "" {
		t.Fatalf("%v, %+v", err, old)
	}
	if err := c.RemoveOldRollups(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if len(tasks) != 1 || tasks["3"] == "" {
		t.Errorf("left are %v", tasks)
	}
	if old, err := c.OldRollups(t.Context()); err != nil || len(old.Names) > 0 {
		t.Errorf("afterwards: %v, %+v", err, old)
	}
}
