//go:build unix && !linux

package embedded

import "syscall"

// childAttr puts the child into its own process group. The child detects the parent's end by
// the end of its standard input.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
