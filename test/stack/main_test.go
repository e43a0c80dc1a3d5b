//go:build stack || all

package stack

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
