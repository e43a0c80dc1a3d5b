//go:build dashboards || all

package dashboards

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
