package cidtext

import (
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

func hash(t testing.TB, data string, code uint64) multihash.Multihash {
	t.Helper()
	mh, err := multihash.Sum([]byte(data), code, -1)
	if err != nil {
		t.Fatal(err)
	}
	return mh
}

// TestParse: the longest CID of an event is read in the longest base, and no text that is longer.
func TestParse(t *testing.T) {
	long, err := multihash.Encode(make([]byte, 160), multihash.IDENTITY)
	if err != nil {
		t.Fatal(err)
	}
	want := cid.NewCidV1(cid.Raw, long)
	for _, text := range []func() (string, error){
		func() (string, error) { return want.StringOfBase('0') }, // base 2
		func() (string, error) { return want.StringOfBase('z') }, // 58
		func() (string, error) { return want.StringOfBase('b') }, // 32
	} {
		text, err := text()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	if _, err := Parse("z" + strings.Repeat("2", maxText)); err == nil || err.Error() != "a CID of 1401 characters: want at most 1400" {
		t.Errorf("got %v, want an error that says how long a CID may be", err)
	}
}

// check compares both texts of a key with the libraries', behind other bytes in the
// buffer.
func check(t *testing.T, b []byte) {
	t.Helper()
	p := peer.ID(b)
	if got := string(AppendPeer([]byte("x"), p)); got != "x"+p.String() {
		t.Fatalf("peer %x: got %s, want x%s", b, got, p)
	}
	for _, c := range cids(b) {
		if got := string(AppendCID([]byte("x"), c)); got != "x"+c.String() {
			t.Fatalf("CID %x: got %s, want x%s", c.KeyString(), got, c)
		}
	}
}

// cids returns the CIDs that can be made of the bytes: the bytes as a CID, CIDs of their
// hash, and the CID that contains them.
func cids(b []byte) (all []cid.Cid) {
	if c, err := cid.Cast(b); err == nil {
		all = append(all, c)
	}
	for _, code := range []uint64{multihash.SHA2_256, multihash.IDENTITY} {
		mh, err := multihash.Sum(b, code, -1)
		if err != nil {
			continue
		}
		all = append(all, cid.NewCidV1(cid.Raw, mh), cid.NewCidV1(0x0129, mh))
		if code == multihash.SHA2_256 {
			all = append(all, cid.NewCidV0(mh))
		}
	}
	if len(b) == 32 { // a hash of any value, for instance one that begins with zeros
		if mh, err := multihash.Encode(b, multihash.SHA2_256); err == nil {
			all = append(all, cid.NewCidV0(mh), cid.NewCidV1(cid.DagProtobuf, mh))
		}
	}
	return all
}

func TestTexts(t *testing.T) {
	check(t, make([]byte, 32))
	for n := range 200 { // longer than every limit here
		for _, s := range []string{
			strings.Repeat("\xff", n), strings.Repeat("\x00", n), strings.Repeat("x", n),
			strings.Repeat("\x00", n/2) + strings.Repeat("\x01", n-n/2), "\x00\x00" + strings.Repeat("\x01", n),
			"\x00$\x08\x01\x12 " + string(hash(t, "peer", multihash.SHA2_256))[:min(n, 34)],
		} {
			check(t, []byte(s))
		}
		check(t, hash(t, strings.Repeat("y", n), multihash.SHA2_256))
	}
}

func FuzzTexts(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3})
	f.Add([]byte(strings.Repeat("\xff", maxBase58)))
	f.Add([]byte(strings.Repeat("\x00", 32)))
	f.Add([]byte(hash(f, "block", multihash.SHA2_256)))
	f.Fuzz(check)
}

func fixtures(t testing.TB) (v0, v1 cid.Cid, p peer.ID) {
	mh := hash(t, "block", multihash.SHA2_256)
	return cid.NewCidV0(mh), cid.NewCidV1(cid.Raw, mh), peer.ID("\x00$\x08\x01\x12 " + string(mh[2:]))
}

func TestTextsDoNotAllocate(t *testing.T) {
	v0, v1, p := fixtures(t)
	rsa := peer.ID(v0.Hash())
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendPeer(AppendPeer(AppendCID(AppendCID(buf[:0], v0), v1), p), rsa)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTexts(b *testing.B) {
	v0, v1, p := fixtures(b)
	buf := make([]byte, 0, 512)
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	run("peer", func() { buf = AppendPeer(buf[:0], p) })
	run("peer-library", func() { buf = append(buf[:0], p.String()...) })
	run("v0", func() { buf = AppendCID(buf[:0], v0) })
	run("v0-library", func() { buf = append(buf[:0], v0.String()...) })
	run("v1", func() { buf = AppendCID(buf[:0], v1) })
	run("v1-library", func() { buf = append(buf[:0], v1.String()...) })
}
