package spool

import (
	"os"
	"path/filepath"
	"testing"
)

// Inspect reports what is there, what is delivered and what is damaged, and
// changes nothing.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/golden/v1")); err != nil {
		t.Fatal(err)
	}
	f := func(verify bool, frames, delivered, damaged, read int) {
		t.Helper()
		got := 0
		segs, err := Inspect(dir, verify, func(_ FrameInfo, b []byte) error { number(t, b); got++; return nil })
		if err != nil || len(segs) != 1 || len(segs[0].Frames) != frames || segs[0].Damaged != damaged || got != read {
			t.Fatalf("%+v, %v, %d read", segs, err, got)
		}
		for _, fr := range segs[0].Frames {
			if fr.Delivered {
				delivered--
			}
		}
		if delivered != 0 {
			t.Errorf("%d more delivered than said", delivered)
		}
	}
	f(false, 10, 3, 0, 0)
	f(true, 10, 3, 0, 10)
	seg := filepath.Join(dir, "0000000000000001"+suffix)
	b, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	b[headerSize+3] ^= 1
	write(t, seg, b)
	f(true, 10, 3, 1, 9)
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("%v", entries)
	}
	if _, err := Inspect(filepath.Join(dir, "absent"), false, nil); err == nil {
		t.Error("no error for a folder that is absent")
	}
}
