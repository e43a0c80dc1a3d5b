// Package textout makes text from elsewhere fit for a terminal. What peers,
// nodes, servers and files say may hold escape sequences that move the cursor,
// set the title or send keys; event.Clean says what may stay.
package textout

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ipfsmon/ipfsmon/event"
)

// maxLine is the most bytes of a line of Lines.
const maxLine = 16 << 10

// Line is one line without anything that a terminal obeys, of at most limit
// bytes.
func Line(s string, limit int) string { return string(event.Clean(s, limit)) }

// Lines is the same for a text of several lines, such as an error that quotes a
// server: line breaks and tabs stay.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		cells := strings.Split(line, "\t")
		for j, cell := range cells {
			cells[j] = Line(cell, maxLine)
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}

// ID is an identifier as it is, if it is printable ASCII without spaces, and
// else its bytes in hex, as 0x1b5d: two that differ are never shown as one.
func ID(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return "0x" + hex.EncodeToString([]byte(s))
		}
	}
	return s
}

// Message cleans every text in a message, and in the messages in it, for
// tables: bytes fields are left alone, text becomes one line.
func Message(m proto.Message, limit int) { clean(m.ProtoReflect(), limit) }

func clean(m protoreflect.Message, limit int) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		text := f.Kind() == protoreflect.StringKind
		inside := f.Kind() == protoreflect.MessageKind || f.Kind() == protoreflect.GroupKind
		switch {
		case f.IsMap():
			clear := false
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if value := f.MapValue(); value.Kind() == protoreflect.MessageKind {
					clean(v.Message(), limit)
				} else if value.Kind() == protoreflect.StringKind {
					m.Mutable(f).Map().Set(k, protoreflect.ValueOfString(Line(v.String(), limit)))
				}
				clear = clear || f.MapKey().Kind() == protoreflect.StringKind && Line(k.String(), limit) != k.String()
				return true
			})
			if clear {
				m.Clear(f) // keys of ours never need it
			}
		case f.IsList() && text:
			for i := range v.List().Len() {
				v.List().Set(i, protoreflect.ValueOfString(Line(v.List().Get(i).String(), limit)))
			}
		case f.IsList() && inside:
			for i := range v.List().Len() {
				clean(v.List().Get(i).Message(), limit)
			}
		case text:
			m.Set(f, protoreflect.ValueOfString(Line(v.String(), limit)))
		case inside && !f.IsList():
			clean(v.Message(), limit)
		}
		return true
	})
}

// ForTerminal is a writer to f that a terminal can be given anything through;
// a file or a pipe gets every byte as it is. close writes what is left.
func ForTerminal(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return NewWriter(f)
	}
	return f
}

// NewWriter returns a writer to w that lets pass printable text, line breaks
// and tabs, and puts U+FFFD in the place of anything else. It is the last gate
// of a command's whole output; cells of a table are cleaned before, so that
// nothing in them begins a line. A rune that is split between two writes
// arrives whole.
func NewWriter(w io.Writer) io.Writer { return &writer{w: w} }

type writer struct {
	w    io.Writer
	held []byte // the begin of a rune
}

func (c *writer) Write(b []byte) (int, error) {
	data := append(c.held, b...)
	c.held = nil
	var out strings.Builder
	for len(data) > 0 {
		if !utf8.FullRune(data) {
			c.held = append([]byte{}, data...)
			break
		}
		r, size := utf8.DecodeRune(data)
		if r == '\n' || r == '\t' {
			out.WriteByte(byte(r))
		} else {
			out.WriteString(Line(string(data[:size]), utf8.UTFMax))
		}
		data = data[size:]
	}
	if _, err := io.WriteString(c.w, out.String()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// JSON returns a writer to w for JSON: what a terminal might obey is written as
// \uXXXX, which says the same to a program. Writes are of whole runes.
func JSON(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case r == '\n' || r == '\t' || r < 0x7f && r >= ' ' || Line(string(r), utf8.UTFMax) == string(r):
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(j.w, out.String()); err != nil {
		return 0, err
	}
	return len(b), nil
}
