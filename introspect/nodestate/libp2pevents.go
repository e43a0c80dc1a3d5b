package nodestate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	libp2pevent "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const (
	// busBuffer is the size of libp2p's queue for us, and followBuffer that of ours behind it:
	// an emitter blocks when libp2p's queue is full, so a goroutine only moves events from one
	// to the other.
	busBuffer    = 256
	followBuffer = 1024
	// maxList is how many elements of a list in an event are shown.
	maxList = 64
	// maxText bounds one string of an event, in bytes.
	maxText = 1024
	// maxNested bounds how deeply an event's values are traversed.
	maxNested = 8
)

// follower forwards the events of libp2p's bus to sessions.
type follower struct {
	guard guard.Guard
	types map[reflect.Type]*introspect.EventType // of the forwarding goroutine
}

func newFollower(log *slog.Logger) *follower {
	return &follower{guard: guard.Guard{Log: log}, types: make(map[reflect.Type]*introspect.EventType)}
}

// follow forwards all events of libp2p's bus until ctx ends. Libp2p does not wait for it.
func (f *follower) follow(ctx context.Context, bus libp2pevent.Bus, srv *introspect.Server) error {
	sub, err := bus.Subscribe(libp2pevent.WildcardSubscription, eventbus.BufSize(busBuffer), eventbus.Name("ipfsmon-introspect"))
	if err != nil {
		return fmt.Errorf("nodestate: subscribe to libp2p's events: %w", err)
	}
	defer sub.Close() //nolint:errcheck // it never fails
	type seen struct {
		value any
		at    time.Time
	}
	queue := make(chan seen, followBuffer)
	var missed atomic.Uint64
	done := make(chan struct{})
	go func() { // ends with queue
		defer close(done)
		for e := range queue {
			if n := missed.Swap(0); n > 0 {
				srv.Missed(n)
			}
			f.pass(srv, e.value, e.at)
		}
	}()
	defer func() { close(queue); <-done }()
	for {
		select {
		case v, ok := <-sub.Out():
			if !ok {
				return nil
			}
			select {
			case queue <- seen{v, time.Now()}:
			default:
				missed.Add(1)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// pass emits one event of libp2p.
func (f *follower) pass(srv *introspect.Server, v any, at time.Time) {
	defer func() {
		if p := recover(); p != nil {
			f.guard.Caught(p, "introspect: forward an event of libp2p", "type", fmt.Sprintf("%T", v))
		}
	}()
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	if rv.Kind() != reflect.Struct {
		return // as in the original: only structs have columns
	}
	t := f.types[rv.Type()]
	if t == nil {
		t = describe(rv.Type())
		f.types[rv.Type()] = t
	}
	srv.Emit(t, at, func() any {
		out := make(map[string]any, rv.NumField())
		for i := range rv.NumField() {
			if f := rv.Type().Field(i); f.IsExported() {
				out[f.Name] = plain(rv.Field(i), maxNested)
			}
		}
		return out
	})
}

var (
	typePeer  = reflect.TypeFor[peer.ID]()
	typeTime  = reflect.TypeFor[time.Time]()
	typeJSON  = reflect.TypeFor[json.RawMessage]()
	typeAddr  = reflect.TypeFor[multiaddr.Multiaddr]()
	typeConn  = reflect.TypeFor[network.Conn]()
	typeError = reflect.TypeFor[error]()
)

// describe returns the columns of a struct: its exported fields.
func describe(t reflect.Type) *introspect.EventType {
	var columns []*pb.EventType_EventProperty
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		inner, multiple := f.Type, false
		if k := inner.Kind(); (k == reflect.Slice || k == reflect.Array) && inner != typeJSON && inner != typeAddr {
			inner, multiple = inner.Elem(), true
		}
		columns = append(columns, introspect.Column(f.Name, columnType(inner), multiple))
	}
	return introspect.NewEventType(t.Name(), columns...)
}

func columnType(t reflect.Type) pb.EventType_EventProperty_PropertyType {
	switch {
	case t == typePeer:
		return pb.EventType_EventProperty_PEERID
	case t == typeTime:
		return pb.EventType_EventProperty_TIME
	case t == typeJSON:
		return pb.EventType_EventProperty_JSON
	case t == typeAddr:
		return pb.EventType_EventProperty_MULTIADDR
	case t.Kind() == reflect.String, t == typeConn, t == typeError:
		return pb.EventType_EventProperty_STRING
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64 && t.Kind() != reflect.Uintptr:
		return pb.EventType_EventProperty_NUMBER
	}
	return pb.EventType_EventProperty_JSON
}

// plain converts a value for encoding/json: strings sanitised and bounded, lists bounded, and
// no references to the node's data.
func plain(v reflect.Value, depth int) any {
	if depth == 0 || !v.IsValid() {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		if v.IsNil() {
			return nil
		}
	}
	switch x := v.Interface().(type) {
	case peer.ID:
		return x.String()
	case time.Time:
		return x.UTC()
	case json.RawMessage:
		if len(x) > introspect.MaxContent || !json.Valid(x) {
			return nil
		}
		return x
	case multiaddr.Multiaddr:
		return event.Clean(x.String(), event.MaxAddrText)
	case network.Conn:
		return x.ID()
	case error:
		return event.Clean(x.Error(), maxText)
	}
	switch v.Kind() {
	case reflect.String:
		return event.Clean(v.String(), maxText)
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint()
	case reflect.Float32, reflect.Float64:
		return plainFloat(v.Float())
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil // bytes are not readable
		}
		out := make([]any, 0, min(v.Len(), maxList))
		for i := range min(v.Len(), maxList) {
			out = append(out, plain(v.Index(i), depth-1))
		}
		return out
	case reflect.Struct:
		out := make(map[string]any, v.NumField())
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				out[f.Name] = plain(v.Field(i), depth-1)
			}
		}
		return out
	case reflect.Map:
		out := make(map[string]any)
		for it := v.MapRange(); it.Next() && len(out) < maxList; {
			out[string(event.Clean(fmt.Sprint(it.Key()), maxText))] = plain(it.Value(), depth-1)
		}
		return out
	case reflect.Pointer, reflect.Interface:
		return plain(v.Elem(), depth-1)
	}
	return nil
}

// plainFloat leaves out values that JSON cannot represent.
func plainFloat(f float64) any {
	if f != f || f > 1e308 || f < -1e308 {
		return nil
	}
	return f
}
