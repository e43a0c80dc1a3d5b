//go:build page || all

package page

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
