package schema_test

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// The script of a task, whole, for who looks at it in InfluxDB 2.
func TestTask(t *testing.T) {
	got := schema.Blocks.Rollups()[0].Task("org", "ipfsmon")
	influxtest.Generated(t, "testdata/task.golden", got)
	influxtest.Generated(t, "testdata/continuous.golden", schema.Blocks.Rollups()[1].ContinuousQuery("ipfsmon")+"\n")
}
