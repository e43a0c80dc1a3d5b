package client

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

func TestMain(m *testing.M) {
	storetest.Main()
	goleak.VerifyTestMain(m)
}
