package delivery

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
)

// agents is a sample with so many peers of each agent.
func agents(at time.Time, peers int, names ...string) *event.Event {
	s := &event.Sample{}
	for _, n := range names {
		s.Agents = append(s.Agents, event.AgentCount{Agent: event.Clean(n, event.MaxAgentText), Peers: peers})
	}
	return &event.Event{Time: at.UnixNano(), Kind: event.KindSample, Sample: s}
}

// limited is a server that takes so many values of the tag agent, as InfluxDB
// 1.x does whose index is in memory, and answers as that does.
func limited(most int, known ...string) func(int, *http.Request, []string) (int, string, []string) {
	values := map[string]bool{}
	for _, v := range known {
		values[v] = true
	}
	return func(_ int, _ *http.Request, lines []string) (status int, answer string, keep []string) {
		dropped := 0
		for _, l := range lines {
			value, ok := strings.CutPrefix(l, "agent_versions,agent=")
			if ok {
				value = tagUnescaper.Replace(value[:unescaped([]byte(value), ',')])
				if !values[value] && len(values) >= most {
					dropped++
					answer = fmt.Sprintf("partial write: max-values-per-tag limit exceeded (%d/%d): measurement=%q tag=%q value=%q dropped=", most, most, "agent_versions", "agent", value)
					continue
				}
				values[value] = true
			}
			keep = append(keep, l)
		}
		if dropped > 0 {
			return 400, fmt.Sprintf(`{"error":%q}`, answer+fmt.Sprint(dropped)), keep
		}
		return 204, "", keep
	}
}

// A full tag: its new values become others, in waiting and in later points, no point is lost or
// overwritten, and the event is counted.
func TestTagFull(t *testing.T) {
	s := influxtest.NewFaulty(t, limited(3))
	cfg := s.Destination()
	cfg.SpoolDir = t.TempDir()
	now := time.Now().Add(-time.Minute)
	f := startFlow(t, cfg)
	f.publish([]*event.Event{agents(now, 1, "a", "others")})
	f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Events == 1 && st.Queued == 0 })
	f.publish([]*event.Event{agents(now.Add(time.Second), 2, "a", "b", "one, two= 3", `q"uote`, "d", "others")})
	st := f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Events == 2 && st.Queued == 0 })
	if st.Others != 3 {
		t.Errorf("%d made others, want 3: %+v", st.Others, st)
	}
	f.publish([]*event.Event{agents(now.Add(2*time.Second), 4, "a", "b", "d", "new", "newer")})
	st = f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Events == 3 && st.Queued == 0 })
	if st.Others != 3 || st.Rejected != 0 || st.Stored != st.Accepted {
		t.Errorf("%+v", st)
	}
	if _, err := f.stop(); err != nil {
		t.Error(err)
	}
	sums, at := map[string]int{}, map[string]bool{}
	for l := range s.Stored {
		value, ok := strings.CutPrefix(l, "agent_versions,agent=")
		if !ok {
			continue
		}
		var peers int
		var stamp int64
		if _, err := fmt.Sscanf(value[strings.Index(value, " "):], " peers=%di %d\n", &peers, &stamp); err != nil {
			t.Fatal(l, err)
		}
		key := value[:strings.Index(value, ",")]
		sums[key] += peers
		if id := fmt.Sprint(key, stamp); at[id] {
			t.Errorf("two points of %s at %d", key, stamp)
		} else {
			at[id] = true
		}
	}
	want := map[string]int{"a": 1 + 2 + 4, "b": 2 + 4, "others": 1 + 4*2 + 3*4}
	if fmt.Sprint(sums) != fmt.Sprint(want) {
		t.Errorf("sums %v, want %v", sums, want)
	}
}

// A server that does not accept even others: those points are rejected and kept with its
// message, all others are stored.
func TestTagFullWithoutOthers(t *testing.T) {
	s := influxtest.NewFaulty(t, limited(1, "a"))
	cfg := s.Destination()
	cfg.SpoolDir = t.TempDir()
	f := startFlow(t, cfg)
	f.publish([]*event.Event{agents(time.Now(), 1, "a", "b", "c")})
	f.publish(influxtest.Numbered(0, 10))
	f.until("settled", 2*time.Minute, func(st Stats) bool { return st.Events == 11 && st.Queued == 0 })
	st, err := f.stop()
	if err != nil || st.Rejected != 2 || st.Stored != st.Accepted-2 {
		t.Errorf("%v, %+v", err, st)
	}
	b, err := os.ReadFile(filepath.Join(cfg.SpoolDir, "rejected.lp"))
	if err != nil || strings.Count(string(b), "\nagent_versions,agent=others,") != 2 || !strings.Contains(string(b), `max-values-per-tag limit exceeded (1/1): measurement="agent_versions" tag="agent" value="others"`) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestRegroup(t *testing.T) {
	var f tagCap
	lines := "wants,type=cancel,node=n cid=\"agent=b, \" 5\nagent_versions,agent=b,node=n peers=1i 100\nagent_versions,agent=bb,node=n peers=1i 100\n"
	if got, n := f.regroup([]byte(lines)); n != 0 || string(got) != lines {
		t.Errorf("without a value: %d, %s", n, got)
	}
	if f.add(tagValue{"agent_versions", "agent", "others"}) || f.add(tagValue{"wants", "type", "cancel"}) || f.add(tagValue{"forged", "agent", "b"}) {
		t.Error("took what cannot be made others")
	}
	if !f.add(tagValue{"agent_versions", "agent", "b"}) || !f.add(tagValue{"protocols", "protocol", "p"}) {
		t.Error("did not take a value")
	}
	got, n := f.regroup([]byte(lines + lines))
	again, _ := f.regroup([]byte(lines + lines))
	if n != 2 || string(got) != string(again) {
		t.Errorf("%d, %s, then %s", n, got, again)
	}
	var stamp int64
	changed := strings.Split(string(got), "\n")[1]
	if _, err := fmt.Sscanf(changed, "agent_versions,agent=others,node=n peers=1i %d", &stamp); err != nil || stamp <= 100 || stamp > 100+1e8 {
		t.Errorf("%s: %v", changed, err)
	}
	if strings.Replace(string(got), changed, "agent_versions,agent=b,node=n peers=1i 100", 2) != lines+lines {
		t.Errorf("changed more than that: %s", got)
	}
	for said, want := range map[string]tagValue{
		`partial write: max-values-per-tag limit exceeded (1000/1000): measurement="cpu" tag="host" value="server9999" dropped=1`:        {"cpu", "host", "server9999"},
		`partial write: max-values-per-tag limit exceeded (1/1): measurement="m" tag="t" value="a\"b\\c\u00fc" dropped=1`:                {"m", "t", `a"b\cü`},
		`partial write: field type conflict: input field "x" on measurement "m" is type float, already exists as type integer dropped=1`: {},
	} {
		if got, ok := parseFull(said); got != want || ok != (want != tagValue{}) {
			t.Errorf("%s: %+v, %v", said, got, ok)
		}
	}
}
