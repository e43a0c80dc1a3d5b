//go:build !unix

package monitor

import "os"

// There is no advisory lock here: a file with something in it says that a
// monitor runs, even where it was killed.
func hold(*os.File) error { return nil }

func heldByOther(f *os.File) (bool, error) {
	info, err := f.Stat()
	return err == nil && info.Size() > 0, err
}
