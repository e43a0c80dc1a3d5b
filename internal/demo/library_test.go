package demo

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestTrimDropsTheOldest(t *testing.T) {
	var l library
	a, b := &ownPeer{number: 1}, &ownPeer{number: 2}
	const quarter = maxHeld / 4
	first, second, third := &file{size: quarter}, &file{size: quarter}, &file{size: quarter}
	l.add(first, a)
	l.add(second, a)
	l.add(third, a)
	if out := l.trim(); len(out) != 0 {
		t.Errorf("%d files dropped within the bound, want none", len(out))
	}
	l.copied(third, b)
	l.copied(third, b) // once is enough
	if got := l.size(); got != maxHeld {
		t.Errorf("%d bytes held, want %d", got, maxHeld)
	}
	l.copied(second, b) // one quarter too much

	used := l.pick(testRand(), func(f *file) bool { return f == first })
	if used != first {
		t.Fatal("the first file was not picked")
	}
	if out := l.trim(); len(out) != 1 || out[0] != second {
		t.Errorf("dropped %v, want the second file, the first is in use", out)
	}
	l.done(used)
	if got := l.size(); got != 3*quarter {
		t.Errorf("%d bytes held, want %d", got, 3*quarter)
	}

	for range maxKept {
		l.add(&file{size: 1, hollow: true}, a)
	}
	if out := l.trim(); len(out) != 2 || out[0] != first || out[1] != third {
		t.Errorf("%d files dropped, want the two oldest above the bound of %d files", len(out), maxKept)
	}
	if f := l.pick(testRand(), func(*file) bool { return true }); f != nil {
		t.Error("picked a file that has only a root")
	}
}

func TestFileSize(t *testing.T) {
	rng := testRand()
	small, n := 0, 10_000
	for range n {
		size := fileSize(rng)
		if size < minFile || size > maxFile {
			t.Fatalf("size %d, want %d to %d", size, minFile, maxFile)
		}
		if size < 100<<10 { // half of the way from 1 KiB to 10 MiB, on a logarithmic scale
			small++
		}
	}
	if small < n*45/100 || small > n*55/100 {
		t.Errorf("%d of %d files are below 100 KiB, want about half", small, n)
	}
}

func TestContentIsSeeded(t *testing.T) {
	a, b := testRand(), testRand()
	first, again, other := content(a, 100), content(b, 100), content(a, 100)
	if !bytes.Equal(first, again) || bytes.Equal(first, other) {
		t.Error("want the same content for the same seed, and another one next")
	}
	if missing(a).Equals(missing(a)) {
		t.Error("the same missing CID twice")
	}
}

func TestHollowRoot(t *testing.T) {
	b, err := hollowRoot(testRand())
	if err != nil {
		t.Fatal(err)
	}
	n, err := merkledag.DecodeProtobuf(b.RawData())
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Links()) != 3 || b.Cid().Type() != cid.DagProtobuf {
		t.Errorf("%d links, codec %x, want 3 in dag-pb", len(n.Links()), b.Cid().Type())
	}
	if sum, err := b.Cid().Prefix().Sum(b.RawData()); err != nil || !sum.Equals(b.Cid()) {
		t.Errorf("CID %s, want %s", b.Cid(), sum)
	}
}
