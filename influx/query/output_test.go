package query

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// A peer's agent must not move the cursor of a terminal.
func TestTableIsSafe(t *testing.T) {
	var b strings.Builder
	out, err := NewOutput("table", &b)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(out.Series("a\x1b[2J", []client.Label{{Key: "k", Value: "\x07"}}, []string{"agent"}), out.Row([]any{"\x1b]0;x\x07\r\n\u202e"}), out.Close())
	if err != nil || strings.ContainsAny(b.String(), "\x1b\x07\r\u202e") {
		t.Errorf("%v, %q", err, b.String())
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := NewOutput("xml", nil); err == nil || err.Error() != `format "xml": want table, csv, json or parquet` {
		t.Errorf("format xml: %v", err)
	}
}
