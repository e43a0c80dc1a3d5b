package store_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/store"
	"github.com/ipfsmon/ipfsmon/influx/store/storetest"
)

// A store that runs and gives no answer is not taken for one that is not there,
// nor for another's.
func TestOpenStoreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	child, err := store.Supervise(t.Context(), storetest.Config(t, data, "1"))
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	if err := syscall.Kill(child.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, _, err = store.OpenStore(t.Context(), data)
	if err == nil || !strings.Contains(err.Error(), "does not answer on "+child.Addr()) || errors.Is(err, store.ErrLocked) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not answer on %s", err, child.Addr())
	}
	if err := syscall.Kill(child.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
