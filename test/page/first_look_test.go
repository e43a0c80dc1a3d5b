//go:build page || all

package page

import (
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestFirstLook opens the live page as soon as the demo prints its address.
func TestFirstLook(t *testing.T) {
	demo := harness.Start(t, harness.Environ(t.TempDir()), "demo", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0")
	page := demo.Find(`Live page at (http://\S+)`)
	look(t, "firstlook.test.mjs", 10*time.Minute, "PAGE_URL="+page)
}
