//go:build programs || all

package programs

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
