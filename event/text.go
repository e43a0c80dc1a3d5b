package event

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a string that may be shown, stored and sent anywhere: valid UTF-8,
// without control characters, line breaks, bidirectional overrides or
// invisible characters, and of bounded length. Clean is the only way to make
// one from what a peer sent. It is not escaped: every format still has to
// escape it.
type Text string

// replacement takes the place of each byte or rune that Clean removes, so that
// two different strings rarely become equal.
const replacement = '\uFFFD'

// Clean returns a Text of at most limit bytes. Bytes and runes that a Text must
// not have become U+FFFD; a text that is too long is cut between two runes and
// ends in "…". The common case, a short printable ASCII string, is returned
// unchanged and without an allocation.
func Clean(raw string, limit int) Text {
	if len(raw) <= limit && printableASCII(raw) {
		return Text(raw)
	}
	var b strings.Builder
	marks := 0
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRuneInString(raw[i:])
		switch {
		case r == utf8.RuneError && size <= 1, !visible(r):
			r = replacement
		case unicode.Is(unicode.M, r):
			// Many combining marks in a row draw over the lines above and below.
			if marks++; marks > 2 {
				i += size
				continue
			}
		default:
			marks = 0
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			return Text(cut(b.String(), limit))
		}
		b.WriteRune(r)
		i += size
	}
	return Text(b.String())
}

// cut ends s with "…" within limit bytes; a limit too small for that yields "".
func cut(s string, limit int) string {
	const dots = "…"
	if limit < len(dots) {
		return ""
	}
	for len(s) > limit-len(dots) {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s + dots
}

func printableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// visible reports whether a Text may have the rune. It must be printable as Go
// defines it (letters, marks, numbers, punctuation, symbols and the ASCII
// space). That excludes controls (C), bidirectional and zero-width characters
// (Cf), other spaces (Z), private use and unassigned code points. Variation
// selectors and invisible letters are printable by class but draw nothing: they
// are excluded too.
func visible(r rune) bool {
	if !unicode.IsPrint(r) {
		return false
	}
	return !unicode.Is(unicode.Variation_Selector, r) &&
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
