package influx

import (
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/query"
)

// TestQuestionsAreTaken asks each question, and what it falls back to, in both
// languages of a store without points of these, and in InfluxQL through the stand-in for
// InfluxDB 3: none may be refused.
func TestQuestionsAreTaken(t *testing.T) {
	store := storetest.Start(t)
	cfg := influxtest.StoreAt(store)
	if _, err := publish(t, cfg, influxtest.Messages(3)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := influxtest.Made3()
	s.Behind = influxtest.BehindStore(t, store)
	three, err := client.New(client.Config{URL: s.Start(t).URL})
	if err != nil {
		t.Fatal(err)
	}
	defer three.Close()
	for _, q := range query.Questions {
		for _, q := range []*query.Question{&q, q.Else} {
			for way, c := range map[string]*client.Client{"influxql": c, "flux": c, "InfluxDB 3": three} {
				flux := way == "flux"
				if q == nil {
					continue
				}
				var b strings.Builder
				out, _ := query.NewOutput("table", &b)
				if _, err := q.Ask(t.Context(), c, "1h", flux, out, func(string) {}); err != nil {
					text := q.InfluxQL
					if flux {
						text = q.Flux
					}
					t.Errorf("%s, %s: %v\n%s", q.Name, way, err, text)
				}
			}
		}
	}
}
