package stream

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// Search is a step of a search for the providers of a CID, which the node made in
// its content routing. Peer is the provider that was found, else empty.
type Search struct {
	Cid       cid.Cid  `json:"cid"`
	State     string   `json:"state"`               // began, found or ended
	Addrs     []string `json:"addresses"`           // found: of the provider's record
	HTTP      bool     `json:"http,omitempty"`      // found: the record has an HTTP address
	Connected bool     `json:"connected,omitempty"` // found: the node was connected to the provider already
	Providers int      `json:"providers,omitempty"` // ended: records that the routing returned
	Duration  int64    `json:"duration_ns,omitempty"`
}

// Request is a want that was asked over HTTP, of Peer, and how that ended.
// Timestamp is the end.
type Request struct {
	Cid      cid.Cid  `json:"cid"`
	Method   string   `json:"method"`         // GET of a block, or HEAD: whether the server has it
	Outcome  string   `json:"outcome"`        // block, have, dont_have, canceled, timeout, error, no_answer
	Addrs    []string `json:"addresses"`      // of the server
	Size     int32    `json:"size,omitempty"` // bytes of the block
	Duration int64    `json:"duration_ns,omitempty"`
}

// Retrieval is a block that the node wanted and got from Peer.
type Retrieval struct {
	Cid        cid.Cid `json:"cid"`
	Source     string  `json:"source"` // where the provider came from: connected, routing, session, http or unknown
	Transport  string  `json:"transport,omitempty"`
	Size       int32   `json:"size,omitempty"`
	ToProvider int64   `json:"to_provider_ns,omitempty"` // from the first want or search to the first provider
	ToBlock    int64   `json:"to_block_ns,omitempty"`    // and to the block
}

func appendSearch(dst []byte, e *event.Event) []byte {
	s := e.Search
	dst = appendLink(append(dst, `{"cid":`...), s.CID)
	dst = appendString(dst, "state", s.State.String())
	dst = appendTexts(appendName(dst, "addresses"), e.Addrs)
	dst = appendTrue(dst, "http", s.HTTP)
	dst = appendTrue(dst, "connected", s.Connected)
	dst = appendInt(dst, "providers", int64(s.Providers))
	dst = appendInt(dst, "duration_ns", int64(s.Elapsed))
	return append(dst, '}')
}

func appendRequest(dst []byte, e *event.Event) []byte {
	r := e.Request
	dst = appendLink(append(dst, `{"cid":`...), r.CID)
	dst = appendString(dst, "method", event.RequestMethods[r.Want&1])
	dst = appendString(dst, "outcome", r.Outcome.String())
	dst = appendTexts(appendName(dst, "addresses"), e.Addrs)
	dst = appendInt(dst, "size", int64(r.Size))
	dst = appendInt(dst, "duration_ns", int64(r.Elapsed))
	return append(dst, '}')
}

func appendRetrieval(dst []byte, e *event.Event) []byte {
	r := e.Retrieval
	dst = appendLink(append(dst, `{"cid":`...), r.CID)
	dst = appendString(dst, "source", r.Source.String())
	if e.Transport != event.Libp2p {
		dst = appendString(dst, "transport", e.Transport.String())
	}
	dst = appendInt(dst, "size", int64(r.Size))
	dst = appendInt(dst, "to_provider_ns", int64(r.ToProvider))
	dst = appendInt(dst, "to_block_ns", int64(r.ToBlock))
	return append(dst, '}')
}

// The following methods make the events. Names outside of their closed sets
// become the last of the set.

func (s *Search) fill(out *event.Event) {
	out.Kind, out.Addrs = event.KindSearch, peertext.AddrTexts(s.Addrs, event.MaxAddrs)
	out.Search = &event.Search{CID: keep(s.Cid, out), State: event.SearchState(sets.Index(event.SearchStates, s.State)), HTTP: s.HTTP, Connected: s.Connected,
		Providers: max(s.Providers, 0), Elapsed: time.Duration(max(s.Duration, 0))}
}

func (r *Request) fill(out *event.Event) {
	out.Kind, out.Dir, out.Transport, out.Addrs = event.KindRequest, event.Sent, event.HTTP, peertext.AddrTexts(r.Addrs, event.MaxAddrs)
	out.Request = &event.Request{CID: keep(r.Cid, out), Want: event.WantType(sets.Index(event.RequestMethods[:], r.Method)),
		Outcome: event.RequestOutcome(sets.Index(event.RequestOutcomeNames[:], r.Outcome)), Size: max(r.Size, 0), Elapsed: time.Duration(max(r.Duration, 0))}
}

func (r *Retrieval) fill(out *event.Event) {
	out.Kind, out.Transport = event.KindRetrieval, event.Transport(max(0, slices.Index([]string{event.Libp2p.String(), event.HTTP.String()}, r.Transport)))
	out.Retrieval = &event.Retrieval{CID: keep(r.Cid, out), Source: event.Source(sets.Index(event.SourceNames[:], r.Source)), Size: max(r.Size, 0),
		ToProvider: time.Duration(max(r.ToProvider, 0)), ToBlock: time.Duration(max(r.ToBlock, 0))}
}

func (s *Search) clean() {
	s.State = sets.Name(event.SearchStates, s.State)
	cleanAll(event.MaxAddrText, s.Addrs)
}

func (r *Request) clean() {
	r.Method, r.Outcome = sets.Name(event.RequestMethods[:], r.Method), sets.Name(event.RequestOutcomeNames[:], r.Outcome)
	cleanAll(event.MaxAddrText, r.Addrs)
}

func (r *Retrieval) clean() {
	r.Source = sets.Name(event.SourceNames[:], r.Source)
	r.Transport = string(event.Clean(r.Transport, event.MaxProtocolText))
}

func cleanAll(limit int, all []string) {
	for i := range all {
		all[i] = string(event.Clean(all[i], limit))
	}
}

// appendText appends the step; peer is empty unless a provider was found.
func (s *Search) appendText(dst []byte, peer string) []byte {
	if peer == "" {
		dst = append(dst, "-- search for providers of "...)
		dst = appendCIDText(dst, s.Cid)
		dst = append(append(dst, ' '), s.State...)
	} else {
		dst = append(dst, " is found as a provider of "...)
		dst = appendCIDText(dst, s.Cid)
		if s.HTTP {
			dst = append(dst, ", over HTTP"...)
		}
		if s.Connected {
			dst = append(dst, ", connected already"...)
		}
	}
	if s.State == event.SearchEnded.String() {
		dst = strconv.AppendInt(append(dst, ": "...), int64(s.Providers), 10)
		dst = append(dst, " providers"...)
	}
	if s.Duration > 0 {
		dst = appendAfter(dst, s.Duration)
	}
	return dst
}

func (r *Request) appendText(dst []byte) []byte {
	dst = append(append(append(dst, " is asked over HTTP: "...), r.Method...), ' ')
	dst = appendCIDText(dst, r.Cid)
	dst = append(append(dst, ", "...), r.Outcome...)
	if r.Size > 0 {
		dst = strconv.AppendInt(append(dst, " of "...), int64(r.Size), 10)
		dst = append(dst, " bytes"...)
	}
	dst = appendAfter(dst, r.Duration)
	if len(r.Addrs) > 0 {
		dst = append(append(dst, " at "...), r.Addrs[0]...)
	}
	return dst
}

func (r *Retrieval) appendText(dst []byte) []byte {
	dst = appendCIDText(append(dst, " sent the wanted block "...), r.Cid)
	dst = strconv.AppendInt(append(dst, " of "...), int64(r.Size), 10)
	dst = append(append(dst, " bytes, source "...), r.Source...)
	dst = appendAfter(dst, r.ToBlock)
	dst = append(dst, ", a provider"...)
	return appendAfter(dst, r.ToProvider)
}

func appendAfter(dst []byte, ns int64) []byte {
	return append(append(dst, " after "...), time.Duration(ns).Round(time.Microsecond).String()...)
}

func appendCIDText(dst []byte, c cid.Cid) []byte {
	if !c.Defined() {
		return append(dst, '-')
	}
	return cidtext.AppendCID(dst, c)
}

// csvType is the cell of the type in CSV: get_block, head_dont_have and so on.
func (r *Request) csvType() string { return strings.ToLower(r.Method) + "_" + r.Outcome }
