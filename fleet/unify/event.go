package unify

import (
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Kind is what an Event is.
type Kind uint8

// The kinds of events.
const (
	Message      Kind = iota // a Bitswap message that the monitor received
	Connected                // a connection to the peer was opened
	Disconnected             // a connection to the peer was closed
	Restarted                // the monitor started: it has no connections and no ledgers. It has no peer
)

// Event is what the unifier needs to know of something that a monitor saw.
type Event struct {
	Time    int64  // nanoseconds since 1970 UTC
	Seq     uint64 // of the monitor's events; orders events of one time. 0 where unknown: the order of arrival
	Monitor int    // index in Config.Monitors
	Kind    Kind
	Full    bool // the message has a full wantlist
	Peer    peer.ID
	Address string // of the peer's first connection
	Wants   []Want // of a message
}

// Want is an entry of a message's wantlist.
type Want struct {
	CID      cid.Cid
	Priority int32
	Type     EntryType // Cancel to WantHaveDontHave; 0: a type that Bitswap does not know, or no CID
}

// maxPeerTexts bounds the peers that a Converter remembers.
const maxPeerTexts = 16 << 10

// Converter makes events of what one monitor's stream or recording has. It is
// for one goroutine.
type Converter struct {
	monitor int
	peers   map[string]peer.ID // to decode the text of a peer once, not with each of its messages
}

// NewConverter returns a converter of the events of a monitor, which is an index
// in Config.Monitors.
func NewConverter(monitor int) *Converter {
	return &Converter{monitor: monitor, peers: map[string]peer.ID{}}
}

// Event returns the event as the unifier needs it. ok is false, without an error,
// for what has no part in a unified trace: other kinds of events, sent messages,
// messages over HTTP, and what a proxy exchanges with the nodes behind it. The
// error is about an event that says who it is about in an invalid way. The
// result shares the CIDs of e.
func (c *Converter) Event(e *stream.Event) (out Event, ok bool, err error) {
	out = Event{Seq: e.Seq, Monitor: c.monitor}
	switch {
	case e.Side == event.Downstream.String():
		return out, false, nil
	case e.Note != nil && e.Note.Kind == event.NoteStart.String():
		out.Kind = Restarted
	case e.Message != nil && e.Message.Transport != event.HTTP.String():
		out.Kind, out.Full = Message, e.Message.Full
		if len(e.Message.Addrs) > 0 {
			out.Address = address(e.Message.Addrs[0])
		}
		out.Wants = wants(e.Message.Wants)
	case e.Connection != nil:
		out.Kind, out.Address = Connected, address(e.Connection.Remote)
		if e.Connection.Type == 1 {
			out.Kind = Disconnected
		}
	default:
		return out, false, nil
	}
	if y := e.Timestamp.Year(); y < 1970 || y > 2261 {
		return out, false, fmt.Errorf("fleet: an event of the year %d: want 1970 to 2261", y)
	}
	out.Time = e.Timestamp.UnixNano()
	if out.Kind != Restarted {
		if out.Peer, err = c.Peer(e.Peer); err != nil {
			return out, false, fmt.Errorf("fleet: an event of %q, which is not a peer ID: %w", string(event.Clean(e.Peer, event.MaxProtocolText)), err)
		}
	}
	return out, true, nil
}

// Peer decodes a peer's text, and remembers the result for the next time.
func (c *Converter) Peer(text string) (peer.ID, error) {
	if p, ok := c.peers[text]; ok {
		return p, nil
	}
	p, err := peertext.ID(text)
	if err == nil && len(p) > event.MaxCIDBytes {
		err = fmt.Errorf("%d bytes: want at most %d", len(p), event.MaxCIDBytes)
	}
	if err != nil {
		return "", err
	}
	if len(c.peers) >= maxPeerTexts {
		clear(c.peers)
	}
	c.peers[text] = p
	return p, nil
}

// address returns the text of an address, or "" for what is none.
func address(text string) string {
	if !strings.HasPrefix(text, "/") {
		return ""
	}
	return string(event.Clean(text, event.MaxAddrText))
}

func wants(in []stream.Want) []Want {
	if len(in) == 0 {
		return nil
	}
	out := make([]Want, len(in))
	for i := range in {
		w := &in[i]
		out[i] = Want{CID: w.Cid, Priority: w.Priority, Type: entryType(w)}
	}
	return out
}

// entryType returns the type of an entry, 0 for one that Bitswap does not know or
// that has no CID of a length that a monitor keeps.
func entryType(w *stream.Want) EntryType {
	t := EntryType(0)
	switch {
	case !w.Cid.Defined() || w.Cid.ByteLen() > event.MaxCIDBytes:
		return 0
	case w.Cancel:
		return Cancel
	case w.WantType == int32(event.WantBlock):
		t = WantBlock
	case w.WantType == int32(event.WantHave):
		t = WantHave
	default:
		return 0
	}
	if w.SendDontHave {
		t++
	}
	return t
}
