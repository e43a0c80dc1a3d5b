package harness

import (
	"testing"
)

// victoriaMetricsModule is VictoriaMetrics, the single node, from its module.
const victoriaMetricsModule = "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v1.148.9"

// BuildVictoriaMetrics returns VictoriaMetrics, built once for all runs.
func BuildVictoriaMetrics(t *testing.T) string {
	t.Helper()
	return installed(t, victoriaMetricsModule, "victoria-metrics-1.148.9", "victoria-metrics")
}
