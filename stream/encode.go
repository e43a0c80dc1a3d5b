package stream

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
)

// hasV3 says whether version 3 of the protocol has a place for the event:
// it knows received messages and connections, nothing else.
func hasV3(e *event.Event) bool {
	switch e.Kind {
	case event.KindMessage:
		return e.Dir == event.Received
	case event.KindConnection:
		return e.Conn != nil
	}
	return false
}

// appendV3 appends the event as one line of JSON, byte for byte what
// encoding/json made of the old exporter's types. The event must have passed
// hasV3. The names and their order are the protocol: they never change.
func appendV3(dst []byte, e *event.Event) []byte {
	dst = append(dst, `{"event":{"timestamp":"`...)
	dst = time.Unix(0, e.Time).AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","peer":"`...)
	dst = appendPeer(dst, e.Peer)
	if e.Kind == event.KindConnection {
		dst = append(dst, `","connection_event":{"remote":`...)
		dst = appendJSONString(dst, string(e.Conn.Addr))
		dst = append(dst, `,"connection_event_type":`...)
		if e.Conn.Closed {
			dst = append(dst, '1')
		} else {
			dst = append(dst, '0')
		}
		return append(dst, "}}}\n"...)
	}
	dst = append(dst, `","bitswap_message":`...)
	dst = appendBody(dst, e, &wantNamesV3)
	return append(dst, "}}}\n"...)
}

// appendBody appends what a message has in both versions, but for the brace
// at its end.
func appendBody(dst []byte, e *event.Event, names *wantNames) []byte {
	dst = append(dst, `{"wantlist_entries":[`...)
	for i := range e.Wants {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendWant(dst, &e.Wants[i], names)
	}
	dst = append(dst, `],"full_wantlist":`...)
	dst = strconv.AppendBool(dst, e.Full)
	dst = append(dst, `,"blocks":[`...)
	for i := range e.Blocks {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendLink(dst, e.Blocks[i].CID)
	}
	dst = append(dst, `],"block_presences":[`...)
	for i := range e.Presences {
		if i > 0 {
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
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSONString(dst, string(a))
	}
	return append(dst, ']')
}

// wantNames is how an entry is written: what comes before each of its values.
type wantNames struct{ cid, priority, kind, cancel, sendDontHave string }

var (
	// Version 3 has Go's names, for the old exporter's entries had no others.
	wantNamesV3 = wantNames{`{"Cid":`, `,"Priority":`, `,"WantType":`, `,"Cancel":`, `,"SendDontHave":`}
	wantNamesV4 = wantNames{`{"cid":`, `,"priority":`, `,"want_type":`, `,"cancel":`, `,"send_dont_have":`}
)

func appendWant(dst []byte, w *event.Want, names *wantNames) []byte {
	// A cancel has none of the three on the wire of Bitswap.
	var priority, kind int64
	sendDontHave := false
	if !w.Cancel {
		priority, kind, sendDontHave = int64(w.Priority), int64(w.Type), w.SendDontHave
	}
	dst = append(dst, names.cid...)
	dst = appendLink(dst, w.CID)
	dst = append(dst, names.priority...)
	dst = strconv.AppendInt(dst, priority, 10)
	dst = append(dst, names.kind...)
	dst = strconv.AppendInt(dst, kind, 10)
	dst = append(dst, names.cancel...)
	dst = strconv.AppendBool(dst, w.Cancel)
	dst = append(dst, names.sendDontHave...)
	dst = strconv.AppendBool(dst, sendDontHave)
	return append(dst, '}')
}

func appendLink(dst []byte, c cid.Cid) []byte {
	if !c.Defined() {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"/":"`...)
	dst = appendCID(dst, c)
	return append(dst, `"}`...)
}

// wholeAddr is false for an address that event.Clean had to change: strict
// clients parse addresses and give up on one that is none.
func wholeAddr(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsRune(s, '\uFFFD') && !strings.HasSuffix(s, "…")
}

// encoder collects frames. It is for one goroutine.
type encoder struct {
	comp      compressor
	raw       []byte
	frameData []byte
	frames    int
	rawBytes  int // JSON in frameData, before compression
}

// add appends the frame of an event that has passed hasV3.
func (enc *encoder) add(e *event.Event) {
	enc.raw = appendV3(enc.raw[:0], e)
	enc.frameData = enc.comp.appendFrame(enc.frameData, enc.raw)
	enc.frames++
	enc.rawBytes += len(enc.raw)
}

// maxScratch is what the encoder keeps between batches, in bytes: a flood of
// the largest events must not stay in memory when it is over.
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
