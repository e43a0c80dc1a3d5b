package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// shows waits until the screen shows the text.
func shows(t *testing.T, screen *logtest.Buffer, text string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(screen.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the screen shows %q", screen.String())
		}
	}
}

func TestProgress(t *testing.T) {
	for _, same := range []bool{true, false} {
		var screen, answer logtest.Buffer
		out, err := query.NewOutput("csv", &answer)
		if err != nil {
			t.Fatal(err)
		}
		p := newProgress(&screen, out, same)
		shows(t, &screen, "querying, rows: (0) [0s]")
		if err := p.Series("m", nil, []string{"a"}); err != nil {
			t.Fatal(err)
		}
		if gone := strings.HasSuffix(screen.String(), " \r"); gone != same {
			t.Errorf("answer on the same terminal %v: the line is gone %v", same, gone)
		}
		if err := p.Row([]any{"x"}); err != nil {
			t.Fatal(err)
		}
		if !same {
			shows(t, &screen, "querying, rows: (1) [")
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p.stop()
		if !strings.HasSuffix(screen.String(), " \r") || answer.String() != "measurement,a\nm,x\n" {
			t.Errorf("screen %q, answer %q", screen.String(), answer.String())
		}
	}
	// A quick answer shows no progress.
	var screen, answer logtest.Buffer
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
