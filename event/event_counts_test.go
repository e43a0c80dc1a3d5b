package event

import (
	"reflect"
	"strings"
	"testing"
)

// TestSub subtracts from each counter the same counter of the earlier Counts, and no
// other.
func TestSub(t *testing.T) {
	var now, old, want Traffic
	for i := range reflect.TypeFor[Traffic]().NumField() {
		n := uint64(1) << i
		reflect.ValueOf(&now).Elem().Field(i).SetUint(1000 + 3*n)
		reflect.ValueOf(&old).Elem().Field(i).SetUint(1000 + n)
		reflect.ValueOf(&want).Elem().Field(i).SetUint(2 * n)
	}
	if got := now.Sub(old); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestWeight: each entry of each list counts, and so do the other parts of an event.
func TestWeight(t *testing.T) {
	f := func(name string, e Event, entries int) {
		t.Helper()
		if got := e.Weight(); got != eventBytes+entries*entryBytes {
			t.Errorf("%s: %d bytes, want those of an event and %d entries: %d", name, got, entries, eventBytes+entries*entryBytes)
		}
	}
	f("nothing", Event{}, 0)
	f("lists", Event{Wants: make([]Want, 1), Presences: make([]Presence, 2), Blocks: make([]Block, 4)}, 7)
	f("identify", Event{Identify: &Identify{Protocols: make([]Text, 1), ListenAddrs: make([]Text, 2)}}, 8+3)
	f("sample", Event{Sample: &Sample{Peers: make([]PeerCount, 1), Agents: make([]AgentCount, 2), Protocols: make([]ProtocolCount, 4),
		Streams: make([]StreamCount, 8), Node: Node{Bandwidth: make([]Bandwidth, 16)}}}, 16+31)
	f("summary", Event{Summary: &Summary{TopCIDs: make([]TopCID, 1), TopCIDsByPeers: make([]TopCID, 2), TopPeers: make([]TopPeer, 4), TopMissing: make([]TopCID, 1024),
		Codecs: make([]Share, 8), Versions: make([]Share, 16), Hashes: make([]Share, 32),
		Line:     [Directions]Line{{CIDs: make([]CIDBytes, 64)}, {Peers: make([]PeerBytes, 128), Agents: make([]FamilyBytes, 256)}},
		Coverage: Coverage{Families: make([]FamilyCoverage, 512)}}}, 16+2047)
	f("proxy", Event{Proxy: &Proxy{Downstreams: make([]ProxyDownstream, 3)}}, 8+18)
	f("origins", Event{Origins: &Origins{Sums: make([]Origin, 5)}}, 5)
}

func TestWords(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(Received.String(), "received")
	f(Sent.String(), "sent")
	f(NoSide.String(), "")
	f(Upstream.String(), "upstream")
	f(Downstream.String(), "downstream")
	f(Sides.String(), "")
	f(Have.String(), "have")
	f(DontHave.String(), "dont_have")
	f(PresenceType(2).String(), "other")
	f((&Want{}).TypeName(), "want_block")
	f((&Want{Type: WantHave}).TypeName(), "want_have")
	f((&Want{Type: WantHave, Cancel: true}).TypeName(), "cancel")
	f((&Want{Type: 2}).TypeName(), "other")
	f(AnswerBlock.String(), "block")
	f(AnswerHave.String(), "have")
	f(AnswerDontHave.String(), "dont_have")
	if MaxEncodedBytes != 262144 {
		t.Errorf("MaxEncodedBytes is %d, want 256 KiB", MaxEncodedBytes)
	}
}

// TestCleanAtItsBorders: a text that just fits is not cut.
func TestCleanAtItsBorders(t *testing.T) {
	f := func(in string, limit int, want string) {
		t.Helper()
		if got := Clean(in, limit); string(got) != want {
			t.Errorf("Clean(%q, %d) = %q, want %q", in, limit, got, want)
		}
	}
	f(strings.Repeat("é", 32), 64, strings.Repeat("é", 32))
	f("abcd", 3, "…")
	f("abcd", 2, "")
	f(" ~", 64, " ~")
	f("\x1f\x7f", 64, "\uFFFD\uFFFD")
	f("\uFFFD", 64, "\uFFFD")
	if n := testing.AllocsPerRun(100, func() { Clean(" ~~ ", 4) }); n != 0 {
		t.Errorf("Clean of plain text as long as its limit allocates %v times", n)
	}
}
