package main

import "golang.org/x/sys/unix"

// dup makes one descriptor the same file as another.
func dup(from, to int) error { return unix.Dup3(from, to, unix.O_CLOEXEC) }
