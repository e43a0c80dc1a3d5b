package stream

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
)

// hasV3 reports whether version 3 of the protocol has a place for the event: it
// knows messages received over libp2p, and connections, nothing else.
func hasV3(e *event.Event) bool {
	switch e.Kind {
	case event.KindMessage:
		return e.Dir == event.Received && e.Transport == event.Libp2p
	case event.KindConnection:
		return e.Conn != nil
	}
	return false
}

// appendV3 appends the event as one line of JSON, byte for byte as encoding/json
// wrote the old exporter's types. hasV3 must be true for the event. The names and
// their order are the protocol: they never change.
// exactAddrs is Config.ExactAddresses.
func appendV3(dst []byte, e *event.Event, exactAddrs bool) []byte {
	form := &formV3
	if exactAddrs {
		form = &formV3Exact
	}
	dst = appendV3Event(append(dst, `{"event":`...), e, form)
	return append(dst, "}\n"...)
}

// appendV3Event is appendV3 for the event alone.
func appendV3Event(dst []byte, e *event.Event, form *form) []byte {
	dst = append(dst, `{"timestamp":"`...)
	dst = time.Unix(0, e.Time).AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","peer":"`...)
	dst = cidtext.AppendPeer(dst, e.Peer)
	if e.Kind == event.KindConnection {
		dst = append(dst, `","connection_event":{"remote":`...)
		dst, _ = form.addr(dst, string(e.Conn.Addr))
		dst = append(dst, `,"connection_event_type":`...)
		if e.Conn.Closed {
			dst = append(dst, '1')
		} else {
			dst = append(dst, '0')
		}
		return append(dst, "}}"...)
	}
	dst = append(dst, `","bitswap_message":`...)
	dst = appendBody(dst, e, form)
	return append(dst, "}}"...)
}

// appendBody appends what a message has in both versions, without the closing
// brace.
func appendBody(dst []byte, e *event.Event, form *form) []byte {
	dst = append(dst, `{"wantlist_entries":[`...)
	begun := len(dst)
	for i := range e.Wants {
		if w := &e.Wants[i]; form.strict && (!w.CID.Defined() || !w.Cancel && w.Type != event.WantBlock && w.Type != event.WantHave) {
			continue
		}
		if len(dst) > begun {
			dst = append(dst, ',')
		}
		dst = appendWant(dst, &e.Wants[i], form)
	}
	dst = append(dst, `],"full_wantlist":`...)
	dst = strconv.AppendBool(dst, e.Full)
	dst = append(dst, `,"blocks":[`...)
	begun = len(dst)
	for i := range e.Blocks {
		if form.strict && !e.Blocks[i].CID.Defined() {
			continue
		}
		if len(dst) > begun {
			dst = append(dst, ',')
		}
		dst = appendLink(dst, e.Blocks[i].CID)
	}
	dst = append(dst, `],"block_presences":[`...)
	begun = len(dst)
	for i := range e.Presences {
		if p := &e.Presences[i]; form.strict && (!p.CID.Defined() || p.Type != event.Have && p.Type != event.DontHave) {
			continue
		}
		if len(dst) > begun {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"cid":`...)
		dst = appendLink(dst, e.Presences[i].CID)
		dst = append(dst, `,"block_presence_type":`...)
		dst = strconv.AppendInt(dst, int64(e.Presences[i].Type), 10)
		dst = append(dst, '}')
	}
	dst = append(dst, `],"connected_addresses":[`...)
	first := true
	for _, a := range e.Addrs {
		if !wholeAddr(string(a)) {
			continue
		}
		begun := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		var whole bool
		if dst, whole = form.addr(dst, string(a)); !whole {
			dst = dst[:begun]
			continue
		}
		first = false
	}
	return append(dst, ']')
}

// form is what differs between the versions: the text before each value of an
// entry, and how an address is written (false: only a part of it is).
type form struct {
	cid, priority, kind, cancel, sendDontHave string

	addr func(dst []byte, addr string) ([]byte, bool)

	// strict leaves out what clients of the exporter's AMQP messages cannot decode: entries
	// without a CID, and types that Bitswap 1.2 does not have. They end at the first.
	strict bool
}

func exactAddr(dst []byte, addr string) ([]byte, bool) { return appendJSONString(dst, addr), true }

var (
	// Version 3 has Go's field names: the old exporter's type had no JSON tags.
	formV3       = form{`{"Cid":`, `,"Priority":`, `,"WantType":`, `,"Cancel":`, `,"SendDontHave":`, appendAddr2022, false}
	formV3Exact  = form{formV3.cid, formV3.priority, formV3.kind, formV3.cancel, formV3.sendDontHave, exactAddr, false}
	formV3Strict = form{formV3.cid, formV3.priority, formV3.kind, formV3.cancel, formV3.sendDontHave, appendAddr2022, true}
	formV4       = form{`{"cid":`, `,"priority":`, `,"want_type":`, `,"cancel":`, `,"send_dont_have":`, exactAddr, false}
)

func appendWant(dst []byte, w *event.Want, form *form) []byte {
	// In Bitswap a cancel has none of the three.
	var priority, kind int64
	sendDontHave := false
	if !w.Cancel {
		priority, kind, sendDontHave = int64(w.Priority), int64(w.Type), w.SendDontHave
	}
	dst = append(dst, form.cid...)
	dst = appendLink(dst, w.CID)
	dst = append(dst, form.priority...)
	dst = strconv.AppendInt(dst, priority, 10)
	dst = append(dst, form.kind...)
	dst = strconv.AppendInt(dst, kind, 10)
	dst = append(dst, form.cancel...)
	dst = strconv.AppendBool(dst, w.Cancel)
	dst = append(dst, form.sendDontHave...)
	dst = strconv.AppendBool(dst, sendDontHave)
	return append(dst, '}')
}

func appendLink(dst []byte, c cid.Cid) []byte {
	if !c.Defined() {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"/":"`...)
	dst = cidtext.AppendCID(dst, c)
	return append(dst, `"}`...)
}

// wholeAddr is false for an address that event.Clean changed: strict clients
// parse addresses and disconnect at an invalid one.
func wholeAddr(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsRune(s, '\uFFFD') && !strings.HasSuffix(s, "…")
}

// encoder collects frames. It is for one goroutine.
type encoder struct {
	exactAddrs bool // Config.ExactAddresses
	comp       compressor
	raw        []byte
	frameData  []byte
	frames     int
	rawBytes   int // JSON in frameData, before compression
}

// add appends the frame of an event for which hasV3 is true.
func (enc *encoder) add(e *event.Event) {
	enc.raw = appendV3(enc.raw[:0], e, enc.exactAddrs)
	enc.frameData = enc.comp.appendFrame(enc.frameData, enc.raw)
	enc.frames++
	enc.rawBytes += len(enc.raw)
}

// maxScratch is the largest buffer that the encoder keeps between batches, in
// bytes, so that a flood of the largest events does not occupy memory after it.
const maxScratch = 256 << 10

func (enc *encoder) reset() {
	if cap(enc.raw) > maxScratch {
		enc.raw = nil
	}
	if cap(enc.frameData) > maxScratch {
		enc.frameData = nil
	}
	enc.frameData, enc.frames, enc.rawBytes = enc.frameData[:0], 0, 0
}
