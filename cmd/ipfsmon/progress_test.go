package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/query"
)

// safeBuffer may be written to and read by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestProgress(t *testing.T) {
	for _, same := range []bool{true, false} {
		var screen, answer safeBuffer
		out, err := query.NewOutput("csv", &answer)
		if err != nil {
			t.Fatal(err)
		}
		p := newProgress(&screen, out, same)
		time.Sleep(progressAfter + 3*progressEvery)
		if !strings.Contains(screen.String(), "querying, 0 s, 0 rows") {
			t.Errorf("after %v the screen shows %q", progressAfter, screen.String())
		}
		if err := p.Series("m", nil, []string{"a"}); err != nil {
			t.Fatal(err)
		}
		if gone := strings.HasSuffix(screen.String(), "\r\x1b[K"); gone != same {
			t.Errorf("answer on the same terminal %v: the line is gone %v", same, gone)
		}
		if err := p.Row([]any{"x"}); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p.stop()
		if !strings.HasSuffix(screen.String(), "\r\x1b[K") || answer.String() != "measurement,a\nm,x\n" {
			t.Errorf("screen %q, answer %q", screen.String(), answer.String())
		}
	}
	// A quick answer shows nothing.
	var screen, answer safeBuffer
	out, err := query.NewOutput("csv", &answer)
	if err != nil {
		t.Fatal(err)
	}
	p := newProgress(&screen, out, true)
	p.stop()
	if screen.String() != "" {
		t.Errorf("screen %q", screen.String())
	}
}
