package embedded_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

// A running store that does not answer is not taken for a missing one,
// nor for another's.
func TestOpenStoreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	child := storetest.StartIn(t, data)
	if err := syscall.Kill(child.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) { // until all of its threads stand still
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.PID()))
		if err != nil {
			t.Fatal(err)
		}
		if _, state, _ := strings.Cut(string(b), ") "); strings.HasPrefix(state, "T") {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the store does not stop")
		}
	}
	_, _, err := embedded.OpenStore(t.Context(), data, nil)
	if err == nil || !strings.Contains(err.Error(), "does not answer on "+child.Addr()) || errors.Is(err, embedded.ErrLocked) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not answer on %s", err, child.Addr())
	}
	if err := syscall.Kill(child.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
