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
// languages of a store without points of these: none may be refused.
func TestQuestionsAreTaken(t *testing.T) {
	cfg := influxtest.StoreAt(storetest.Start(t))
	if _, err := publish(t, cfg, influxtest.Messages(3)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, q := range query.Questions {
		for _, q := range []*query.Question{&q, q.Else} {
			for _, flux := range []bool{false, true} {
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
					t.Errorf("%s, flux %v: %v\n%s", q.Name, flux, err, text)
				}
			}
		}
	}
}
