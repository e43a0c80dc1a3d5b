package event

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a string that may be shown, stored and sent anywhere: valid UTF-8,
// without control characters, line breaks, bidirectional overrides or
// invisible characters, and of bounded length. Clean is the only way to make
// one from what a peer sent. It is not escaped: each format still escapes it
// in its own way.
type Text string

// replacement stands for each byte or rune that Clean takes out, so that two
// different strings seldom become one.
const replacement = '\uFFFD'

// Clean makes a Text of at most limit bytes from anything. What is not allowed
// becomes U+FFFD; what is too long is cut at a rune's border and ends in "…".
// The common case, a short printable ASCII string, is returned as it is
// without an allocation.
func Clean(raw string, limit int) Text {
	if len(raw) <= limit && plain(raw) {
		return Text(raw)
	}
	var b strings.Builder
	marks := 0
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRuneInString(raw[i:])
		switch {
		case r == utf8.RuneError && size <= 1, !allowed(r):
			r = replacement
		case unicode.Is(unicode.M, r):
			// A flood of combining marks draws over its neighbours.
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

func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// allowed says whether a rune may stay: printable as Go has it (letters,
// marks, numbers, punctuation, symbols and the ASCII space), which leaves out
// controls (C), bidirectional and zero-width characters (Cf), other spaces
// (Z), private use and unassigned; and no variation selectors or invisible
// letters, which are printable by class but draw nothing.
func allowed(r rune) bool {
	if !unicode.IsPrint(r) {
		return false
	}
	return !unicode.Is(unicode.Variation_Selector, r) &&
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
