package influx

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/query"
)

// TestManyPoints: beyond 250,000 points, by the sums of hours, a question has its answer from totals, and one that
// has none there from the end of the time, as it does where totals have too many; --exact reads history. The sums here say what
// history does not have.
func TestManyPoints(t *testing.T) {
	t.Parallel()
	cfg := influxtest.StoreAt(storetest.Start(t))
	now := time.Now().UTC()
	var events []*event.Event
	for i, ago := range []time.Duration{5 * time.Hour, 10 * time.Minute} {
		events = append(events,
			&event.Event{Time: now.Add(-ago).UnixNano(), Kind: event.KindMessage, Peer: influxtest.Peer(1), Wants: []event.Want{{CID: influxtest.CID(i), Type: event.WantHave}}},
			&event.Event{Time: now.Add(-ago).UnixNano() + 1, Kind: event.KindMessage, Dir: event.Sent, Peer: influxtest.Peer(1), Presences: []event.Presence{{CID: influxtest.CID(i), Type: event.DontHave}}})
	}
	if _, err := publish(t, cfg, events); err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(cfg.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	write := func(lines ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cfg.URL+"/write?db=ipfsmon&rp=totals", strings.NewReader(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(cfg.Username, strings.TrimSpace(string(password)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			t.Fatal(res.Status)
		}
	}
	hour := func(ago int) int64 { return now.Truncate(time.Hour).Add(-time.Duration(ago) * time.Hour).UnixNano() }
	wants := func(n int) {
		write(fmt.Sprintf("wants_1h,codec=raw,direction=received,gateway=false,node=test,type=want_have wants=%di %d", n, hour(3)),
			fmt.Sprintf("wants_1h,codec=raw,direction=received,gateway=false,node=test,type=cancel wants=9000000i %d", hour(3))) // which no question here reads
	}
	write(fmt.Sprintf("top_cids,list=wants,node=test,rank=01 cid=\"of the list\",wants=5i,peers=1i,error=0i %d", hour(2)),
		fmt.Sprintf("wants_1m,codec=raw,direction=received,gateway=false,node=test,type=want_have wants=77i %d", hour(2)))
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	since, most := "6h", 0
	ask := func(name string, exact, flux bool) (answer, said string) {
		t.Helper()
		q, err := query.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		q = q.ReadsAtMost(most)
		if exact {
			q = q.Exact()
		}
		var b strings.Builder
		out, err := query.NewOutput("csv", &b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Ask(t.Context(), c, since, flux, out, func(note string) { said += note }); err != nil {
			t.Fatal(err)
		}
		return b.String(), said
	}
	f := func(name string, exact, flux bool, has, note string) {
		t.Helper()
		answer, said := ask(name, exact, flux)
		if !strings.Contains(answer, has) || note == "" && said != "" || !strings.Contains(said, note) {
			t.Errorf("%s, exact %v, flux %v: said %q, want %q:\n%s\nwant %q in it", name, exact, flux, said, note, answer, has)
		}
	}
	first, second := influxtest.CID(0).String(), influxtest.CID(1).String()
	wants(250_000)
	f("top-cids", false, false, first, "")
	wants(250_001)
	const note = "history has about 250001 points of that time, which --exact reads"
	f("top-cids", false, false, "of the list", note)
	f("top-cids", true, false, first, "")
	f("top-cids", false, true, first, "") // Flux is bounded by the store
	f("wants", false, false, "received,", "")
	wants(8_400_000) // which a count reads
	f("wants", false, false, ",77", "history has about 8400000 points of that time, which --exact reads, so these are the sums of its whole minutes")

	// A question that the totals of this store have no answer to.
	for ago := range 6 {
		write(fmt.Sprintf("presences_1h,codec=raw,direction=sent,gateway=false,node=test,type=dont_have presences=1000000i %d", hour(ago)))
	}
	answer, said := ask("missing-cids", false, false)
	if strings.Contains(answer, first) || !strings.Contains(answer, second) || !strings.Contains(said, "points of that time: this is of its last") || !strings.Contains(said, "--exact reads all") {
		t.Errorf("said %q\n%s", said, answer)
	}
	f("missing-cids", true, false, first, "")

	// Sums that an earlier version did not write.
	write(fmt.Sprintf("presences_1m,codec=raw,direction=sent,gateway=false,node=test,type=dont_have presences=1i %d", hour(4)))
	missing := func(ago int) {
		var lines []string
		for rank := range 50 {
			lines = append(lines, fmt.Sprintf("top_missing,node=test,rank=%02d cid=\"of the list\",asked=5i,error=0i %d", rank+1, hour(ago)))
		}
		write(lines...)
	}
	missing(2)
	f("missing-cids", false, false, "of the list,250,0,5\n", "so these are sums of the minutes' lists of 50: the true number is between asked - error and asked + unlisted; they begin at "+now.Truncate(time.Hour).Add(-2*time.Hour).Format(time.RFC3339))

	// More rows of totals than an answer may read.
	missing(30)
	missing(20)
	since, most = "48h", 120
	f("missing-cids", false, false, "of the list,500,0,10\n", "; totals have about 150 points of that time: this is of its last ")
}
