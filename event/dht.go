package event

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
)

// MaxDHTKeyBytes is how many bytes of a DHT request's key are kept; kad-dht
// refuses keys of provider records beyond 80.
const MaxDHTKeyBytes = MaxCIDBytes

// DHTType is what a request of the DHT's protocol asks for. The first six values
// are those of the protobuf of /ipfs/kad/1.0.0.
type DHTType uint8

// The types of requests; DHTTypes is their number.
const (
	DHTPutValue DHTType = iota
	DHTGetValue
	DHTAddProvider
	DHTGetProviders
	DHTFindNode
	DHTPing
	DHTOther  // a type that the protocol does not know
	DHTUnsent // this node could not open a stream to ask: of what type the request would have been is not known
	DHTTypes
)

// DHTTypeNames are the tag values of the types.
var DHTTypeNames = [DHTTypes]string{"put_value", "get_value", "add_provider", "get_providers", "find_node", "ping", "other", "unsent"}

// String returns the tag value of the type.
func (t DHTType) String() string { return DHTTypeNames[min(t, DHTUnsent)] }

// DHTStatus is how a request ended.
type DHTStatus uint8

// The outcomes; DHTStatuses is their number.
const (
	DHTAnswered DHTStatus = iota // there was an answer, or the type has none: add_provider
	DHTFailed                    // the stream ended without an answer
	DHTTimedOut                  // no answer within the 10 s that kad-dht waits
	DHTCanceled                  // the node stopped waiting, as a lookup does that has found enough
	DHTStatuses
)

// DHTStatusNames are the names of the outcomes.
var DHTStatusNames = [DHTStatuses]string{"ok", "error", "timeout", "canceled"}

// String returns the name of the outcome: ok, error, timeout or canceled.
func (s DHTStatus) String() string { return DHTStatusNames[min(s, DHTCanceled)] }

// DHTRequest is one request of the DHT's protocol with what is known of its
// answer. Dir of the event says who asked: Received is a request of Peer, Sent
// one of the node to Peer. Time of the event is when the request ended, Elapsed
// after it was seen whole.
type DHTRequest struct {
	Type   DHTType
	Status DHTStatus
	LAN    bool // of the DHT of local networks; false: of the public one

	// The key, as one of three; none of them where the message has none.
	CID    cid.Cid // add_provider, get_providers: CIDv1, raw, of the key's multihash
	Target peer.ID // find_node, where the target has the form of a peer ID; that of a content's multihash has it too
	Name   Text    // all other keys: as text where it is readable, else 0x and hexadecimal digits

	Providers int           // provider records: of the request in add_provider, else of the answer
	Closer    int           // peers in the answer that are closer to the key
	Elapsed   time.Duration // until the answer was whole, or the wait for it ended
}

// Table returns the name of the DHT: wan or lan.
func (r *DHTRequest) Table() string {
	if r.LAN {
		return "lan"
	}
	return "wan"
}

// Key returns the key as text: a CID, a peer ID, or Name.
func (r *DHTRequest) Key() Text {
	switch {
	case r.CID.Defined():
		return Text(r.CID.String())
	case r.Target != "":
		return Text(r.Target.String())
	}
	return r.Name
}

// SetKey sets the key of the request from its bytes in the message, under the
// limits of this package, by the request's type.
func (r *DHTRequest) SetKey(key []byte, whole bool) {
	r.CID, r.Target, r.Name = cid.Undef, "", ""
	if len(key) == 0 {
		return
	}
	if len(key) > MaxDHTKeyBytes {
		key, whole = key[:MaxDHTKeyBytes], false
	}
	switch r.Type {
	case DHTAddProvider, DHTGetProviders:
		if isMultihash(key, whole) {
			r.CID = cid.NewCidV1(cid.Raw, key)
			return
		}
	case DHTFindNode: // a lookup for a value asks for its key's neighbours
		if isMultihash(key, whole) {
			r.Target = peer.ID(key)
			return
		}
		if key[0] == '/' {
			r.Name = valueKey(key, whole)
			return
		}
	case DHTPutValue, DHTGetValue:
		r.Name = valueKey(key, whole)
		return
	}
	r.Name = hexKey(key, whole)
}

func isMultihash(key []byte, whole bool) bool {
	if !whole {
		return false
	}
	n, _, err := mh.MHFromBytes(key)
	return err == nil && n == len(key)
}

// hexKey returns the bytes as hexadecimal digits; "…" ends a key that is cut.
func hexKey(key []byte, whole bool) Text {
	s := "0x" + hex.EncodeToString(key)
	if !whole {
		s += "…"
	}
	return Text(s)
}

// valueKey returns the key of a value as text: /ipns/ and /pk/ are followed by a
// peer ID in binary.
func valueKey(key []byte, whole bool) Text {
	for _, namespace := range []string{"/ipns/", "/pk/"} {
		rest, ok := strings.CutPrefix(string(key), namespace)
		if !ok {
			continue
		}
		if id := []byte(rest); isMultihash(id, whole) {
			return Text(namespace + peer.ID(id).String())
		}
		return Text(namespace) + hexKey([]byte(rest), whole)
	}
	if !whole {
		return Clean(string(key)+"…", MaxDHTKeyBytes)
	}
	return Clean(string(key), MaxDHTKeyBytes)
}

// DHTCounters count requests by direction, type and outcome.
type DHTCounters [Directions][DHTTypes][DHTStatuses]uint64

// Requests returns how many requests of one direction and type there were.
func (c *DHTCounters) Requests(d Direction, t DHTType) (n uint64) {
	for _, v := range c[d][t] {
		n += v
	}
	return n
}

// DHTSummary has the figures of the DHT's requests in one interval.
type DHTSummary struct {
	Requests [Directions][DHTTypes]DHTFigures
	Peers    [Directions]uint64 // distinct peers that asked, or were asked; estimated

	// TopKeys are the keys of get_providers that were asked for most, most first.
	TopKeys [Directions][]TopDHTKey
	// Agents are the requests by the family of the other side's agent, one of
	// AgentFamilies, most first.
	Agents [Directions][]Share
}

// DHTFigures are those of one type and direction.
type DHTFigures struct {
	Status  [DHTStatuses]uint64
	Peers   uint64       // distinct peers, estimated
	Elapsed LatencyStats // of the requests that were answered
}

// Requests returns how many requests there were.
func (f *DHTFigures) Requests() (n uint64) {
	for _, v := range f.Status {
		n += v
	}
	return n
}

// TopDHTKey is a key whose providers were asked for often. The true number is
// between Requests-Error and Requests.
type TopDHTKey struct {
	CID      cid.Cid
	Requests uint64
	Error    uint64
	Peers    uint64 // distinct peers that asked, too low by at most Error
}
