package query

import (
	"strings"
	"testing"
)

func TestReadsOnly(t *testing.T) {
	reads := func(statement string, flux bool) {
		t.Helper()
		if err := ReadsOnly(statement, flux); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	writes := func(statement string, flux bool, want string) {
		t.Helper()
		if err := ReadsOnly(statement, flux); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", statement, err, want)
		}
	}
	for _, q := range Questions {
		for _, s := range []struct {
			text string
			flux bool
		}{{q.InfluxQL, false}, {q.Flux, true}} {
			text, err := Fill(s.text, "1h", "ipfsmon")
			if err != nil {
				t.Fatal(err)
			}
			reads(text, s.flux)
		}
	}
	for _, s := range []string{"SELECT a FROM m; SHOW MEASUREMENTS", "EXPLAIN ANALYZE SELECT a FROM m", "SHOW TAG VALUES WITH KEY = node",
		"SELECT \"into\" FROM m WHERE x = 'DROP SERIES'", "SELEKT a", ""} {
		reads(s, false)
	}
	writes("DROP MEASUREMENT wants", false, "DROP MEASUREMENT")
	writes("drop series from wants", false, "DROP SERIES")
	writes("DELETE FROM wants", false, "DELETE")
	writes("SELECT a FROM m; DROP DATABASE ipfsmon", false, "DROP DATABASE")
	writes("SELECT a INTO b FROM m", false, "INTO")
	writes("EXPLAIN ANALYZE SELECT a INTO b FROM m", false, "INTO")
	writes("CREATE CONTINUOUS QUERY c ON d BEGIN SELECT count(a) INTO b FROM m GROUP BY time(1m) END", false, "CREATE CONTINUOUS")
	writes("ALTER RETENTION POLICY history ON ipfsmon DURATION 1h", false, "ALTER RETENTION")
	writes("GRANT ALL TO reader", false, "GRANT")
	writes("SET PASSWORD FOR reader = 'x'", false, "SET PASSWORD")
	writes("KILL QUERY 3", false, "KILL QUERY")
	writes("SELECT a FROM m !! ; DROP MEASUREMENT wants", false, "DROP")
	writes("SELECT a INTO b FROM m !!", false, "INTO")

	from := `from(bucket: "b") |> range(start: -1h)`
	for _, s := range []string{from, `import "date"` + "\n" + from, `import s "strings"` + "\n" + from,
		from + ` |> map(fn: (r) => ({r with text: "from ${r.a} to ${r.b}", to: 3}))`, "// to(bucket: 1)\n" + from, "//",
		from + ` |> filter(fn: (r) => r.a =~ /to/ and r.b == "to" and r.c !~ /\/to/)`, from + ` |> map(fn: (r) => ({a: "\${to()} ${"}"} to"}))`,
		`import "date"` + "\n" + `a = "http"`, `t = "x"["to2"]`, "a = 1t0\n" + from, `import strings // a comment` + "\n" + `"strings"`, `"to`, `"a\`, `/a\`, `tö = 1`, "to\r\n : 1",
		`"${{a: 1}.a} to"`, `"${{a: {b: 1}}} to ${"}"} to"`, "to0 = to9", "_to = tO", "a = /", "x\n// to"} {
		reads(s, true)
	}
	writes(from+` |> to(bucket: "c")`, true, "to()")
	writes("t = to\n"+from+` |> t(bucket: "c")`, true, "to()")
	writes(`import "experimental"`+"\n"+from+` |> experimental.to(bucket: "c")`, true, "to()")
	writes(`import "influxdata/influxdb"`+"\n"+from+` |> influxdb.wideTo(bucket: "c")`, true, "wideTo()")
	writes(`import "http"`+"\n"+from, true, `"http"`)
	writes(`import h "http"`+"\n"+from, true, `"http"`)
	writes("import\t\"sql\"\n"+from, true, `"sql"`)
	writes(from+` |> map(fn: (r) => ({a: "${to(bucket: "c")}"}))`, true, "to()")
	writes(from+` |> map(fn: (r) => ({a: "x\"${to(bucket: "c")}"}))`, true, "to()")
	writes(from+` |> map(fn: (r) => ({a: "${f(x: {a: 1}, y: to)}"}))`, true, "to()")
	writes(from+` |> map(fn: (r) => ({a: "${f(x: "}", y: to)}"}))`, true, "to()")
	writes(from+` |> map(fn: (r) => ({a: "${"b"} ${to()}"}))`, true, "to()")
	writes(from+` |> filter(fn: (r) => r.a =~ /"/) |> to(bucket: "c")`, true, "to()")
	writes(from+` |> filter(fn: (r) => r.a =~ /\/"/) |> to(bucket: "c")`, true, "to()")
	writes(from+` |> filter(fn: (r) => r.a == 6 / 2 or r.b == (3) / a[1] / "x" / b1 or exists /"/) |> to(bucket: "c") // "`, true, "to()")
	writes(from+` |> map(fn: (r) => ({a: 1} / 2)) |> to(bucket: "c") // /`, true, "to()")
	writes(from+` |> experimental["to"](bucket: "c")`, true, "to()")
	for _, operand := range []string{"0", "9", "a", "z", "A", "Z", "_", "é", "f()", "b[1]", "{c: 1}", `"d"`, "e0", "/f/"} {
		writes(operand+" / 2\nto()", true, "to()") // it divides
	}
	for _, before := range []string{"", "and", "or", "not", "return", "if", "then", "else", "in", "exists", "=", "=~", "(", ",", ":"} {
		writes(before+` /"/ to() //"`, true, "to()") // a regular expression
		reads(before+` / to() /`, true)
	}
	writes("// a comment\nto()", true, "to()")
	writes(`a = 1to(tables: t, bucket: "c")`, true, "to()")
	writes("import h // a comment\n\"http\"\n"+from, true, `"http"`)
	writes("import // a comment\n\"http\"\n"+from, true, `"http"`)
	writes("import é \"http\"\n"+from, true, `"http"`)
	writes(`import "http`, true, `"http"`)
}
