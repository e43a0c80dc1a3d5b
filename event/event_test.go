package event

import (
	"reflect"
	"testing"
)

// TestClone: a clone has its own copy of everything that the bus uses again, and shares
// what never changes. A new field of Event must be added here.
func TestClone(t *testing.T) {
	e := &Event{
		Seq: 3, Time: 5, Kind: KindMessage, Dir: Sent, Transport: HTTP, Took: 1, Full: true, Peer: "p", Country: "DE", Gateway: true, Side: Downstream, Downstream: "n", Monitor: "m",
		PendingBytes: 1, WireSize: 2, Truncated: 3, OversizeCID: 4,
		Wants: []Want{{Priority: 1}, {Priority: 2}}, Presences: []Presence{{Type: DontHave}}, Blocks: []Block{{Size: 9}}, Addrs: []Text{"/a"},
		Conn: new(Conn), Identify: new(Identify), Sample: new(Sample), Latency: new(Latency), Summary: new(Summary), Proxy: new(Proxy),
		Probe: new(Probe), ClockStep: new(ClockStep), SendError: new(SendError),
		Note: new(Note), Origins: new(Origins), Pipeline: new(Pipeline), DHT: new(DHTRequest),
		Search: new(Search), Retrieval: new(Retrieval), Request: new(Request), Flood: new(Flood), Fleet: new(Fleet),
	}
	for i := range reflect.TypeOf(*e).NumField() {
		if reflect.ValueOf(*e).Field(i).IsZero() {
			t.Errorf("%s is not set in this test", reflect.TypeOf(*e).Field(i).Name)
		}
	}
	out := &Event{Wants: make([]Want, 5, 64), Country: "FR"}
	room := &out.Wants[0]
	e.CloneInto(out)
	if &out.Wants[0] != room {
		t.Error("the clone did not use its own list again")
	}
	for name, c := range map[string]*Event{"Clone": e.Clone(), "CloneInto": out} {
		if !reflect.DeepEqual(c, e) {
			t.Errorf("%s: %+v, want %+v", name, c, e)
		}
		if c.Conn != e.Conn || &c.Addrs[0] != &e.Addrs[0] {
			t.Errorf("%s: the clone copies what never changes, want it shared", name)
		}
	}
	clone := e.Clone()
	e.Wants[0], e.Presences[0], e.Blocks[0], e.Peer = Want{}, Presence{}, Block{}, "q"
	if clone.Wants[0].Priority != 1 || clone.Presences[0].Type != DontHave || clone.Blocks[0].Size != 9 || clone.Peer != "p" {
		t.Errorf("a clone changed with its event: %+v", clone)
	}
	if c := new(Event).Clone(); c.Wants != nil || c.Presences != nil || c.Blocks != nil {
		t.Errorf("a clone of an event without lists has lists: %+v", c)
	}
}
