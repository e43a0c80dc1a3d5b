package privacy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
)

// remembered is how many pseudonyms of each kind a sink caches, so that frequent
// peers and CIDs are hashed once. The cache takes about 10 MB with the longest
// CIDs, 4 MB with ordinary ones.
const remembered = 1 << 14

// The first byte of what is hashed. A CID can contain a peer ID, and the two must
// not have the same pseudonym.
const (
	ofPeer = 'p'
	ofCID  = 'c'
	ofConn = 'n'
)

// names makes the pseudonyms of one day. It is for one goroutine.
type names struct {
	day uint64 // of the key in mac; 0: none yet
	mac hash.Hash
	in  []byte // scratch

	peers     *simplelru.LRU[peer.ID, peer.ID]
	cids      *simplelru.LRU[cid.Cid, cid.Cid]
	addresses *simplelru.LRU[event.Text, event.Text]
}

// use sets the key for the next event. Another key than before empties the caches.
func (n *names) use(k dayKey) {
	if n.day == k.number {
		return
	}
	n.day = k.number
	n.mac = hmac.New(sha256.New, k.secret[:])
	n.peers = lru[peer.ID, peer.ID]()
	n.cids = lru[cid.Cid, cid.Cid]()
	n.addresses = lru[event.Text, event.Text]()
}

func lru[K comparable, V any]() *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU[K, V](remembered, nil)
	if err != nil {
		panic(err) // happens only for a size of 0 or less
	}
	return l
}

// multihash returns a sha2-256 multihash with the HMAC of n.in as its digest.
func (n *names) multihash() []byte {
	n.mac.Reset()
	n.mac.Write(n.in)
	return n.mac.Sum([]byte{mh.SHA2_256, sha256.Size})
}

// peer returns the pseudonym of a peer: an ID of the form Qm..., whatever the
// form of p.
func (n *names) peer(p peer.ID) peer.ID {
	if p == "" {
		return ""
	}
	if name, ok := n.peers.Get(p); ok {
		return name
	}
	n.in = append(append(n.in[:0], ofPeer), p...)
	name := peer.ID(n.multihash())
	n.peers.Add(p, name)
	return name
}

// cid returns the pseudonym of a CID: a CID of the same version and codec with a
// sha2-256 multihash, also for an identity CID, which contains its data. The
// versions 0 and 1 of a CID get the same multihash.
func (n *names) cid(c cid.Cid) cid.Cid {
	if !c.Defined() {
		return c
	}
	if name, ok := n.cids.Get(c); ok {
		return name
	}
	codec := c.Type()
	n.in = append(n.in[:0], ofCID, byte(codec), byte(codec>>8), byte(codec>>16), byte(codec>>24),
		byte(codec>>32), byte(codec>>40), byte(codec>>48), byte(codec>>56))
	n.in = append(n.in, c.Hash()...)
	name := cid.NewCidV1(codec, n.multihash())
	if c.Version() == 0 {
		name = cid.NewCidV0(name.Hash())
	}
	n.cids.Add(c, name)
	return name
}

// conn returns the pseudonym of a connection. libp2p's name for it begins with
// the peer's ID.
func (n *names) conn(id string) string {
	if id == "" {
		return ""
	}
	n.in = append(append(n.in[:0], ofConn), id...)
	return hex.EncodeToString(n.multihash()[2:10])
}

func (n *names) addr(a event.Text) event.Text {
	if a == "" {
		return ""
	}
	if cut, ok := n.addresses.Get(a); ok {
		return cut
	}
	cut := cutAddr(a)
	n.addresses.Add(a, cut)
	return cut
}

// addrs cuts a list of addresses to their networks, without repeats.
func (n *names) addrs(in []event.Text) []event.Text {
	var out []event.Text
	for _, a := range in {
		if cut := n.addr(a); cut != "" && !slices.Contains(out, cut) {
			if out == nil {
				out = make([]event.Text, 0, len(in))
			}
			out = append(out, cut)
		}
	}
	return out
}
