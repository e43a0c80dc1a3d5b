//go:build !race

package influx_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/influx"
)

// TestAlertsAreTrue lets each alert see a stretch of events in which it must
// fire, and one in which it must not.
func TestAlertsAreTrue(t *testing.T) {
	var all []influx.AlertRule
	for _, a := range grafana.Alerts() {
		wait, err := time.ParseDuration(a.For)
		require.NoError(t, err)
		x := influx.AlertRule{UID: a.UID, For: wait, NoData: a.NoData, Reduce: a.Reduce, Condition: a.Condition, Above: a.Above, Below: a.Below}
		for _, q := range a.Queries {
			s := grafana.Statement{Text: q.Text, Span: time.Duration(q.Seconds) * time.Second}
			x.Queries = append(x.Queries, influx.AlertQuery{Ref: q.Ref, Fill: func(to time.Time) string { return s.Fill(to, to, time.Minute) }})
		}
		all = append(all, x)
	}
	influx.AlertsAreTrue(t, all)
}
