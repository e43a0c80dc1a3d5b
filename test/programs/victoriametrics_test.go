//go:build programs || all

package programs

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestVictoriaMetrics writes totals, without history, into a real VictoriaMetrics and reads a
// figure back. It keeps numbers alone, which is why docs/destinations.md says what it is for.
func TestVictoriaMetrics(t *testing.T) {
	program := filepath.Join(t.TempDir(), "victoria-metrics")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics")
	build.Dir = filepath.Join(harness.Root, "test", "victoriametrics")
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	dir, address := t.TempDir(), harness.FreeAddress(t, "tcp")
	p := harness.Launch(t, harness.WithoutInflux(dir), program, "-storageDataPath="+filepath.Join(dir, "data"), "-httpListenAddr="+address, "-loggerOutput=stdout", "-retentionPeriod=100y")
	p.Find(`started (server|VictoriaMetrics)`)

	const n = 100
	var events []*event.Event
	for i := range n { // a second apart: it keeps milliseconds
		events = append(events, &event.Event{Time: time.Now().Add(time.Duration(i-n) * time.Second).UnixNano(), Kind: event.KindSample,
			Sample: &event.Sample{Interval: time.Second, Traffic: [2]event.Traffic{{Messages: 3}, {Messages: uint64(i)}}}})
	}
	no := false
	r := harness.RunSink(t, influx.Config{URL: "http://" + address, CreateDatabase: &no, History: &no, FlushInterval: "100ms"})
	r.Publish(events)
	r.Until("stored", func(s influx.Stats) bool { return s.Events == n && s.Queued == 0 && s.Stored == s.Accepted })
	r.Finish(int(r.Stats().Stored), 0)

	status, body := harness.Request(t, "GET", "http://"+address+"/internal/force_flush", "", "")
	require.Equal(t, 200, status, string(body))
	status, body = harness.Request(t, "GET", "http://"+address+"/api/v1/export?"+url.Values{
		"match[]": {`traffic_messages{direction="sent"}`}, "start": {"0"}, "end": {time.Now().AddDate(1, 0, 0).Format(time.RFC3339)}}.Encode(), "", "")
	require.Equal(t, 200, status, string(body))
	count, sum := 0, 0.0
	for line := range strings.Lines(string(body)) {
		var series struct{ Values []float64 }
		require.NoError(t, json.Unmarshal([]byte(line), &series), line)
		for _, v := range series.Values {
			count, sum = count+1, sum+v
		}
	}
	require.Equal(t, n, count)
	require.EqualValues(t, n*(n-1)/2, sum)
}
