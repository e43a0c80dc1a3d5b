//go:build unix

package monitor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// holdTimeout is longer than a check whether the lock is held takes.
const holdTimeout = time.Second

// hold takes a file's lock, which ends with the process, however it ends. A check whether it is
// held takes it briefly.
func hold(f *os.File) error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) && time.Since(begin) < holdTimeout {
			continue
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%s is that of another running monitor", f.Name())
		}
		return err
	}
}

func heldByOther(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
