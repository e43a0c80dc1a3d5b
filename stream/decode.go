package stream

import (
	"bytes"
	"encoding/json"
	"math"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/internal/cidtext"
)

// decodeLine fills e, which is empty, with a line. Most lines are messages as
// appendV4 writes them, which a scanner reads in a fraction of the time that
// encoding/json takes. It reads nothing else: encoding/json reads all other lines,
// and those in which the scanner finds something that it does not expect. What
// both read is the same (FuzzDecodeLine).
func decodeLine(line []byte, e *Event) error {
	s := scanner{in: line}
	if s.event(e) {
		return nil
	}
	*e = Event{}
	return json.Unmarshal(line, e)
}

// decodeRecorded is decodeLine for the lines of recordings, which may be in a frame
// of version 3, or have the older form of ipfs-tools.
func decodeRecorded(line []byte, e *Event) error {
	s := scanner{in: line}
	if s.event(e) {
		return nil
	}
	var l struct {
		Event
		Framed *Event `json:"event"`
		jsonMessage
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	*e = l.Event
	if l.Framed != nil {
		*e = *l.Framed
	} else if !e.known() {
		l.jsonMessage.fill(e)
	}
	return nil
}

// scanner reads the lines of appendV4, in which the keys have one order and no
// space is between them. Its methods return false at anything else.
type scanner struct{ in []byte }

// skip reads a text that must be there.
func (s *scanner) skip(text string) bool {
	if len(s.in) < len(text) || string(s.in[:len(text)]) != text {
		return false
	}
	s.in = s.in[len(text):]
	return true
}

// raw reads up to the next quote. The result is valid until the line changes.
func (s *scanner) raw() ([]byte, bool) {
	n := bytes.IndexByte(s.in, '"')
	if n < 0 {
		return nil, false
	}
	out := s.in[:n]
	s.in = s.in[n+1:]
	return out, true
}

// text reads the rest of a string after its opening quote, which must be printable
// ASCII without escapes.
func (s *scanner) text() ([]byte, bool) {
	out, ok := s.raw()
	for _, c := range out {
		if c < 0x20 || c > 0x7e || c == '\\' {
			return nil, false
		}
	}
	return out, ok
}

// member reads a text after a key, if the key is there.
func (s *scanner) member(key string, to *string) bool {
	if !s.skip(key) {
		return true
	}
	out, ok := s.text()
	*to = string(out)
	return ok
}

// number reads a whole number without a sign that fits into limit. JSON has no
// leading zeros.
func (s *scanner) number(limit uint64) (uint64, bool) {
	var v uint64
	n := 0
	for n < len(s.in) && s.in[n] >= '0' && s.in[n] <= '9' {
		if v = v*10 + uint64(s.in[n]-'0'); n >= 18 {
			return 0, false // may not fit
		}
		n++
	}
	if n == 0 || n > 1 && s.in[0] == '0' || v > limit {
		return 0, false
	}
	s.in = s.in[n:]
	return v, true
}

// int32 reads a whole number.
func (s *scanner) int32() (int32, bool) {
	minus := s.skip("-")
	v, ok := s.number(math.MaxInt32)
	if minus {
		return -int32(v), ok
	}
	return int32(v), ok
}

func (s *scanner) bool() (v, ok bool) {
	if s.skip("false") {
		return false, true
	}
	return true, s.skip("true")
}

// event reads a whole line.
func (s *scanner) event(e *Event) bool {
	if !s.skip(`{"timestamp":"`) {
		return false
	}
	at, ok := s.raw()
	if !ok || !s.skip(`,"peer":"`) || e.Timestamp.UnmarshalText(at) != nil {
		return false
	}
	peer, ok := s.text()
	if !ok {
		return false
	}
	e.Peer = string(peer)
	m := new(Message)
	switch {
	case s.skip(`,"bitswap_message":`):
		e.Message = m
	case s.skip(`,"sent_message":`):
		e.Sent = m
	default:
		return false
	}
	if !s.message(m) {
		return false
	}
	if s.skip(`,"seq":`) {
		if e.Seq, ok = s.number(math.MaxUint64); !ok {
			return false
		}
	}
	if !s.member(`,"country":"`, &e.Country) {
		return false
	}
	if s.skip(`,"gateway":`) {
		if e.Gateway, ok = s.bool(); !ok {
			return false
		}
	}
	if !s.member(`,"side":"`, &e.Side) || !s.member(`,"downstream":"`, &e.Downstream) || !s.member(`,"monitor":"`, &e.Monitor) {
		return false
	}
	return s.skip("}") && (len(s.in) == 0 || string(s.in) == "\n")
}

func (s *scanner) message(m *Message) bool {
	if !s.skip(`{"wantlist_entries":[`) {
		return false
	}
	// In a batch of most monitors, entries have about this many bytes.
	const wantBytes = 150
	m.Wants = make([]Want, 0, min(16, 1+len(s.in)/wantBytes))
	for !s.skip("]") {
		var w Want
		if len(m.Wants) > 0 && !s.skip(",") || !s.want(&w) {
			return false
		}
		m.Wants = append(m.Wants, w)
	}
	var ok bool
	if !s.skip(`,"full_wantlist":`) {
		return false
	}
	if m.Full, ok = s.bool(); !ok || !s.skip(`,"blocks":[`) {
		return false
	}
	m.Blocks = []cid.Cid{}
	for !s.skip("]") {
		var c cid.Cid
		if len(m.Blocks) > 0 && !s.skip(",") || !s.cid(&c) {
			return false
		}
		m.Blocks = append(m.Blocks, c)
	}
	if !s.skip(`,"block_presences":[`) {
		return false
	}
	m.Presences = []Presence{}
	for !s.skip("]") {
		var p Presence
		if len(m.Presences) > 0 && !s.skip(",") || !s.skip(`{"cid":`) || !s.cid(&p.Cid) || !s.skip(`,"block_presence_type":`) {
			return false
		}
		if p.Type, ok = s.int32(); !ok || !s.skip("}") {
			return false
		}
		m.Presences = append(m.Presences, p)
	}
	if !s.skip(`,"connected_addresses":[`) {
		return false
	}
	m.Addrs = []string{}
	for !s.skip("]") {
		if len(m.Addrs) > 0 && !s.skip(",") || !s.skip(`"`) {
			return false
		}
		addr, ok := s.text()
		if !ok {
			return false
		}
		m.Addrs = append(m.Addrs, string(addr))
	}
	return s.sizes(m)
}

// sizes reads the members of a message that version 3 does not have.
func (s *scanner) sizes(m *Message) bool {
	var ok bool
	if s.skip(`,"block_sizes":[`) {
		m.BlockSizes = []int32{}
		for !s.skip("]") {
			if len(m.BlockSizes) > 0 && !s.skip(",") {
				return false
			}
			n, ok := s.int32()
			if !ok {
				return false
			}
			m.BlockSizes = append(m.BlockSizes, n)
		}
	}
	if s.skip(`,"pending_bytes":`) {
		if m.PendingBytes, ok = s.int32(); !ok {
			return false
		}
	}
	if s.skip(`,"wire_size":`) {
		if m.WireSize, ok = s.int32(); !ok {
			return false
		}
	}
	return s.skip("}")
}

func (s *scanner) want(w *Want) (ok bool) {
	if !s.skip(`{"cid":`) || !s.cid(&w.Cid) || !s.skip(`,"priority":`) {
		return false
	}
	if w.Priority, ok = s.int32(); !ok || !s.skip(`,"want_type":`) {
		return false
	}
	if w.WantType, ok = s.int32(); !ok || !s.skip(`,"cancel":`) {
		return false
	}
	if w.Cancel, ok = s.bool(); !ok || !s.skip(`,"send_dont_have":`) {
		return false
	}
	if w.SendDontHave, ok = s.bool(); !ok {
		return false
	}
	return s.skip("}")
}

// cid reads a CID of version 1 in lower-case base32 or one of version 0.
func (s *scanner) cid(c *cid.Cid) bool {
	if !s.skip(`{"/":"`) {
		return false
	}
	text, ok := s.raw()
	if !ok || !s.skip("}") || len(text) == 0 {
		return false
	}
	var err error
	if text[0] == 'Q' {
		*c, err = cidtext.Parse(string(text))
		return err == nil
	}
	var room [128]byte
	if text[0] != 'b' || len(text) > 200 {
		return false
	}
	data, ok := appendBase32(room[:0], text[1:])
	if !ok {
		return false
	}
	*c, err = cid.Cast(data)
	return err == nil && c.Version() == 1
}

// base32Values are the values of the digits of base32 in lower case, 255 for what
// is none.
var base32Values = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i, c := range []byte("abcdefghijklmnopqrstuvwxyz234567") {
		t[c] = byte(i)
	}
	return t
}()

// appendBase32 appends what text, without padding, encodes. It is for the many
// CIDs of a busy stream: encoding/base32 takes several times as long. It refuses
// what an encoder does not write.
func appendBase32(dst, text []byte) ([]byte, bool) {
	for ; len(text) >= 8; text = text[8:] {
		var v uint64
		var bad byte
		for _, c := range text[:8] {
			d := base32Values[c]
			bad |= d
			v = v<<5 | uint64(d)
		}
		if bad > 31 {
			return nil, false
		}
		dst = append(dst, byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	var v, bits uint64
	for _, c := range text {
		d := base32Values[c]
		if d > 31 {
			return nil, false
		}
		v = v<<5 | uint64(d)
		if bits += 5; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(v>>bits))
			v &= 1<<bits - 1
		}
	}
	return dst, bits < 5 && v == 0
}
