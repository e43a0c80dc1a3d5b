package event

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := Clean(in, 64); string(got) != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("kubo/0.43.0/desktop", "kubo/0.43.0/desktop")
	f("go-ipfs/0.8.0 \\ \"q\" <b>", "go-ipfs/0.8.0 \\ \"q\" <b>")
	f("a v=1i 1\nforged,who=me v=666i", "a v=1i 1\uFFFDforged,who=me v=666i")
	f("a\r\nb\x00c\x7f", "a\uFFFD\uFFFDb\uFFFDc\uFFFD")
	f("\x1b[31mred", "\uFFFD[31mred")
	f("\u202Egnp.exe", "\uFFFDgnp.exe")
	f("zero\u200bwidth\ufeff", "zero\uFFFDwidth\uFFFD")
	f("bad\xff\xfeutf", "bad\uFFFD\uFFFDutf")
	f("grüße/日本", "grüße/日本")
	f("no\u00a0break\u2028line", "no\uFFFDbreak\uFFFDline")
	f("a\u0301\u0301\u0301\u0301b", "a\u0301\u0301b")
	f("fill\u3164er", "fill\uFFFDer")
	f(strings.Repeat("x", 65), strings.Repeat("x", 61)+"…")
	f(strings.Repeat("é", 40), strings.Repeat("é", 30)+"…")
}

func TestCleanDoesNotAllocateForPlainText(t *testing.T) {
	s := "kubo/0.43.0/desktop"
	if n := testing.AllocsPerRun(100, func() { Clean(s, MaxAgentText) }); n != 0 {
		t.Errorf("Clean of a plain string allocates %v times", n)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "kubo/0.43", "\\", "a\nb", "\xff", "\u202e", "é\u0301\u0301\u0301", strings.Repeat("界", 100)} {
		f.Add(s, 64)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 || limit > 1<<16 {
			return
		}
		got := string(Clean(s, limit))
		if len(got) > limit {
			t.Fatalf("%d bytes, limit %d", len(got), limit)
		}
		if !utf8.ValidString(got) {
			t.Fatalf("not UTF-8: %q", got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
				t.Fatalf("%U in %q", r, got)
			}
		}
		if again := string(Clean(got, limit)); again != got {
			t.Fatalf("not stable: %q then %q", got, again)
		}
	})
}
