package query

import (
	"errors"
	"strings"
	"testing"
	"time"

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

// The same answer in each format: an empty value, text with quotes, series with tags, and new columns.
func TestFormats(t *testing.T) {
	for format, want := range map[string]string{
		"csv":   "measurement,k,a,b\nm,v,1,\nm,v,\"x\"\"y\",true\nm,w,2,3\n\nc\n4\n",
		"json":  "[\n" + `{"measurement":"m","k":"v","a":1,"b":null}` + ",\n" + `{"measurement":"m","k":"v","a":"x\"y","b":true}` + ",\n" + `{"measurement":"m","k":"w","a":2,"b":3}` + ",\n" + `{"c":4}` + "\n]\n",
		"table": "m  k=v\na    b\n-    -\n1    -\nx\"y  true\n\nm  k=w\na  b\n-  -\n2  3\n\nc\n-\n4\n",
	} {
		var b strings.Builder
		out, err := NewOutput(format, &b)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(out.Series("m", []client.Label{{Key: "k", Value: "v"}}, []string{"a", "b"}), out.Row([]any{num(1), nil}), out.Row([]any{`x"y`, true}),
			out.Series("m", []client.Label{{Key: "k", Value: "w"}}, []string{"a", "b"}), out.Row([]any{num(2), num(3)}), out.Series("", nil, []string{"c"}), out.Row([]any{num(4)}), out.Close())
		if err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", format, err, b.String(), want)
		}
	}
	for format, want := range map[string]string{"csv": "", "json": "[]\n", "table": ""} {
		var b strings.Builder
		out, err := NewOutput(format, &b)
		if err == nil {
			err = out.Close()
		}
		if err != nil || b.String() != want {
			t.Errorf("%s of nothing: %v, %q, want %q", format, err, b.String(), want)
		}
	}
	// More values than columns, as from a server that is none.
	for format, want := range map[string]string{"csv": "a\n1,2\n", "json": "[\n{\"a\":1}\n]\n", "table": "a\n-\n1\n"} {
		var b strings.Builder
		out, err := NewOutput(format, &b)
		if err != nil {
			t.Fatal(err)
		}
		out = InZone(out, time.UTC)
		if err := errors.Join(out.Series("", nil, []string{"a"}), out.Row([]any{num(1), num(2)}), out.Close()); err != nil || b.String() != want {
			t.Errorf("%s: %v, %q, want %q", format, err, b.String(), want)
		}
	}
	// A full disk is an error.
	for _, format := range []string{"csv", "json", "table"} {
		out, err := NewOutput(format, failing{errors.ErrUnsupported})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(out.Series("", nil, []string{"a"}), out.Row([]any{"x"}), out.Close())
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", format, err)
		}
	}
}
