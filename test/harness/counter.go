package harness

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Counter is an InfluxDB that counts the lines it is sent, each once.
type Counter struct {
	mu    sync.Mutex
	Lines map[string]bool
}

func (c *Counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/query") {
		_, _ = io.WriteString(w, `{"results":[{"statement_id":0}]}`) // the client sees what is missing
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return // the connection has ended
	}
	c.mu.Lock()
	for line := range strings.Lines(string(b)) {
		c.Lines[line] = true
	}
	c.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (c *Counter) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.Lines)
}
