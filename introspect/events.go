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
	// maxTypes is how many types of events are known at most; events of more
	// are not sent.
	maxTypes = 256
	// MaxContent is the longest content of an event, in bytes.
	MaxContent = 64 << 10
	// eventRate is how many events a second are made for sessions, and
	// eventBurst how many at once; what is more is counted as discarded.
	eventRate  = 2000
	eventBurst = 4000
)

// EventType is the name of a type of events and its columns. It is immutable.
type EventType struct {
	name    string
	columns []*pb.EventType_EventProperty
}

// NewEventType makes a type of events whose content has these columns.
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

// Column describes a key at the top of an event's content; multiple: its value
// is a list.
func Column(name string, t pb.EventType_EventProperty_PropertyType, multiple bool) *pb.EventType_EventProperty {
	return &pb.EventType_EventProperty{Name: name, Type: t, HasMultiple: multiple}
}

// catalogue holds the types of events that were seen.
type catalogue struct {
	mu    sync.Mutex
	known map[string]*EventType
}

func newCatalogue() *catalogue { return &catalogue{known: make(map[string]*EventType)} }

// add notes a type. It is false if there are too many.
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

// types lists what was seen, by name.
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

// encoded is an event whose frames are made when a session wants them, once
// for all sessions.
type encoded struct {
	typ     *EventType
	at      time.Time
	content string

	onceFull, oncePlain   sync.Once
	fullFrame, plainFrame []byte
}

// plain is the frame with the name of the type alone.
func (e *encoded) plain() []byte {
	e.oncePlain.Do(func() { e.plainFrame = e.frame(false) })
	return e.plainFrame
}

// full is the frame with the columns too.
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

// Emit sends an event to all sessions that get events. content is called only if
// there are any; what it returns, a struct or a map that encoding/json can
// encode, becomes a JSON object. Strings in it that came from a peer must have
// passed event.Clean. What encoding/json cannot encode, or is longer than
// MaxContent, is sent as an empty object. Emit never blocks; events beyond 2,000
// a second are discarded and counted.
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
		b = []byte("{}") // the event happened; its content cannot be sent
	}
	// encoding/json replaces what is not UTF-8.
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
