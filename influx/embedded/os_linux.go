package embedded

import "syscall"

// childAttr gives the child its own process group and kills it when the parent's thread ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
