package paths

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/misc/fsutil"
)

func TestHome(t *testing.T) {
	t.Setenv("HOME", "/home/lab")
	f := func(in, want string) {
		t.Helper()
		got, err := Home(in)
		if got != want || (err == nil) != (want != "" || in == "") {
			t.Errorf("Home(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	f("", "")
	f("~", "/home/lab")
	f("~/x y", "/home/lab/x y")
	f("/srv/~/x", "/srv/~/x")
	f("x/~", "x/~")
	f("./~", "./~")
	f("~other/x", "")
	if _, err := Home("~other/x"); err == nil || !strings.Contains(err.Error(), `"~other/x"`) || !strings.Contains(err.Error(), "want") {
		t.Errorf("Home(~other/x): %v, want an error with the path and what is wanted", err)
	}
}

// TestAsKubo compares with what kubo makes of the same paths and names.
func TestAsKubo(t *testing.T) {
	t.Setenv("HOME", "/home/lab")
	for _, path := range []string{"", "~", "~/", "~/x y", `~\x`, "~~", "/~/x", "x/~", "./~", "~other/x", "~/../x//y"} {
		want, failed := fsutil.ExpandHome(path)
		if got, err := Home(path); got != want || (err == nil) != (failed == nil) {
			t.Errorf("Home(%q) = %q, %v; kubo's is %q, %v", path, got, err, want, failed)
		}
	}
	if repoVariable != config.EnvDir || defaultRepo != config.DefaultPathRoot {
		t.Errorf("a repository is at %s, or %s; kubo's at %s, or %s", repoVariable, defaultRepo, config.EnvDir, config.DefaultPathRoot)
	}
}

func TestRepo(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", "/home/lab")
	f := func(env, given, want string) {
		t.Helper()
		t.Setenv("IPFS_PATH", env)
		if got, err := Repo(given); got != want || err != nil {
			t.Errorf("IPFS_PATH=%q Repo(%q) = %q, %v, want %q", env, given, got, err, want)
		}
	}
	f("", "", "/home/lab/.ipfs")
	f("~/x y", "", "/home/lab/x y")
	f("~/x", "~/z", "/home/lab/z")
	f("~/x", "z", filepath.Join(here, "z"))
	f("rel", "", filepath.Join(here, "rel"))
	t.Setenv("IPFS_PATH", "~other")
	if got, err := Repo(""); err == nil {
		t.Errorf("Repo = %q for ~other, want an error", got)
	}
}

func TestSQLite(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b.sqlite": "file:/a/b.sqlite", "/50%/a?b#c": "file:/50%25/a%3fb%23c", "//a": "file:/a",
	} {
		if got, err := SQLite(in); got != want || err != nil {
			t.Errorf("SQLite(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestExpand(t *testing.T) {
	t.Setenv("HOME", "/home/lab")
	a, b, c := "~/a", "", "~x"
	err := Expand(map[string]*string{"A": &a, "B": &b, "C": &c})
	if a != "/home/lab/a" || b != "" || err == nil || !strings.HasPrefix(err.Error(), "C: ") {
		t.Errorf("Expand: %q %q %v", a, b, err)
	}
}

// TestGlob: the characters of patterns in the folder's own name stand for themselves.
func TestGlob(t *testing.T) {
	for _, name := range []string{"plain", "a[1]", "b*", "c?", `d\e`} {
		dir := filepath.Join(t.TempDir(), name)
		for _, file := range []string{"2.gz", "1.gz", "x.txt", "in/3.gz"} {
			path := filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := Glob(dir, "*.gz"), []string{filepath.Join(dir, "1.gz"), filepath.Join(dir, "2.gz")}; !slices.Equal(got, want) {
			t.Errorf("Glob = %q, want %q", got, want)
		}
		if got, want := Glob(dir, "*/*.gz"), []string{filepath.Join(dir, "in", "3.gz")}; !slices.Equal(got, want) {
			t.Errorf("Glob = %q, want %q", got, want)
		}
	}
	if got := Glob(filepath.Join(t.TempDir(), "none"), "*"); got != nil {
		t.Errorf("Glob = %q of no folder", got)
	}
}
