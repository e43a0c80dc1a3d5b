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
	_, err := fluxScan(text, false)
	return err
}

// fluxScan judges Flux up to its end or, in an expression inside a string, up to the brace that ends that. It returns
// what is left.
func fluxScan(text string, inString bool) (rest string, err error) {
	before, last := "", "" // the last two tokens
	for depth := 0; text != ""; {
		c, token := text[0], text[:1]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			text = text[1:]
			continue
		case strings.HasPrefix(text, "//"):
			_, text, _ = strings.Cut(text, "\n")
			continue
		case c == '"':
			in, after, err := fluxString(text[1:])
			if err != nil {
				return "", err
			}
			if (last == "import" || before == "import") && !slices.Contains(fluxReads, in) {
				return "", fmt.Errorf("the package %q writes, or reaches other servers", in)
			}
			if last == "[" && slices.Contains(fluxWrites, in) {
				return "", fmt.Errorf("%s() writes", in)
			}
			text = after
		case c == '/' && !endsOperand(last):
			text = fluxPattern(text[1:])
			token = `"`
		case letter(c):
			token = text[:wordEnd(text)]
			text = text[len(token):]
			// A name before a colon names a parameter or a column.
			if slices.Contains(fluxWrites, token) && !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), ":") {
				return "", fmt.Errorf("%s() writes", token)
			}
		case c == '}' && inString && depth == 0:
			return text[1:], nil
		default:
			switch c {
			case '{':
				depth++
			case '}':
				depth--
			}
			text = text[1:]
		}
		before, last = last, token
	}
	return "", nil
}

// fluxString returns a text up to its closing quote, and what follows that. It judges the expressions in it, ${...}.
func fluxString(text string) (in, rest string, err error) {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case text[i] == '"':
			return text[:i], text[i+1:], nil
		case strings.HasPrefix(text[i:], "${"):
			after, err := fluxScan(text[i+len("${"):], true)
			if err != nil {
				return "", "", err
			}
			i = len(text) - len(after) - 1
		}
	}
	return text, "", nil
}

// fluxPattern returns what follows the slash that ends a regular expression.
func fluxPattern(text string) string {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '/':
			return text[i+1:]
		}
	}
	return ""
}

// endsOperand reports whether a slash after this token divides; else it begins a regular expression.
func endsOperand(token string) bool {
	if token == "" || slices.Contains([]string{"and", "or", "not", "return", "if", "then", "else", "in", "exists"}, token) {
		return false
	}
	c := token[0]
	return letter(c) || c >= '0' && c <= '9' || c == ')' || c == ']' || c == '}' || c == '"'
}

// wordEnd returns the length of the word that a text begins with.
func wordEnd(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r < 0x80 && !letter(byte(r)) && (r < '0' || r > '9') })
	if end < 0 {
		return len(text)
	}
	return end
}

// letter reports whether a byte may begin a word; those of other alphabets do.
func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
