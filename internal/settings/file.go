package settings

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// File is a file with a JSON object. Its errors begin with the file's name and,
// where they are about a line of it, the line: "FILE:LINE: ".
type File struct {
	Path   string
	Object map[string]any // numbers are json.Number
	lines  map[string]int // by the path of a key in lower case, as in a.b.0.c
}

// maxFile bounds a file of settings, in bytes.
const maxFile = 16 << 20

// ReadFile reads a file with one JSON object. A key that is there twice is an
// error: one of its values would be ignored.
func ReadFile(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes", path, maxFile)
	}
	f := &File{Path: path, lines: map[string]int{}}
	p := parser{file: f, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	v, err := p.value("", 0)
	if err == nil {
		if _, more := p.dec.Token(); !errors.Is(more, io.EOF) {
			err = fmt.Errorf("%s: text after the object: want one JSON object", p.here())
		}
	} else if wrong := (*json.SyntaxError)(nil); errors.As(err, &wrong) {
		err = fmt.Errorf("%s: %w: want one JSON object", p.at(wrong.Offset), err)
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s: the file ends early: want one JSON object", p.at(int64(len(data))))
	}
	if err != nil {
		return nil, errors.Join(append(p.errs, err)...)
	}
	object, ok := v.(map[string]any)
	if !ok {
		p.errs = append(p.errs, fmt.Errorf("%s: want an object with settings, got %s", p.at(0), jsonKind(v)))
	}
	f.Object = object
	return f, errors.Join(p.errs...)
}

// parser reads the tokens of a file and remembers the lines of its keys.
type parser struct {
	file *File
	data []byte
	dec  *json.Decoder
	errs []error // of keys that are there twice
}

func (p *parser) at(offset int64) string {
	offset = min(max(offset, 0), int64(len(p.data)))
	return fmt.Sprintf("%s:%d", p.file.Path, 1+bytes.Count(p.data[:offset], []byte("\n")))
}

func (p *parser) here() string { return p.at(p.dec.InputOffset()) }

// maxDepth is how deep objects and lists may be in each other.
const maxDepth = 100

func (p *parser) value(path string, depth int) (any, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: more than %d levels: want fewer", p.here(), maxDepth)
	}
	switch t {
	case json.Delim('{'):
		out, names := map[string]any{}, map[string]string{}
		for p.dec.More() {
			t, err := p.dec.Token()
			if err != nil {
				return nil, err
			}
			key, _ := t.(string) // the decoder accepts nothing else here
			at := join(path, key)
			if _, twice := names[strings.ToLower(key)]; twice {
				p.errs = append(p.errs, fmt.Errorf("%s: %s is there twice: want each key once", p.here(), at))
			} else {
				names[strings.ToLower(key)] = key
				p.file.lines[strings.ToLower(at)] = 1 + bytes.Count(p.data[:p.dec.InputOffset()], []byte("\n"))
			}
			if out[key], err = p.value(at, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = p.dec.Token()
		return out, err
	case json.Delim('['):
		out := []any{}
		for i := 0; p.dec.More(); i++ {
			at := join(path, fmt.Sprint(i))
			item, err := p.value(at, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, item)
			if _, ok := p.file.lines[strings.ToLower(at)]; !ok {
				p.file.lines[strings.ToLower(at)] = 1 + bytes.Count(p.data[:p.dec.InputOffset()], []byte("\n"))
			}
		}
		_, err = p.dec.Token()
		return out, err
	}
	return t, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Located puts the file's name and the line in front of each error that begins
// with the path of a key of the file, as in "a.b: want" or "a: b: want", and sorts
// these by line. Others follow, unchanged.
func (f *File) Located(err error) error {
	type located struct {
		line int
		err  error
	}
	var all []located
	for _, e := range Split(err) {
		line, _ := f.Line(e.Error())
		if line == 0 {
			line = math.MaxInt
		} else {
			e = fmt.Errorf("%s:%d: %w", f.Path, line, e)
		}
		all = append(all, located{line, e})
	}
	slices.SortStableFunc(all, func(a, b located) int { return cmp.Compare(a.line, b.line) })
	var out []error
	for _, l := range all {
		out = append(out, l.err)
	}
	return errors.Join(out...)
}

// Line returns the line of the longest path of a key with which an error's text
// begins, and the length of that path; 0, 0 if the file has none.
func (f *File) Line(text string) (line, length int) {
	text = strings.ToLower(strings.ReplaceAll(text, ": ", "."))
	for path, at := range f.lines {
		if rest, ok := strings.CutPrefix(text, path); ok && len(path) > length && (rest == "" || strings.ContainsAny(rest[:1], ". ")) {
			line, length = at, len(path)
		}
	}
	return line, length
}

// Split returns the errors that errors.Join joined.
func Split(err error) (out []error) {
	if err == nil {
		return nil
	}
	many, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(many.Unwrap()...).Error() != err.Error() { // not of errors.Join
		return []error{err}
	}
	for _, e := range many.Unwrap() {
		out = append(out, Split(e)...)
	}
	return out
}
