package stream

import (
	"slices"
	"strconv"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// DHTRequest is a request of the DHT's protocol that has ended. Peer asked the
// monitor's node, or was asked by it.
type DHTRequest struct {
	Type      string `json:"type"`      // put_value, get_value, add_provider, get_providers, find_node, ping, other, unsent
	Direction string `json:"direction"` // received or sent
	Status    string `json:"status"`    // ok, error, timeout, canceled
	Table     string `json:"table"`     // wan or lan
	// Key is what was asked for: a CID (version 1, codec raw) of provider records,
	// a peer ID of find_node, the name of a value; other keys are 0x and
	// hexadecimal digits.
	Key       string `json:"key,omitempty"`
	Providers int    `json:"providers,omitempty"`   // provider records in the answer; of add_provider those in the request
	Closer    int    `json:"closer,omitempty"`      // peers in the answer that are closer to the key
	Duration  int64  `json:"duration_ns,omitempty"` // until the answer; Timestamp is its end
}

// maxDHTKeyText is the longest text of a key, in bytes: that of the longest CID,
// or of hexadecimal digits.
const maxDHTKeyText = 2*event.MaxDHTKeyBytes + 8

func appendDHT(dst []byte, dir event.Direction, r *event.DHTRequest) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, r.Type.String()...)
	dst = append(dst, `","direction":"`...)
	dst = append(dst, dir.String()...)
	dst = append(dst, `","status":"`...)
	dst = append(dst, r.Status.String()...)
	dst = append(dst, `","table":"`...)
	dst = append(append(dst, r.Table()...), '"')
	switch {
	case r.CID.Defined():
		dst = append(cidtext.AppendCID(append(appendName(dst, "key"), '"'), r.CID), '"')
	case r.Target != "":
		dst = append(cidtext.AppendPeer(append(appendName(dst, "key"), '"'), r.Target), '"')
	default:
		dst = appendString(dst, "key", string(r.Name))
	}
	dst = appendInt(dst, "providers", int64(r.Providers))
	dst = appendInt(dst, "closer", int64(r.Closer))
	dst = appendInt(dst, "duration_ns", int64(r.Elapsed))
	return append(dst, '}')
}

// fill makes the event of a request. Names outside of their closed sets become
// the last of the set.
func (r *DHTRequest) fill(out *event.Event) {
	out.Kind, out.Dir = event.KindDHT, event.Received
	if r.Direction == event.Sent.String() {
		out.Dir = event.Sent
	}
	x := &event.DHTRequest{Type: event.DHTOther, Status: event.DHTFailed, LAN: r.Table == "lan",
		Providers: max(r.Providers, 0), Closer: max(r.Closer, 0), Elapsed: time.Duration(max(r.Duration, 0))}
	if i := slices.Index(event.DHTTypeNames[:], r.Type); i >= 0 {
		x.Type = event.DHTType(i)
	}
	if i := slices.Index(event.DHTStatusNames[:], r.Status); i >= 0 {
		x.Status = event.DHTStatus(i)
	}
	out.DHT = x
	switch x.Type {
	case event.DHTAddProvider, event.DHTGetProviders:
		if c, err := cidtext.Parse(r.Key); err == nil && c.ByteLen() <= event.MaxCIDBytes+4 {
			x.CID = c
			return
		}
	case event.DHTFindNode:
		if p, err := peertext.ID(r.Key); err == nil && len(p) <= event.MaxDHTKeyBytes {
			x.Target = p
			return
		}
	}
	x.Name = event.Clean(r.Key, maxDHTKeyText)
}

func (r *DHTRequest) clean() {
	for _, s := range []*string{&r.Type, &r.Direction, &r.Status, &r.Table} {
		*s = string(event.Clean(*s, event.MaxProtocolText))
	}
	r.Key = string(event.Clean(r.Key, maxDHTKeyText))
}

func (r *DHTRequest) appendText(dst []byte) []byte {
	if r.Direction == event.Sent.String() {
		dst = append(dst, " is asked"...)
	} else {
		dst = append(dst, " asks"...)
	}
	dst = append(append(dst, " the DHT: "...), r.Type...)
	if r.Key != "" {
		dst = append(append(dst, ' '), r.Key...)
	}
	dst = append(append(dst, ", "...), r.Status...)
	for _, n := range []struct {
		of   int
		word string
	}{{r.Providers, " providers"}, {r.Closer, " closer peers"}} {
		if n.of > 0 {
			dst = strconv.AppendInt(append(dst, ", "...), int64(n.of), 10)
			dst = append(dst, n.word...)
		}
	}
	dst = append(dst, " after "...)
	return append(dst, time.Duration(r.Duration).Round(time.Microsecond).String()...)
}
