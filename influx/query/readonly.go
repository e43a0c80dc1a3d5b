package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/influxdata/influxql"
)

// ReadsOnly returns an error that names the part of a statement that writes, or may write: in
// InfluxQL anything but SELECT without INTO, SHOW and EXPLAIN; in Flux to(), similar functions,
// and packages that reach other servers. A statement that cannot be parsed is judged by its
// keywords.
func ReadsOnly(statement string, flux bool) error {
	if flux {
		return fluxReadsOnly(statement)
	}
	q, err := influxql.ParseQuery(statement)
	if err != nil { // the server reports the error
		words := words(statement)
		for i, w := range words {
			if (i == 0 || words[i-1].text == ";") && slices.Contains([]string{"alter", "create", "delete", "drop", "grant", "kill", "revoke", "set"}, w.text) {
				return fmt.Errorf("%s changes what is stored, or who may do what", strings.ToUpper(w.text))
			}
			if w.text == "into" {
				return errors.New("SELECT ... INTO writes")
			}
		}
		return nil
	}
	for _, s := range q.Statements {
		if e, ok := s.(*influxql.ExplainStatement); ok {
			s = e.Statement
		}
		if s, ok := s.(*influxql.SelectStatement); ok {
			if s.Target != nil {
				return errors.New("SELECT ... INTO writes")
			}
			continue
		}
		text := words(s.String())
		if len(text) == 0 || text[0].text != "show" {
			return fmt.Errorf("%s changes what is stored, or who may do what", firstWords(text))
		}
	}
	return nil
}

// firstWords returns the first two words of a statement, as in DROP MEASUREMENT.
func firstWords(words []word) string {
	var out []string
	for _, w := range words[:min(2, len(words))] {
		if w.text[0] != '"' && w.text[0] != '\'' {
			out = append(out, strings.ToUpper(w.text))
		}
	}
	return strings.Join(out, " ")
}

// Flux packages that only compute, or read the buckets of the queried server.
var fluxReads = strings.Fields(`array bitwise date date/boundaries dict experimental experimental/aggregate experimental/array
	experimental/bitwise experimental/date/boundaries experimental/geo experimental/json experimental/query experimental/table
	experimental/oee experimental/universe generate influxdata/influxdb influxdata/influxdb/sample influxdata/influxdb/schema
	influxdata/influxdb/v1 interpolate join json math planner profiler regexp runtime strings system timezone types universe`)

// Functions in these packages that write, or reach another server.
var fluxWrites = []string{"to", "wideTo"}

func fluxReadsOnly(text string) error {
	after := "" // the token before
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '/' && strings.HasPrefix(text[i:], "//"):
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end
			} else {
				i = len(text)
			}
			continue
		case c == '"':
			j := i + 1
			for j < len(text) && text[j] != '"' {
				if text[j] == '\\' {
					j++
				}
				j++
			}
			end := min(j, len(text))
			in := text[i+1 : end]
			if (after == "import" || importAlias(text[:i])) && !slices.Contains(fluxReads, in) {
				return fmt.Errorf("the package %q writes, or reaches other servers", in)
			}
			for _, part := range strings.Split(in, "${")[1:] { // ${...} in a string is an expression
				expression, _, _ := strings.Cut(part, "}")
				if err := fluxReadsOnly(expression); err != nil {
					return err
				}
			}
			i, after = end+1, `"`
			continue
		case letter(c):
			j := i
			for j < len(text) && (letter(text[j]) || text[j] >= '0' && text[j] <= '9') {
				j++
			}
			name := text[i:j]
			rest := strings.TrimLeft(text[j:], " \t\r\n")
			// A name before a colon names a parameter or a column.
			if slices.Contains(fluxWrites, name) && !strings.HasPrefix(rest, ":") {
				return fmt.Errorf("%s() writes", name)
			}
			i, after = j, name
			continue
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			after = string(c)
		}
		i++
	}
	return nil
}

// importAlias reports whether text ends in an import with an alias: import e
func importAlias(text string) bool {
	fields := strings.Fields(text)
	n := len(fields)
	return n >= 2 && fields[n-2] == "import"
}

func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
