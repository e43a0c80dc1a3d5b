// Package peertext reads what libp2p knows of peers, which the peers chose
// themselves, as event.Text.
//
// In: addresses, protocols, a peerstore. Out: clean texts of bounded length and
// number. Promised: an address in a list is whole; one that is too long is left
// out, since a part of an address is another address.
package peertext

import (
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
)

// maxID is the longest text of a peer ID that is decoded. Decoding base58 takes time with
// the square of the length: half a minute for 100 kB.
const maxID = 2 * event.MaxCIDBytes

// ID decodes the text of a peer's ID, of whoever wrote it.
func ID(text string) (peer.ID, error) {
	if len(text) > maxID {
		return "", fmt.Errorf("a peer ID of %d characters: want at most %d", len(text), maxID)
	}
	return peer.Decode(text)
}

// Addr returns an address as text, "" for none. One that is too long is cut, and
// its text ends with "…".
func Addr(a ma.Multiaddr) event.Text {
	if len(a) == 0 {
		return ""
	}
	return event.Clean(a.String(), event.MaxAddrText)
}

// Addrs returns the first addresses, at most that many, without those that are
// too long.
func Addrs(in []ma.Multiaddr, most int) []event.Text {
	return whole(in, most, func(a ma.Multiaddr) string {
		if len(a) == 0 {
			return ""
		}
		return a.String()
	})
}

// AddrTexts is Addrs for addresses that are text already.
func AddrTexts(in []string, most int) []event.Text {
	return whole(in, most, func(s string) string { return s })
}

func whole[A any](in []A, most int, text func(A) string) []event.Text {
	var out []event.Text
	for _, a := range in {
		if len(out) == most {
			break
		}
		if s := text(a); s != "" && len(s) <= event.MaxAddrText {
			out = append(out, event.Clean(s, event.MaxAddrText))
		}
	}
	return out
}

// Protocols returns the names of the first event.MaxProtocols protocols. One
// that is too long is cut, and ends with "…".
func Protocols[P ~string](in []P) []event.Text {
	var out []event.Text
	for _, p := range in[:min(len(in), event.MaxProtocols)] {
		out = append(out, event.Clean(string(p), event.MaxProtocolText))
	}
	return out
}

// Agent returns what a peer calls itself. identified is false while the peerstore
// has no agent of it; one that is "" was said by the peer. The error is the
// peerstore's.
func Agent(store peerstore.Peerstore, p peer.ID) (agent event.Text, identified bool, err error) {
	v, err := store.Get(p, "AgentVersion")
	if errors.Is(err, peerstore.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	s, ok := v.(string)
	if !ok {
		return "", false, errors.New("the peerstore's AgentVersion is not a string")
	}
	return event.Clean(s, event.MaxAgentText), true, nil
}
