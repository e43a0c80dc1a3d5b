package embedded

import "syscall"

// childAttr puts the child into its own process group and kills it when the parent's thread ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
