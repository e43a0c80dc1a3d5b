//go:build programs || all

package programs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestVictoriaMetrics sends totals to a real VictoriaMetrics and asks for them: each number of each interval is there, as
// a series with the tags as labels, and a query sums them.
func TestVictoriaMetrics(t *testing.T) {
	t.Parallel()
	address := harness.FreeAddress(t, "tcp")
	p := harness.Launch(t, harness.Environ(t.TempDir()), harness.BuildVictoriaMetrics(t), "-storageDataPath", t.TempDir(), "-httpListenAddr", address,
		"-search.latencyOffset", "0s", "-retentionPeriod", "10y")
	p.Find(`(started server at)`)
	no := false
	r := harness.RunSink(t, influx.Config{URL: "http://" + address, CreateDatabase: &no, History: &no, FlushInterval: "50ms"})
	const samples = 20
	begin := time.Now().Add(-10 * time.Minute).Truncate(10 * time.Second)
	var events []*event.Event
	for i := range samples {
		s := &event.Sample{Interval: 10 * time.Second, Traffic: [2]event.Traffic{{Messages: uint64(i + 1), BlockBytes: 1 << 40}, {Messages: 100}},
			Agents: []event.AgentCount{{Agent: `kubo, a b=c\d`, Peers: i}}}
		events = append(events, &event.Event{Time: begin.Add(time.Duration(i) * 10 * time.Second).UnixNano(), Kind: event.KindSample, Sample: s},
			event.NewNote(begin.Add(time.Duration(i)*10*time.Second).UnixNano(), event.NoteStorm, 5000, "text is not kept"))
	}
	r.Publish(events)
	r.Until("stored", func(st influx.Stats) bool {
		return st.Events == uint64(len(events)) && st.Queued == 0 && st.Stored == st.Accepted
	})
	st := r.Stats()
	require.Zero(t, st.Rejected)
	r.Finish(int(st.Stored), 0)

	get := func(path string, params url.Values) []byte {
		t.Helper()
		status, body := harness.Request(t, http.MethodGet, "http://"+address+path+"?"+params.Encode(), "", "")
		require.Equal(t, 200, status, string(body))
		return body
	}
	type series struct {
		Metric     map[string]string
		Values     []float64
		Timestamps []int64
	}
	all := func(match string) (out []series) {
		t.Helper()
		for lines := bufio.NewScanner(bytes.NewReader(get("/api/v1/export", url.Values{"match[]": {match}}))); lines.Scan(); {
			var s series
			require.NoError(t, json.Unmarshal(lines.Bytes(), &s), lines.Text())
			out = append(out, s)
		}
		return out
	}
	var found []series
	require.Eventually(t, func() bool { // rows can be asked for a second after they came
		found = all(`traffic_messages{direction="received"}`)
		return len(found) == 1 && len(found[0].Values) == samples
	}, time.Minute, 200*time.Millisecond)
	require.NotEmpty(t, found[0].Metric["node"])
	for i := range samples {
		require.EqualValues(t, i+1, found[0].Values[i])
		require.Equal(t, begin.Add(time.Duration(i)*10*time.Second).UnixMilli(), found[0].Timestamps[i])
	}
	agents := all("agent_versions_peers")
	require.Len(t, agents, 1)
	require.Equal(t, `kubo, a b=c\d`, agents[0].Metric["agent"])

	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	require.NoError(t, json.Unmarshal(get("/api/v1/query", url.Values{
		"query": {"sum by (direction) (sum_over_time(traffic_messages[5m]))"}, "time": {fmt.Sprint(begin.Add(4 * time.Minute).Unix())}}), &answer))
	sums := map[string]string{}
	for _, r := range answer.Data.Result {
		sums[r.Metric["direction"]] = fmt.Sprint(r.Value[1])
	}
	require.Equal(t, map[string]string{"received": fmt.Sprint(samples * (samples + 1) / 2), "sent": fmt.Sprint(100 * samples)}, sums)
	for _, s := range all(`{__name__=~"notes_.*"}`) { // of a text nothing is left that could be taken for one
		if strings.HasSuffix(s.Metric["__name__"], "_text") {
			for _, v := range s.Values {
				require.Zero(t, v)
			}
		}
	}
}
