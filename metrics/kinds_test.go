package metrics

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

func TestEveryKindIsInMetrics(t *testing.T) {
	const (
		counted = "the monitor's counters have it"
		summed  = "summaries have the sums of it"
	)
	eventtest.EachKind(t, func(e *event.Event) bool {
		m := newTest(t, Config{})
		before := page(t, m.Handler())
		m.take(e)
		return page(t, m.Handler()) != before
	}, map[event.Kind]string{
		event.KindMessage: counted, event.KindSendError: counted, event.KindDHT: counted, event.KindPipeline: counted, event.KindClockStep: counted, event.KindFlood: counted,
		event.KindSearch: summed, event.KindRetrieval: summed, event.KindRequest: summed,
		event.KindConnection: "samples have the open connections",
		event.KindIdentify:   "samples have the agents and protocols",
		event.KindLatency:    "InfluxDB has the times of answers; histograms of them would be as many series again",
		event.KindProxy:      "the API and the page have the proxy's counters",
		event.KindFleet:      "the collector has metrics of its own",
		event.KindNote:       "text",
		event.KindOrigins:    "series of each country",
		event.KindProbe:      "the probe's scheduler has metrics of its own",
	})
}
