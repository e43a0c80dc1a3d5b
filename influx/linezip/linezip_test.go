package linezip

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"testing"

	fastgzip "github.com/klauspost/compress/gzip"
)

func check(t *testing.T, w *Writer, src []byte) []byte {
	t.Helper()
	out := w.Append([]byte("before"), src)
	if !bytes.HasPrefix(out, []byte("before")) {
		t.Fatal("what was in dst is gone")
	}
	out = out[len("before"):]
	r, err := gzip.NewReader(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%d bytes: %v", len(src), err)
	}
	if !bytes.Equal(got, src) {
		t.Fatalf("%d bytes came back as %d others", len(src), len(got))
	}
	return out
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte(""), 1)
	f.Add([]byte("a"), 400)
	f.Add([]byte("wants,codec=raw cid=\"bafkreifsqdkbv24\",peer=\"12D3KooW\" 1750000000000000000\n"), 3000)
	f.Add([]byte{0, 255, 1, 254}, 70_000)
	f.Fuzz(func(t *testing.T, part []byte, times int) {
		times = min(max(times, 1), 100_000, (1<<20)/(len(part)+1))
		w := new(Writer)
		for i := range 2 { // what the first one left does no harm
			src := bytes.Repeat(part, times)
			for k := i; k < len(src); k += 97 * (i + 1) {
				src[k] ^= byte(k >> 7)
			}
			check(t, w, src)
		}
	})
}

// Each length of a match, and each distance's code. What follows something
// known is looked for.
func TestMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, window+maxMatch)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	const word = "........................................"
	twice := func(n, apart int) []byte {
		src := append([]byte(word), noise[:n]...)
		src = append(src, noise[n:apart-len(word)]...)
		return append(append(append(src, word...), noise[:n]...), '.')
	}
	w := new(Writer)
	found := func(n, apart, before int) bool {
		src := append(make([]byte, before), twice(n, apart)...)
		return len(check(t, w, src)) < len(check(t, w, src[:before+apart]))+n/2
	}
	for n := 8; n < 3*maxMatch+10; n++ {
		if !found(n, 1000, 0) && n > 100 {
			t.Fatalf("%d bytes come again and were not found", n)
		}
	}
	for d := 150; d < window+500; d += 1 + d/100 {
		if got := found(100, d, small); got != (d <= window) {
			t.Fatalf("a match %d bytes back was found: %v", d, got)
		}
	}
}

func librarySize(t *testing.T, src []byte) int {
	t.Helper()
	var b bytes.Buffer
	w, err := fastgzip.NewWriterLevel(&b, fastgzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(src); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Len()
}

// Weights whose shortest code is too long.
func TestCodesAreBounded(t *testing.T) {
	for _, limit := range []uint8{9, 14, 15} {
		c := new(coder)
		c.reset(symbols, 1)
		for s, f := 0, [2]uint32{1, 1}; s < 40; s++ {
			c.count[s], f = f[1], [2]uint32{f[1], f[0] + f[1]}
		}
		c.build(limit)
		sum, longest := 0, uint8(0)
		for s := range c.n {
			sum += 1 << (15 - c.codes[s].len)
			longest = max(longest, c.codes[s].len)
		}
		if sum != 1<<15 || longest > limit {
			t.Errorf("limit %d: longest %d, Kraft's sum %d/%d", limit, longest, sum, 1<<15)
		}
	}
}

// Lines come out nearly as short as from the library, and without an allocation.
func TestLines(t *testing.T) {
	w := new(Writer)
	for _, entries := range []int{1, 16} {
		for _, points := range []int{1, 3, 10, 100, 300, 1000, 5000} {
			src := lines(points, entries)
			ours, library := len(check(t, w, src)), librarySize(t, src)
			if ours > library+library*5/100 {
				t.Errorf("%d points of %d at a time: %d bytes, the library's are %d; at most 5 %% more", points, entries, ours, library)
			}
		}
	}
	out, src := []byte(nil), lines(5000, 1)
	out = w.Append(out, src)
	if n := testing.AllocsPerRun(10, func() { out = w.Append(out[:0], src) }); n > 0 {
		t.Errorf("%v allocations for a batch; wanted are none", n)
	}
}
