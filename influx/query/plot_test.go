package query

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

func TestPlot(t *testing.T) {
	var b strings.Builder
	p := NewPlot(&b, 60)
	num := func(s string) any { return json.Number(s) }
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(p.Series("wants", []client.Label{{Key: "direction", Value: "received"}}, []string{"time", "wants"}))
	for _, r := range [][]any{{"2026-01-02T03:00:00Z", num("0")}, {"2026-01-02T03:01:00Z", num("40")}, {"2026-01-02T03:02:00Z", nil}, {"2026-01-02T03:03:00Z", num("80000")}} {
		do(p.Row(r))
	}
	for _, agent := range []string{"kubo\x1b[31m", strings.Repeat("x", 500)} {
		do(p.Series("agents", []client.Label{{Key: "agent", Value: agent}}, []string{"time", "peers"}))
		do(p.Row([]any{"1970-01-01T00:00:00Z", num("7")}))
	}
	do(p.Series("top", nil, []string{"time", "wants", "cid"}))
	do(p.Row([]any{"2026-01-02T03:00:00Z", num("14"), "Qm1"}))
	do(p.Row([]any{"2026-01-02T03:01:00Z", num("3.5"), "Qm2"}))
	do(p.Close())
	got := b.String()
	for _, want := range []string{"received  from 0 to 80k, last 80k\n▁▁ █\n01-02 03:00 01-02 03:03\n", "kubo\uFFFD[31m", "x…", "     14 ██", "Qm2", "    3.5 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if utf8.RuneCountInString(line) > 62 {
			t.Errorf("a line of %d characters: %s", utf8.RuneCountInString(line), line)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Error("an escape reaches the terminal")
	}
	b.Reset()
	p = NewPlot(&b, 80)
	do(p.Series("m", nil, []string{"time", "of", "n"})) // with the same label, a line
	do(p.Row([]any{"2026-01-02T03:00:00Z", "x", num("1")}))
	do(p.Row([]any{"2026-01-02T03:01:00Z", "x", num("8")}))
	do(p.Close())
	if got := b.String(); !strings.HasPrefix(got, "x  from 1 to 8, last 8\n▂█\n") {
		t.Error(got)
	}
	b.Reset()
	p = NewPlot(&b, 80)
	do(p.Close())
	if b.String() != "(nothing to plot)\n" {
		t.Errorf("%q", b.String())
	}
}
