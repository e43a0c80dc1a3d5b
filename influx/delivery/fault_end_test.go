package delivery

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/internal/disktest"
)

// R22: the end in the states that TestFaultR22Close leaves out: a disk that is
// full, a wait that the server asked for, refused credentials, a batch that is
// being cut in halves, and a set-up without an answer.
func TestFaultR22States(t *testing.T) {
	// f ends a sink when reached says that it is in its state. Then every point
	// that was accepted is stored, or on disk, or, if lost, counted as dropped.
	f := func(name string, events int, lost bool, set func(*client.Config), rule func(int, *http.Request, []string) (int, string, []string), reached func(Stats, *influxtest.Faulty) bool) {
		t.Run(name, func(t *testing.T) {
			s := influxtest.NewFaulty(t, rule)
			cfg := s.Destination()
			cfg.SpoolDir, cfg.BatchSize, cfg.Timeout = filepath.Join(t.TempDir(), "spool"), 1000, "1m"
			if set != nil {
				set(&cfg)
			}
			fl := startFlow(t, cfg)
			fl.publish(influxtest.Numbered(0, events))
			fl.until(name, 5*time.Minute, func(st Stats) bool { return st.Events == uint64(events) && reached(st, s) })
			begin := time.Now()
			st, err := fl.stop()
			// Not a bound of speed: the sink stops waiting after closeTimeout, however
			// slow the machine is; the rest is what writing to the disk takes.
			if d := time.Since(begin); d > 2*closeTimeout {
				t.Errorf("it took %v", d)
			}
			if st.Accepted != uint64(events) || st.Accepted != st.Stored+st.Dropped+st.Rejected+uint64(st.Queued) || st.Rejected != 0 || (st.Dropped > 0) != lost || (err != nil) != lost {
				t.Errorf("%v, %+v", err, st)
			}
			again, err := newSink(cfg, "test")
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if q := again.Stats().Queued; !lost && q < st.Queued || q+uint64(s.Lines()) < st.Accepted-st.Dropped {
				t.Errorf("%d points on disk and %d at the server: %+v", q, s.Lines(), st)
			}
		})
	}
	failing := func(st Stats, _ *influxtest.Faulty) bool { return st.Failing }
	always := func(status int, answer string) func(int, *http.Request, []string) (int, string, []string) {
		return func(int, *http.Request, []string) (int, string, []string) { return status, answer, nil }
	}
	f("asked to wait ten minutes", 3000, false, nil, always(429, "600"), failing)
	f("credentials refused", 3000, false, func(c *client.Config) { c.Org, c.Token = "o", "t" }, always(401, ""), failing)
	var cut atomic.Int32
	f("cut in halves", 3000, false, nil, func(_ int, r *http.Request, lines []string) (int, string, []string) {
		if len(lines) > 10 {
			cut.Add(1)
			return 413, "", nil
		}
		if cut.Add(1) > 20 { // in the middle of it the answers stop
			<-r.Context().Done()
			return 500, "", nil
		}
		return 204, "", lines
	}, func(Stats, *influxtest.Faulty) bool { return cut.Load() > 20 })
	var asked atomic.Int32
	yes := true
	f("set-up without an answer", 3000, false, func(c *client.Config) { c.CreateDatabase = &yes }, func(_ int, r *http.Request, _ []string) (int, string, []string) {
		asked.Add(1)
		<-r.Context().Done()
		return 500, "", nil
	}, func(Stats, *influxtest.Faulty) bool { return asked.Load() > 0 })

	disk := disktest.Small(t, "256k")
	full := func(name string) func(*client.Config) {
		return func(c *client.Config) { c.SpoolDir, c.SpoolSyncEvery = filepath.Join(disk, name), "10ms" }
	}
	isFull := func(st Stats, _ *influxtest.Faulty) bool {
		return strings.Contains(st.SpoolError, "no space left")
	}
	f("full disk, no server", 5000, true, full("a"), always(503, ""), isFull)
	var open atomic.Bool
	f("full disk, then a server", 5000, false, full("b"), func(_ int, _ *http.Request, lines []string) (int, string, []string) {
		if !open.Load() {
			return 503, "", nil
		}
		return 204, "", lines
	}, func(st Stats, s *influxtest.Faulty) bool {
		if isFull(st, s) {
			open.Store(true)
		}
		return open.Load()
	})
}
