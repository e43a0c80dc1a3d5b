package delivery

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

func TestMain(m *testing.M) {
	storetest.Main()
	if os.Getenv(sinkEnv) != "" {
		sinkMain()
		return
	}
	goleak.VerifyTestMain(m)
}
