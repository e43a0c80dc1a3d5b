package introspect

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	// maxTypes is the maximum number of event types; events of further types are not sent.
	maxTypes = 256
	// MaxContent is the maximum length of an event's content, in bytes.
	MaxContent = 64 << 10
	// eventRate is the maximum of events per second for sessions, and eventBurst the burst;
	// events beyond are counted as discarded.
	eventRate  = 2000
	eventBurst = 4000
)

// EventType is the name of an event type and its columns. It is immutable.
type EventType struct {
	name    string
	columns []*pb.EventType_EventProperty
}

// NewEventType returns an event type whose content has these columns.
func NewEventType(name string, columns ...*pb.EventType_EventProperty) *EventType {
	return &EventType{name, columns}
}

func (t *EventType) proto(full bool) *pb.EventType {
	out := &pb.EventType{Name: t.name}
	if full {
		out.PropertyTypes = t.columns
	}
	return out
}

// Column describes a top-level key of an event's content; multiple: its value is a list.
func Column(name string, t pb.EventType_EventProperty_PropertyType, multiple bool) *pb.EventType_EventProperty {
	return &pb.EventType_EventProperty{Name: name, Type: t, HasMultiple: multiple}
}

// catalogue holds the event types seen so far.
type catalogue struct {
	mu    sync.Mutex
	known map[string]*EventType
}

func newCatalogue() *catalogue { return &catalogue{known: make(map[string]*EventType)} }

// add records a type. It returns false if there are too many.
func (c *catalogue) add(t *EventType) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[t.name]; !ok {
		if len(c.known) >= maxTypes {
			return false
		}
		c.known[t.name] = t
	}
	return true
}

// types lists the seen types, sorted by name.
func (c *catalogue) types() []*pb.EventType {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*pb.EventType, 0, len(c.known))
	for _, t := range c.known {
		out = append(out, t.proto(true))
	}
	slices.SortFunc(out, func(a, b *pb.EventType) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// newBudget bounds the rate of events.
func newBudget() *rate.Limiter { return rate.NewLimiter(eventRate, eventBurst) }

// encoded is an event whose frames are encoded on demand, once for all sessions.
type encoded struct {
	typ     *EventType
	at      time.Time
	content string

	onceFull, oncePlain   sync.Once
	fullFrame, plainFrame []byte
}

// plain returns the frame with only the name of the type.
func (e *encoded) plain() []byte {
	e.oncePlain.Do(func() { e.plainFrame = e.frame(false) })
	return e.plainFrame
}

// full returns the frame with the columns too.
func (e *encoded) full() []byte {
	e.onceFull.Do(func() { e.fullFrame = e.frame(true) })
	return e.fullFrame
}

func (e *encoded) frame(full bool) []byte {
	b, err := encodeFrame(&pb.ServerMessage{Payload: &pb.ServerMessage_Event{Event: &pb.Event{
		Type: e.typ.proto(full), Ts: pb.Millis(e.at), Content: e.content,
	}}}, len(e.content)+256)
	if err != nil {
		panic(err) // valid UTF-8 of known length can be encoded
	}
	return b
}

// listening counts the sessions that get events.
func (s *Server) listening(on bool) {
	if on {
		s.listeners.Add(1)
	} else {
		s.listeners.Add(-1)
	}
}

// Emit sends an event to all sessions that get events. content is called only if there are any;
// it returns a struct or a map that encoding/json encodes as a JSON object. Strings in it that
// came from a peer must have passed event.Clean. Content that encoding/json cannot encode, or
// longer than MaxContent, is sent as an empty object. Emit never blocks; events beyond 2,000 a
// second are discarded and counted.
func (s *Server) Emit(t *EventType, at time.Time, content func() any) {
	if !s.events.add(t) || s.listeners.Load() == 0 {
		return
	}
	if !s.budget.Allow() {
		s.each((*session).miss)
		return
	}
	b, err := json.Marshal(content())
	if err != nil || len(b) > MaxContent {
		b = []byte("{}") // send the event without its content
	}
	// encoding/json replaces invalid UTF-8.
	e := &encoded{typ: t, at: at, content: string(b)}
	s.each(func(ses *session) { ses.offer(e) })
}

// Missed counts n events as discarded in every session that gets events.
func (s *Server) Missed(n uint64) { s.each(func(ses *session) { ses.missMany(n) }) }

func (s *Server) each(f func(*session)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for ses := range s.sessions {
		f(ses)
	}
}
