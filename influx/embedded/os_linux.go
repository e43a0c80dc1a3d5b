package embedded

import "syscall"

// childAttr: a process group of its own, and death with the parent's thread.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
