package client

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

func TestMain(m *testing.M) {
	os.Setenv("HTTP_PROXY", "http://proxy.invalid:1") // TestWhichProxy; read once
	os.Setenv("HTTPS_PROXY", "http://secure.invalid:1")
	storetest.Main()
	goleak.VerifyTestMain(m)
}
