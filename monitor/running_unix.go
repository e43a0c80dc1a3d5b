//go:build unix

package monitor

import (
	"errors"
	"os"
	"syscall"
)

// hold takes a file's lock, which ends with the process, however it ends. A check whether it is
// held takes it briefly.
func hold(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

func heldByOther(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
