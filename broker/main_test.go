package broker

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) {
	time.Local = time.UTC // the times in golden files are in it
	goleak.VerifyTestMain(m)
}

func testCID(n int) cid.Cid {
	mh, err := multihash.Sum(fmt.Appendf(nil, "block %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err) // a known hash function
	}
	return cid.NewCidV1(cid.Raw, mh)
}

func testPeer(n int) peer.ID {
	mh, err := multihash.Sum(fmt.Appendf(nil, "peer %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err) // a known hash function
	}
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, mh[2:]...)) // as of an ed25519 key
}

// want is a message with one want, received from a peer.
func want(n int) *event.Event {
	return &event.Event{
		Seq: uint64(n), Time: 1_795_185_729_477_017_222 + int64(n)*1_234_567, Kind: event.KindMessage, Peer: testPeer(n),
		Addrs: []event.Text{"/ip4/192.0.2.1/udp/4001/quic-v1"},
		Wants: []event.Want{{CID: testCID(n), Priority: 5, Type: event.WantHave, SendDontHave: true}},
	}
}

func connected(n int, closed bool) *event.Event {
	return &event.Event{Seq: uint64(n), Time: 1_795_185_729_000_000_000 + int64(n)*1e8, Kind: event.KindConnection, Peer: testPeer(n),
		Conn: &event.Conn{Addr: "/ip6/2001:db8::1/tcp/4001", Closed: closed}}
}
