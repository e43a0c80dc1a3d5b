package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// Filter says which events a subscriber wants. An event must match every list
// that is not empty. The JSON form is part of version 4 of the protocol.
type Filter struct {
	// Kinds: message, connection, identify, note, origins, dht, flood, search,
	// request, retrieval.
	Kinds []string `json:"kinds,omitempty"`
	// Directions of messages and of requests of the DHT: received, sent. Other
	// kinds of events match.
	Directions []string `json:"directions,omitempty"`
	// Peers as base58 or CIDs.
	Peers []string `json:"peers,omitempty"`
	// Sides of a proxy: upstream, downstream. Events of a node have neither.
	Sides []string `json:"sides,omitempty"`
	// Downstreams are names of nodes behind a proxy.
	Downstreams []string `json:"downstreams,omitempty"`

	// The other lists are about the entries of messages. A message matches, with
	// all its entries, if one entry matches all three lists. Other kinds of
	// events do not match.

	// Types: want_block, want_have, cancel, have, dont_have, block.
	Types []string `json:"types,omitempty"`
	// CIDs of any version: their multihashes are compared.
	CIDs []string `json:"cids,omitempty"`
	// Codecs of CIDs: raw, dag-pb, dag-cbor, dag-json, libp2p-key, or a number such as 0x55.
	Codecs []string `json:"codecs,omitempty"`
}

// Validate returns all errors of the filter, joined.
func (f Filter) Validate() error {
	_, err := f.compile()
	return err
}

// The values of Filter.Types, as bits.
const (
	typeWantBlock = 1 << iota
	typeWantHave
	typeCancel
	typeHave
	typeDontHave
	typeBlock
	typeOther
)

var (
	kindValues = []event.Kind{event.KindMessage, event.KindConnection, event.KindIdentify, event.KindNote, event.KindOrigins, event.KindDHT, event.KindFlood,
		event.KindSearch, event.KindRequest, event.KindRetrieval}
	kindNames      = namesOf(kindValues)
	directionNames = []string{"received", "sent"}
	typeNames      = []string{"want_block", "want_have", "cancel", "have", "dont_have", "block"}
	codecNames     = map[string]uint64{
		"raw": cid.Raw, "dag-pb": cid.DagProtobuf, "dag-cbor": cid.DagCBOR, "dag-json": cid.DagJSON, "libp2p-key": cid.Libp2pKey,
	}
)

func namesOf(kinds []event.Kind) (names []string) {
	for _, k := range kinds {
		names = append(names, k.String())
	}
	return names
}

// Kinds returns the kinds of events that version 4 and recordings have, as a
// filter names them.
func Kinds() []string { return slices.Clone(kindNames) }

// matcher is a compiled Filter. It never changes.
type matcher struct {
	key        string // equal for equal filters
	kinds      uint   // bits by event.Kind
	directions uint   // bits by event.Direction
	sides      uint   // bits by event.Side
	types      uint   // bits; all of them if there was no list
	peers      map[peer.ID]bool
	nodes      map[event.Text]bool // names of nodes behind a proxy
	hashes     map[string]bool
	codecs     map[uint64]bool
	entries    bool // one of the lists about entries is not empty
}

func (f Filter) compile() (*matcher, error) {
	var errs []error
	bits := func(name string, words, allowed []string) (set uint) {
		for _, w := range words {
			i := slices.Index(allowed, w)
			if i < 0 {
				errs = append(errs, fmt.Errorf("%s: %q: want one of %s", name, w, strings.Join(allowed, ", ")))
				continue
			}
			set |= 1 << i
		}
		if len(words) == 0 {
			set = ^uint(0)
		}
		return set
	}
	m := &matcher{entries: len(f.Types)+len(f.CIDs)+len(f.Codecs) > 0}
	kinds := bits("kinds", f.Kinds, kindNames)
	for i, k := range kindValues {
		m.kinds |= kinds >> i & 1 << k
	}
	m.directions = bits("directions", f.Directions, directionNames)
	m.types = bits("types", f.Types, typeNames)
	if m.sides = bits("sides", f.Sides, event.SideNames[event.Upstream:]); len(f.Sides) > 0 {
		m.sides <<= event.Upstream
	}
	for _, s := range f.Downstreams {
		if m.nodes == nil {
			m.nodes = make(map[event.Text]bool)
		}
		m.nodes[event.Text(s)] = true
	}
	for _, s := range f.Peers {
		p, err := peertext.ID(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("peers: %q is not a peer ID", event.Clean(s, 128)))
			continue
		}
		if m.peers == nil {
			m.peers = make(map[peer.ID]bool)
		}
		m.peers[p] = true
	}
	for _, s := range f.CIDs {
		c, err := cidtext.Parse(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("cids: %q is not a CID", s))
			continue
		}
		if m.hashes == nil {
			m.hashes = make(map[string]bool)
		}
		m.hashes[hashOf(c)] = true
	}
	for _, s := range f.Codecs {
		code, ok := codecNames[s]
		if !ok {
			var err error
			if code, err = strconv.ParseUint(s, 0, 64); err != nil {
				errs = append(errs, fmt.Errorf("codecs: %q: want raw, dag-pb, dag-cbor, dag-json, libp2p-key or a number such as 0x55", s))
				continue
			}
		}
		if m.codecs == nil {
			m.codecs = make(map[uint64]bool)
		}
		m.codecs[code] = true
	}
	key, err := json.Marshal(f)
	m.key = string(key)
	return m, errors.Join(append(errs, err)...)
}

// match reports whether the event matches. It does not allocate.
func (m *matcher) match(e *event.Event) bool {
	if m.kinds>>e.Kind&1 == 0 || m.peers != nil && !m.peers[e.Peer] || m.sides>>e.Side&1 == 0 {
		return false
	}
	if m.nodes != nil && (e.Side != event.Downstream || !m.nodes[e.Downstream]) {
		return false
	}
	if (e.Kind == event.KindMessage || e.Kind == event.KindDHT) && m.directions>>e.Dir&1 == 0 {
		return false
	}
	if e.Kind != event.KindMessage {
		return !m.entries
	}
	return !m.entries || m.matchEntries(e)
}

func (m *matcher) matchEntries(e *event.Event) bool {
	for i := range e.Wants {
		w := &e.Wants[i]
		t := uint(typeOther)
		switch {
		case w.Cancel:
			t = typeCancel
		case w.Type == event.WantBlock:
			t = typeWantBlock
		case w.Type == event.WantHave:
			t = typeWantHave
		}
		if m.types&t != 0 && m.matchCID(w.CID) {
			return true
		}
	}
	for i := range e.Presences {
		p := &e.Presences[i]
		t := uint(typeOther)
		switch p.Type {
		case event.Have:
			t = typeHave
		case event.DontHave:
			t = typeDontHave
		}
		if m.types&t != 0 && m.matchCID(p.CID) {
			return true
		}
	}
	for i := range e.Blocks {
		if m.types&typeBlock != 0 && m.matchCID(e.Blocks[i].CID) {
			return true
		}
	}
	return false
}

func (m *matcher) matchCID(c cid.Cid) bool {
	if m.hashes == nil && m.codecs == nil {
		return true
	}
	if !c.Defined() || m.codecs != nil && !m.codecs[c.Type()] {
		return false
	}
	return m.hashes == nil || m.hashes[hashOf(c)]
}

// hashOf returns the multihash of a defined CID without an allocation.
func hashOf(c cid.Cid) string {
	key := c.KeyString()
	if c.Version() == 0 {
		return key
	}
	for range 2 { // version and codec, each ends with the first byte below 0x80
		for i := 0; i < len(key); i++ {
			if key[i] < 0x80 {
				key = key[i+1:]
				break
			}
		}
	}
	return key
}
