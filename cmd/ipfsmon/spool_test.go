package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/spool"
)

// The sub-commands report what waits and what is damaged.
func TestSpoolCommand(t *testing.T) {
	dir := t.TempDir()
	s, err := spool.Open(spool.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Put(0, 2, time.Unix(1_700_000_000, 0), []byte("wants cid=\"a\" 1\nwants cid=\"b\" 2\n"))
	s.Put(1, 1, time.Unix(1_700_000_001, 0), []byte("traffic messages=1i 1\n"))
	s.Close()
	f := func(command string, want ...string) error {
		t.Helper()
		var out strings.Builder
		app := app()
		app.Writer = &out
		err := app.Run([]string{"ipfsmon", "spool", command, "--dir", dir, "--repo", t.TempDir()})
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s prints %q, without %q", command, out.String(), w)
			}
		}
		return err
	}
	if err := f("ls", "0000000000000001.seg", "2023-11-14T22:13:20Z"); err != nil {
		t.Error(err)
	}
	if err := f("inspect", "# batch 1, history, 2 points", "wants cid=\"b\" 2\n", "traffic messages=1i 1\n"); err != nil {
		t.Error(err)
	}
	if err := f("verify", "1 segments, 2 intact batches with 3 points, 0 damaged"); err != nil {
		t.Error(err)
	}
	seg := filepath.Join(dir, "0000000000000001.seg")
	b, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	b[50] ^= 1
	if err := os.WriteFile(seg, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f("verify", "a batch of 2 points is damaged", "1 damaged"); err == nil {
		t.Error("verify says nothing of the damage by its exit code")
	}
	if err := f("ls", "0000000000000001.seg"); err != nil {
		t.Error(err)
	}
}
