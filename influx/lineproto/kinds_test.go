package lineproto

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

func TestEveryKindIsStored(t *testing.T) {
	enc := NewEncoder("n", true)
	enc.dhtHistory = true
	eventtest.EachKind(t, func(e *event.Event) bool {
		_, points := enc.Append([schema.Kinds][]byte{}, e)
		for _, n := range points {
			if n > 0 {
				return true
			}
		}
		return false
	}, map[event.Kind]string{
		event.KindSearch:    "summaries have the sums, and a retrieval says what the search of its CID brought",
		event.KindSendError: "summaries have the sums by reason",
		event.KindClockStep: "a note says the same",
	})
}

// TestEachCombinationIsASeries: the text of a series is kept under a number that several tags
// make. Two combinations with one number would be stored as one.
func TestEachCombinationIsASeries(t *testing.T) {
	var events []*event.Event
	for n := range 2 * 2 * int(event.RequestOutcomes) {
		events = append(events, &event.Event{Kind: event.KindRequest, Gateway: n%2 == 1,
			Request: &event.Request{Want: event.WantType(n / 2 % 2), Outcome: event.RequestOutcome(n / 4)}})
	}
	for n := range 2 * 2 * 3 * 3 * len(event.ProbeTargets) {
		p := &event.Probe{Provide: n%2 == 1, Fleet: event.Text(fmt.Sprint("f", n/4%3)), Region: event.Text(fmt.Sprint("r", n/12%3)), Target: event.ProbeTargets[n/36]}
		if n/2%2 == 1 {
			p.Error = "no"
		}
		events = append(events, &event.Event{Kind: event.KindProbe, Probe: p})
	}
	s := &event.Summary{DHT: new(event.DHTSummary)}
	for dir := range s.Line {
		for range 3 {
			s.Line[dir].CIDs = append(s.Line[dir].CIDs, event.CIDBytes{})
			s.Line[dir].Peers = append(s.Line[dir].Peers, event.PeerBytes{})
			s.DHT.TopKeys[dir] = append(s.DHT.TopKeys[dir], event.TopDHTKey{})
			s.DHT.Agents[dir] = append(s.DHT.Agents[dir], event.Share{})
		}
	}
	f := new(event.Fleet)
	f.TopCIDs, f.TopByPeer = make([]event.FleetCID, 3), make([]event.FleetCID, 3)
	events = append(events, &event.Event{Kind: event.KindSummary, Summary: s}, &event.Event{Kind: event.KindFleet, Fleet: f})
	e := NewEncoder("n", true)
	for range 2 { // made, and kept
		seen := map[string]bool{}
		for _, p := range influxtest.Decode(t, influxtest.Encode(e, events...)) {
			id := fmt.Sprint(p.Name, p.Tags)
			if seen[id] {
				t.Errorf("two are %s", id)
			}
			seen[id] = true
		}
	}
}

// TestEachFamilyIsStored: the bytes of each family of agents, the first one's too.
func TestEachFamilyIsStored(t *testing.T) {
	s := new(event.Summary)
	for i, family := range event.AgentFamilies {
		s.Line[event.Sent].Agents = append(s.Line[event.Sent].Agents, event.FamilyBytes{Family: family, Bytes: uint64(i) + 1})
	}
	got := map[string]int64{}
	for _, p := range influxtest.Decode(t, influxtest.Encode(NewEncoder("n", true), &event.Event{Kind: event.KindSummary, Summary: s})) {
		if p.Name == schema.AgentBytes.Name && p.Tags["direction"] == "sent" {
			got[p.Tags["family"]] = p.Fields["bytes"].(int64)
		}
	}
	for i, family := range event.AgentFamilies {
		if got[family] != int64(i)+1 {
			t.Errorf("%s: %d bytes, want %d", family, got[family], i+1)
		}
	}
}

// TestSendingOverHTTPIsStoredOnceThereIsAny: a node without HTTP has no such series.
func TestSendingOverHTTPIsStoredOnceThereIsAny(t *testing.T) {
	rows := func(http event.SendStats) (via []string) {
		s := &event.Summary{Sending: [event.MessageTransports]event.SendStats{event.HTTP: http}}
		for _, p := range influxtest.Decode(t, influxtest.Encode(NewEncoder("n", true), &event.Event{Kind: event.KindSummary, Summary: s})) {
			if p.Name == schema.Sending.Name {
				via = append(via, p.Tags["transport"])
			}
		}
		return via
	}
	if got := fmt.Sprint(rows(event.SendStats{})); got != "[libp2p]" {
		t.Errorf("without HTTP: %s", got)
	}
	if got := fmt.Sprint(rows(event.SendStats{Took: event.LatencyStats{Count: 1}})); got != "[libp2p http]" {
		t.Errorf("with HTTP: %s", got)
	}
}

// TestSumsWithoutHistory: points that are not written are summed.
func TestSumsWithoutHistory(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	sums, e := rollup.New(now), NewEncoder("n", false)
	e.SetRollups(sums)
	for _, ev := range influxtest.Single() {
		ev.Time = now.UnixNano()
		if _, points := e.Append([schema.Kinds][]byte{}, ev); points[schema.History] != 0 {
			t.Errorf("%v: %d points of history, which is off", ev.Kind, points[schema.History])
		}
	}
	lines, _ := sums.Append(nil, now.Add(time.Hour), time.Time{})
	for _, r := range schema.Rollups() {
		if !strings.Contains(string(lines), r.Name()+",") {
			t.Errorf("no %s", r.Name())
		}
	}
}

// TestTagsBeyondTheirBounds: fleets beyond the bound are others, of their region; an outcome that
// is none is the last.
func TestTagsBeyondTheirBounds(t *testing.T) {
	e := NewEncoder("n", true)
	var events []*event.Event
	for i := range schema.MaxFleets + 1 {
		events = append(events, &event.Event{Kind: event.KindProbe, Probe: &event.Probe{Fleet: event.Text(fmt.Sprint("f", i)), Region: "r"}})
	}
	events = append(events, &event.Event{Kind: event.KindRequest, Request: &event.Request{Outcome: event.RequestOutcomes}})
	var got []string
	for _, p := range influxtest.Decode(t, influxtest.Encode(e, events...)) {
		got = append(got, p.Tags["fleet"]+p.Tags["region"]+p.Tags["outcome"])
	}
	want := []string{event.RequestOutcomeNames[event.RequestOutcomes-1]}
	for i := range schema.MaxFleets - 1 {
		want = append(want, fmt.Sprint("f", i, "r"))
	}
	want = append(want, "othersr", "othersr")
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
