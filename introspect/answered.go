package introspect

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// The types of events of how the node got what it wanted.
var (
	typeSearch = NewEventType("ProviderSearch", columns("cid", text, "state", text, "peer", peerID, "agent", text, "address", multiaddrText,
		"http", other, "connected", other, "providers", number, "duration_ms", number)...)
	typeRequest = NewEventType("HTTPRequest", columns("cid", text, "peer", peerID, "method", text, "outcome", text, "address", multiaddrText,
		"country", text, "size", number, "duration_ms", number)...)
	typeRetrieval = NewEventType("BlockRetrieved", columns("cid", text, "peer", peerID, "agent", text, "country", text, "source", text, "transport", text,
		"size", number, "to_provider_ms", number, "to_block_ms", number)...)
)

type searchContent struct {
	CID        string     `json:"cid"`
	State      string     `json:"state"`          // began, found or ended
	Peer       string     `json:"peer,omitempty"` // found: the provider
	Agent      string     `json:"agent,omitempty"`
	Address    event.Text `json:"address,omitempty"`
	HTTP       bool       `json:"http,omitempty"`      // the provider has an HTTP address
	Connected  bool       `json:"connected,omitempty"` // it was connected already
	Providers  int        `json:"providers,omitempty"` // ended: how many were found
	DurationMS float64    `json:"duration_ms,omitempty"`
}

type requestContent struct {
	CID        string     `json:"cid"`
	Peer       string     `json:"peer"`
	Method     string     `json:"method"`
	Outcome    string     `json:"outcome"`
	Address    event.Text `json:"address,omitempty"`
	Country    string     `json:"country,omitempty"`
	Size       int32      `json:"size,omitempty"`
	DurationMS float64    `json:"duration_ms"`
}

type retrievalContent struct {
	CID          string  `json:"cid"`
	Peer         string  `json:"peer"`
	Agent        string  `json:"agent,omitempty"`
	Country      string  `json:"country,omitempty"`
	Source       string  `json:"source"`
	Transport    string  `json:"transport"`
	Size         int32   `json:"size"`
	ToProviderMS float64 `json:"to_provider_ms"`
	ToBlockMS    float64 `json:"to_block_ms"`
}

func (f *Feed) search(e *event.Event) {
	f.srv.Emit(typeSearch, e.At(), func() any {
		s := e.Search
		out := searchContent{CID: s.CID.String(), State: s.State.String(), Address: firstAddr(e), HTTP: s.HTTP, Connected: s.Connected, Providers: s.Providers, DurationMS: millis(s.Elapsed)}
		if e.Peer != "" {
			out.Peer, out.Agent = e.Peer.String(), f.agent(e.Peer)
		}
		return out
	})
}

func (f *Feed) request(e *event.Event) {
	f.srv.Emit(typeRequest, e.At(), func() any {
		r := e.Request
		return requestContent{CID: r.CID.String(), Peer: e.Peer.String(), Method: event.RequestMethods[r.Want&1], Outcome: r.Outcome.String(), Address: firstAddr(e),
			Country: e.Country, Size: r.Size, DurationMS: millis(r.Elapsed)}
	})
}

func (f *Feed) retrieval(e *event.Event) {
	f.srv.Emit(typeRetrieval, e.At(), func() any {
		r := e.Retrieval
		return retrievalContent{CID: r.CID.String(), Peer: e.Peer.String(), Agent: f.agent(e.Peer), Country: e.Country, Source: r.Source.String(),
			Transport: e.Transport.String(), Size: r.Size, ToProviderMS: millis(r.ToProvider), ToBlockMS: millis(r.ToBlock)}
	})
}

func firstAddr(e *event.Event) event.Text {
	if len(e.Addrs) > 0 {
		return e.Addrs[0]
	}
	return ""
}

// answered adds how the node got what it wanted to a state's content.
func answered(out *pb.Content, s *event.Summary) {
	r := &s.Retrieval
	for i := range r.Sources {
		if f := &r.Sources[i]; f.Blocks > 0 {
			out.Retrievals = append(out.Retrievals, &pb.Content_Retrieval{Source: event.SourceNames[i], Blocks: f.Blocks, Bytes: f.Bytes,
				ProviderP50Us: micros(f.ToProvider.P50), ProviderP90Us: micros(f.ToProvider.P90),
				BlockP50Us: micros(f.ToBlock.P50), BlockP90Us: micros(f.ToBlock.P90), BlockMaxUs: micros(f.ToBlock.Max)})
		}
	}
	w := &pb.Content_Wanted{Blocks: r.Wanted, GivenUp: r.GivenUp, Unanswered: r.Unanswered, Waiting: uint64(max(0, r.Waiting)), Surplus: r.Surplus,
		Searches: r.Searches, Providers: r.Providers, NotFound: r.NotFound, SearchP50Us: micros(r.Search.P50), SearchP90Us: micros(r.Search.P90)}
	if len(out.Retrievals) > 0 || w.Blocks+w.GivenUp+w.Unanswered+w.Waiting+w.Surplus+w.Searches+w.Providers+w.NotFound > 0 {
		out.Wanted = w
	}
	for m := range s.Requests {
		for o := range s.Requests[m] {
			if q := &s.Requests[m][o]; q.Took.Count > 0 {
				out.HttpRequests = append(out.HttpRequests, &pb.Content_HttpRequests{Method: event.RequestMethods[m], Outcome: event.RequestOutcomeNames[o],
					Requests: q.Took.Count, Bytes: q.Bytes, P50Us: micros(q.Took.P50), MaxUs: micros(q.Took.Max)})
			}
		}
	}
}
