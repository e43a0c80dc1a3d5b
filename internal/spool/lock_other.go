//go:build !unix

package spool

import (
	"io"
	"os"
)

// Lock keeps the file open. There is no advisory lock here; kubo's own lock of its repository
// prevents two nodes.
func (OS) Lock(path string) (io.Closer, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
