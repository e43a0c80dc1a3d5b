//go:build packages || all

package packages

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
