package delivery

import (
	"bytes"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// tagValue is a value of a tag of a measurement.
type tagValue struct{ measurement, tag, value string }

// fullTag matches the message of InfluxDB 1.x that it accepts no more values of a tag; its
// three texts are quoted as in Go (tsdb/index/inmem).
var fullTag = regexp.MustCompile(`max-values-per-tag limit exceeded \(\d+/\d+\): measurement=("(?:[^"\\]|\\.)*") tag=("(?:[^"\\]|\\.)*") value=("(?:[^"\\]|\\.)*")`)

// parseFull returns the value that a server refused.
func parseFull(said string) (v tagValue, ok bool) {
	m := fullTag.FindStringSubmatch(said)
	if m == nil {
		return v, false
	}
	for i, to := range []*string{&v.measurement, &v.tag, &v.value} {
		var err error
		if *to, err = strconv.Unquote(m[i+1]); err != nil {
			return v, false
		}
	}
	return v, true
}

// tagCap holds the values that one server has refused. They are remembered because the queue
// may hold more lines with them.
type tagCap struct {
	tell func(tagValue) // to the encoder

	mu     sync.RWMutex
	values map[tagValue]bool
}

// add remembers a value. It reports whether replacing it can help: it belongs to an open tag
// and is not "others" itself.
func (f *tagCap) add(v tagValue) bool {
	if v.value == schema.Others || !schema.OpenTag(v.measurement, v.tag) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.values == nil {
		f.values = make(map[tagValue]bool)
	}
	if !f.values[v] && f.tell != nil {
		f.tell(v)
	}
	f.values[v] = true
	return true
}

// regroup returns the lines with each refused value replaced by "others", and the number of
// changed lines; without a change it returns lines itself. A changed line gets a different
// time, up to a tenth of a second later and always the same for the same line, because a line
// with "others" may exist at its time already.
func (f *tagCap) regroup(lines []byte) ([]byte, int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if len(f.values) == 0 {
		return lines, 0
	}
	var out []byte
	n, kept := 0, 0 // kept: of lines, what is in out
	at := 0
	for line := range bytes.Lines(lines) {
		if changed := f.line(line); changed != nil {
			out = append(append(out, lines[kept:at]...), changed...)
			kept = at + len(line)
			n++
		}
		at += len(line)
	}
	if n == 0 {
		return lines, 0
	}
	return append(out, lines[kept:]...), n
}

// line returns the line with its refused value replaced, or nil if it has no refused value.
func (f *tagCap) line(line []byte) []byte {
	key := line[:unescaped(line, ' ')]
	fields := bytes.LastIndexByte(line, ' ')
	comma := unescaped(key, ',')
	measurement := string(key[:comma])
	for from := comma + 1; from < len(key); {
		end := from + unescaped(key[from:], ',')
		tag, value, _ := strings.Cut(string(key[from:end]), "=")
		v := tagValue{measurement, tag, tagUnescaper.Replace(value)}
		if !f.values[v] {
			from = end + 1
			continue
		}
		stamp, err := strconv.ParseInt(strings.TrimSuffix(string(line[fields+1:]), "\n"), 10, 64)
		if err != nil {
			return nil // not a line of ours
		}
		h := fnv.New64a()
		h.Write([]byte(v.value)) // never fails
		out := append([]byte(nil), key[:from]...)
		out = append(append(out, tag...), "="+schema.Others...)
		out = append(out, line[end:fields+1]...)
		return append(strconv.AppendInt(out, stamp+1+int64(h.Sum64()%1e8), 10), '\n')
	}
	return nil
}

var tagUnescaper = strings.NewReplacer(`\,`, ",", `\=`, "=", `\ `, " ")

// unescaped returns the index of the first such byte without a backslash before it, or the
// length.
func unescaped(b []byte, c byte) int {
	for i := range b {
		if b[i] == c && (i == 0 || b[i-1] != '\\') {
			return i
		}
	}
	return len(b)
}
