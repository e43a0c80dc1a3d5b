//go:build unix && !linux

package embedded

import "syscall"

// childAttr: a process group of its own. The end of its standard input tells
// the child that the parent is gone.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
