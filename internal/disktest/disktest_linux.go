// Package disktest has small disks for tests of what happens when one is full.
package disktest

import (
	"syscall"
	"testing"
)

// Small mounts a file system of a size, such as "256k", and returns its folder; the end of the
// test removes it. Where none can be mounted the test fails.
func Small(t testing.TB, size string) (dir string) {
	t.Helper()
	return mount(t, size, 0)
}

// ReadOnly is Small with a file system that takes no writes.
func ReadOnly(t testing.TB, size string) (dir string) {
	t.Helper()
	return mount(t, size, syscall.MS_RDONLY)
}

func mount(t testing.TB, size string, flags uintptr) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs: %v: this test needs root, or: unshare -rm go test ...", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// Resize changes the size of a disk of Small.
func Resize(t testing.TB, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
		t.Fatalf("change the size of %s: %v", dir, err)
	}
}
