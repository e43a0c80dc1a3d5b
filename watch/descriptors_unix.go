//go:build unix

package watch

import (
	"fmt"
	"syscall"
)

// Reserve raises the process's limit of file descriptors, up to the hard limit, and returns an
// error if it stays below so many.
func Reserve(want int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of file descriptors: %w", err)
	}
	if uint64(limit.Cur) < uint64(want) && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return fmt.Errorf("raise the limit of file descriptors to %d: %w", limit.Max, err)
		}
	}
	if uint64(limit.Cur) < uint64(want) {
		return fmt.Errorf("the limit of file descriptors is %d, so many peers need %d: want fewer with --peers, or a higher limit: "+
			"`ulimit -n %[2]d`, LimitNOFILE=%[2]d in a systemd unit, --ulimit nofile=%[2]d for docker", limit.Cur, want)
	}
	return nil
}
