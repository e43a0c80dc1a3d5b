package lineproto

import (
	"math"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// TestPeerText: the encoder remembers the texts of peers, and never takes one
// for another's.
func TestPeerText(t *testing.T) {
	e := NewEncoder("node", true)
	f := func(p peer.ID) {
		t.Helper()
		for range 2 { // made, and remembered
			if e.setPeer(p); string(e.peerText) != `"`+p.String()+`"` {
				t.Errorf("the encoder has %s, want %s in quotes", e.peerText, p)
			}
		}
	}
	for n := range 2 * 3 * maxPeerTexts {
		f(influxtest.Peer(n % (3 * maxPeerTexts)))
		if len(e.peers) > maxPeerTexts {
			t.Fatalf("%d texts are kept, want at most %d", len(e.peers), maxPeerTexts)
		}
	}
	for n := range 100 {
		f(peer.ID(strings.Repeat("\xff", n)))
	}
}

func TestTagText(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := string(AppendTag(nil, in)); got != want {
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
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("string %q: got %s, want %s", in, got, want)
		}
	}
	f("", `""`)
	f(`say "hi"\`, `"say \"hi\"\\"`)
	f("a\nforged v=1i", `"a forged v=1i"`)
	f("grüße/日本", `"grüße/日本"`)
}

func TestRate(t *testing.T) {
	for in, want := range map[float64]int64{0: 0, 1.5: 2, -1.5: -2, 1 << 62: 1 << 62, 1 << 63: 0, -1 << 63: 0, math.Inf(1): 0, math.NaN(): 0} {
		if got := rate(in); got != want {
			t.Errorf("rate of %v: %d, want %d", in, got, want)
		}
	}
}
