//go:build !unix

package monitor

import "os"

// There is no advisory lock here: a non-empty file counts as a running monitor, even if that
// was killed.
func hold(*os.File) error { return nil }

func heldByOther(f *os.File) (bool, error) {
	info, err := f.Stat()
	return err == nil && info.Size() > 0, err
}
