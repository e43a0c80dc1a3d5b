package influx

import (
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

func TestCIDText(t *testing.T) {
	f := func(c cid.Cid) {
		t.Helper()
		if got := string(appendCID([]byte("x"), c)); got != "x"+c.String() {
			t.Errorf("got %s, want x%s", got, c)
		}
	}
	for n := range 300 {
		f(testCID(n))
	}
	for n := range 168 - 8 {
		mh, err := multihash.Sum([]byte(strings.Repeat("x", n)), multihash.IDENTITY, -1)
		if err != nil {
			t.Fatal(err)
		}
		f(cid.NewCidV1(cid.Raw, mh))
	}
	zeros, err := multihash.Encode(make([]byte, 32), multihash.SHA2_256)
	if err != nil {
		t.Fatal(err)
	}
	f(cid.NewCidV0(zeros))
	f(cid.NewCidV1(cid.DagJSON, zeros))
}

func TestPeerText(t *testing.T) {
	e := NewEncoder("node", true)
	f := func(p peer.ID) {
		t.Helper()
		if got := string(appendPeer(nil, p)); got != p.String() {
			t.Errorf("got %s, want %s", got, p)
		}
		for range 2 { // made, and remembered
			if e.setPeer(p); string(e.peerText) != `"`+p.String()+`"` {
				t.Errorf("the encoder has %s, want %s in quotes", e.peerText, p)
			}
		}
	}
	for n := range 2 * 3 * peerCache {
		f(testPeer(n % (3 * peerCache)))
	}
	for n := range maxBase58 + 1 {
		f(peer.ID(strings.Repeat("\xff", n)))
		f(peer.ID(strings.Repeat("\x00", n)))
		f(peer.ID(strings.Repeat("\x00", n/2) + strings.Repeat("\x01", n-n/2)))
	}
}

func FuzzBase58(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3})
	f.Add([]byte(strings.Repeat("\xff", maxBase58)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxBase58 {
			b = b[:maxBase58]
		}
		if got := string(appendBase58(nil, string(b))); got != peer.ID(b).String() {
			t.Errorf("%x: got %s, want %s", b, got, peer.ID(b))
		}
	})
}

func TestTagText(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := string(appendTag(nil, in)); got != want {
			t.Errorf("tag %q: got %s, want %s", in, got, want)
		}
	}
	f("kubo/0.43.0", "kubo/0.43.0")
	f("", "unknown")
	f(`kubo\`, "kubo")
	f(`\\\`, "unknown")
	f("a b,c=d", `a\ b\,c\=d`)
	f("a\nforged v=1", `a\ forged\ v\=1`)
	f(`C:\x"y"`, `C:\x"y"`)
}

func TestStringText(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := string(appendString(nil, in)); got != want {
			t.Errorf("string %q: got %s, want %s", in, got, want)
		}
	}
	f("", `""`)
	f(`say "hi"\`, `"say \"hi\"\\"`)
	f("a\nforged v=1i", `"a forged v=1i"`)
	f("grüße/日本", `"grüße/日本"`)
}
