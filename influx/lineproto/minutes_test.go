package lineproto

import (
	"fmt"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
)

// TestMinutes: what comes with each sample by a name is written once for each minute: means, and the last of counters.
func TestMinutes(t *testing.T) {
	begin := time.Unix(influxtest.Time/int64(time.Second), 0).UTC().Truncate(time.Minute)
	e := NewEncoder("n", true)
	e.SetRollups(rollup.New(begin))
	got := map[string]string{}
	take := func(after time.Duration, agents, streams int, bytes int64) {
		s := &event.Sample{Agents: []event.AgentCount{{Agent: "a", Peers: agents}}, Streams: []event.StreamCount{{Protocol: "/p", Direction: "outbound", Streams: streams}},
			Node: event.Node{Bandwidth: []event.Bandwidth{{Protocol: "/p", InBytes: bytes, OutBytes: 2 * bytes, InRate: float64(streams)}}}}
		if after > 90*time.Second {
			s.Agents = append(s.Agents, event.AgentCount{Agent: "b", Peers: 9})
		}
		for _, p := range influxtest.Decode(t, influxtest.Encode(e, &event.Event{Time: begin.Add(after).UnixNano(), Kind: event.KindSample, Sample: s})) {
			switch p.Name {
			case "agent_versions_1m", "streams_1m", "bandwidth_1m":
				delete(p.Tags, "node")
				got[fmt.Sprintf("%s%v%d", p.Name, p.Tags, (p.At-begin.UnixNano())/int64(time.Second))] = fmt.Sprint(p.Fields)
			}
		}
	}
	for i := range 6 {
		take(time.Duration(i)*10*time.Second, 10+i, i, int64(100*i))
	}
	if len(got) != 3 { // with the sample of the last ten seconds
		t.Errorf("after a minute: %v", got)
	}
	take(61*time.Second, 7, 1, 5)   // a restart
	take(100*time.Second, 8, 2, 20) // the last of its minute
	take(3*time.Minute, 1, 1, 1)
	want := map[string]string{
		"agent_versions_1mmap[agent:a]0": "map[peers:13]", "agent_versions_1mmap[agent:a]60": "map[peers:8]", "agent_versions_1mmap[agent:b]60": "map[peers:9]",
		"streams_1mmap[direction:outbound protocol:/p]0": "map[streams:3]", "streams_1mmap[direction:outbound protocol:/p]60": "map[streams:2]",
		"bandwidth_1mmap[protocol:/p]0": "map[in_bytes:500 in_rate:3 out_bytes:1000 out_rate:0]", "bandwidth_1mmap[protocol:/p]60": "map[in_bytes:20 in_rate:2 out_bytes:40 out_rate:0]",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}
