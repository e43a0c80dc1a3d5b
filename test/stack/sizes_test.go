//go:build stack || all

package stack

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// sizeMessages is how many messages are stored for each rate.
const sizeMessages = 60_000

// sizeEvents are messages as they would come at a rate: two entries each, a want
// and the cancel of an older one, every second CID a new one, of 500 peers.
func sizeEvents(t *testing.T, rate int) []*event.Event {
	t.Helper()
	all := make([]*event.Event, sizeMessages)
	step := time.Second / time.Duration(rate)
	begin := time.Now().Add(-sizeMessages * step).Add(-time.Minute)
	for i := range all {
		all[i] = &event.Event{
			Time: begin.Add(time.Duration(i) * step).UnixNano(), Kind: event.KindMessage, Peer: harness.PeerOf(i % 500),
			Wants: []event.Want{
				{CID: harness.CidOf(t, i/2), Priority: 1, Type: event.WantHave, SendDontHave: true},
				{CID: harness.CidOf(t, max(0, i/2-100)), Cancel: true},
			},
			Addrs: []event.Text{event.Clean(fmt.Sprintf("/ip4/192.0.2.%d/udp/%d/quic-v1", i%250, 10000+i%500), event.MaxAddrText)},
		}
	}
	return all
}

// TestStackSizes measures what a message takes on the disk of InfluxDB 2 and
// holds docs/operations.md to it.
func TestStackSizes(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	for _, rate := range []int{100, 1000, 5000} {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \| (\d+) \| (\d+) \|`, rate)).FindSubmatch(doc)
		require.Len(t, row, 3, "docs/operations.md has no row of the table of sizes for %d messages/s: | rate | points per message | bytes per point |", rate)
		points, _ := strconv.Atoi(string(row[1]))
		bytes, _ := strconv.Atoi(string(row[2]))
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			program, dir := harness.BuildInfluxDB2(t), t.TempDir()
			env := append(harness.WithoutInflux(dir), "INFLUXD_STORAGE_CACHE_SNAPSHOT_WRITE_COLD_DURATION=2s", "INFLUXD_STORAGE_COMPACT_FULL_WRITE_COLD_DURATION=4s")
			p := harness.Launch(t, env, program, "--http-bind-address", "127.0.0.1:0", "--reporting-disabled",
				"--bolt-path", filepath.Join(dir, "bolt"), "--sqlite-path", filepath.Join(dir, "sqlite"), "--engine-path", filepath.Join(dir, "engine"))
			address := "http://127.0.0.1:" + p.Find(`service=tcp-listener.* port=(\d+)`)
			var answer struct{ Auth struct{ Token string } }
			status, body := harness.Request(t, "POST", address+"/api/v2/setup", "", `{"username": "admin", "password": "of-the-test", "org": "ipfsmon", "bucket": "initial"}`)
			harness.Decode(t, 201, status, body, &answer)

			r := harness.RunSink(t, influx.Config{URL: address, Org: "ipfsmon", Token: answer.Auth.Token})
			all := sizeEvents(t, rate)
			for len(all) > 0 {
				n := min(2000, len(all))
				before := r.Stats().Accepted
				r.Publish(all[:n])
				r.Until("these messages are accepted", func(s influx.Stats) bool { return s.Accepted >= before+uint64(n*points) })
				all = all[n:]
			}
			r.Until("all is stored", func(s influx.Stats) bool { return s.Stored >= uint64(sizeMessages*points) })
			r.Bus.Close()
			require.NoError(t, <-r.End)
			stored := r.Stats().Stored // a few are of the writer itself
			require.Less(t, stored, uint64(sizeMessages*points+100))

			// Written from memory to files, and these to one.
			var size, was int64
			var since time.Time
			require.Eventually(t, func() bool {
				size = sizeOf(t, filepath.Join(dir, "engine", "data"), ".tsm")
				if wal := sizeOf(t, filepath.Join(dir, "engine", "wal"), ".wal"); size != was || size == 0 || wal > 1<<16 {
					was, since = size, time.Now()
				}
				return time.Since(since) > 6*time.Second
			}, 2*time.Minute, 200*time.Millisecond)
			each := float64(size) / float64(sizeMessages*points)
			t.Logf("%d messages/s: %d points, %d bytes, %.1f bytes per point", rate, sizeMessages*points, size, each)
			require.LessOrEqual(t, each, float64(bytes), "docs/operations.md promises less")
			require.GreaterOrEqual(t, each, float64(bytes)/2, "docs/operations.md promises more than twice what it takes")
		})
	}
}

// sizeOf sums the files of a kind in a folder.
func sizeOf(t *testing.T, dir, suffix string) (sum int64) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // what is deleted meanwhile does not count
		if err == nil && filepath.Ext(path) == suffix {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}
