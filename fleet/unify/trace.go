package unify

import (
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Trace makes messages of unified entries again: those of all monitors in one
// trace, without global duplicates, and with synthetic cancels as cancels. All
// messages are incremental, so that what is left out ends nothing in a reader's
// ledgers. It is for one goroutine.
type Trace struct {
	names []string
	each  func(*stream.Event) error
	event *stream.Event // the message that is being collected
	id    int64
}

// NewTrace returns a trace of the monitors with these names. It calls each with
// every message that has entries; Event.Monitor names the monitor.
func NewTrace(names []string, each func(*stream.Event) error) *Trace {
	return &Trace{names: names, each: each}
}

// Add adds an entry.
func (t *Trace) Add(e *Entry) error {
	if e.Duplicate {
		return nil
	}
	if t.event != nil && t.id != e.MessageID {
		if err := t.Close(); err != nil {
			return err
		}
	}
	if t.event == nil {
		t.id = e.MessageID
		t.event = &stream.Event{Timestamp: time.Unix(0, e.Time).UTC(), Peer: e.Peer.String(), Monitor: t.names[e.Monitor], Message: &stream.Message{}}
		if e.Address != "" {
			t.event.Message.Addrs = []string{e.Address}
		}
	}
	w := stream.Want{Cid: e.CID, Priority: e.Priority, Cancel: !e.Type.Request(), SendDontHave: e.Type == WantBlockDontHave || e.Type == WantHaveDontHave}
	if !w.Cancel && e.Type.have() {
		w.WantType = int32(event.WantHave)
	}
	t.event.Message.Wants = append(t.event.Message.Wants, w)
	return nil
}

// Close completes the last message. It may be called more than once.
func (t *Trace) Close() error {
	e := t.event
	if e == nil {
		return nil
	}
	t.event = nil
	return t.each(e)
}
