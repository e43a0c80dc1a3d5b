// Package textout makes text from elsewhere safe for a terminal. Text of peers,
// nodes, servers and files may contain escape sequences that move the cursor, set
// the title or send keys. event.Clean defines what is safe.
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

// maxLine is the longest line in the result of Lines, in bytes.
const maxLine = 16 << 10

// Line returns s as one safe line of at most limit bytes.
func Line(s string, limit int) string { return string(event.Clean(s, limit)) }

// Short returns s if it has at most limit characters, else its beginning and "…",
// limit characters in all. limit is at least 1.
func Short(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// Lines is Line for a text of several lines, such as an error that quotes a
// server: it keeps line breaks and tabs.
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

// ID returns an identifier unchanged if it is printable ASCII without spaces, and
// else its bytes in hex, as in 0x1b5d, so that different identifiers never look
// the same.
func ID(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return "0x" + hex.EncodeToString([]byte(s))
		}
	}
	return s
}

// Message cleans every text in a message and in the messages in it, for tables:
// each text becomes one line. Fields of bytes are unchanged.
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
				m.Clear(f) // keys from a monitor are always clean
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

// ForTerminal returns a writer to f. If f is a terminal, everything unsafe is
// replaced; a file or a pipe gets every byte unchanged.
func ForTerminal(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return NewWriter(f)
	}
	return f
}

// NewWriter returns a writer to w that passes printable text, line breaks and
// tabs, and replaces everything else by U+FFFD. It is the last check of a
// command's whole output; cells of a table are cleaned before it, so that they
// cannot contain line breaks. A rune that is split between two writes is joined.
func NewWriter(w io.Writer) io.Writer { return &writer{w: w} }

type writer struct {
	w    io.Writer
	held []byte // the start of a split rune
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

// JSON returns a writer to w for JSON. It writes unsafe runes as \uXXXX, which a
// program reads as the same. A write must not split a rune.
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
