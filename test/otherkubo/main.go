// Command otherkubo builds a copy of this tree against another kubo and runs the quick tests
// there, to show what an upgrade breaks before go.mod is changed.
//
// In: the current tree, as git lists its files, and a version of
// kubo (v0.43.0) or of a fork of it (github.com/someone/kubo@v0.44.0). Out: the
// copy in its own folder, with each module at the version that this kubo
// pins, built and tested; the exit code is 1 if any of that fails. Promised:
// nothing outside that folder is written but Go's caches. Not promised: that
// a fork's own `replace`s can be had.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const kubo = "github.com/ipfs/kubo"

// quick are the packages that know kubo, boxo or libp2p, and the tests of the
// program that need Go alone. Each list of arguments is one `go test`.
var quick = [][]string{
	{"./plugin", "./monitor", "./capture", "./introspect/...", "./internal/loopback/...", "./internal/demo", "./proxy", "./probe/...", "./metrics"},
	{"./test/repository", "./test/e2e"},
}

func main() {
	dir := flag.String("dir", "bin/kubo", "`FOLDER` for the copy; what is in it is replaced")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: otherkubo [-dir FOLDER] VERSION or FORK@VERSION")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := try(*dir, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "otherkubo:", err)
		os.Exit(1)
	}
}

func try(dir, version string) error {
	if !strings.Contains(version, "@") {
		version = kubo + "@" + version
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := copyTree(dir); err != nil {
		return fmt.Errorf("copy the tree to %s: %w", dir, err)
	}
	if err := pin(dir, version); err != nil {
		return fmt.Errorf("take the modules of %s: %w", version, err)
	}
	if err := run(dir, "go", "build", "-o", "bin/ipfsmon", "./cmd/ipfsmon"); err != nil {
		return fmt.Errorf("build with %s: %w", version, err)
	}
	failed := 0
	for _, args := range quick {
		if err := run(dir, "go", append([]string{"test", "-count=1"}, args...)...); err != nil {
			failed++ // go test has said which
		}
	}
	if failed > 0 {
		return fmt.Errorf("tests fail with %s; docs/upgrading-kubo.md says what each of them means", version)
	}
	fmt.Println("The quick tests pass with", version)
	return nil
}

// copyTree copies what git knows of the tree, with changes that are not
// committed yet.
func copyTree(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted and not committed
		}
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// modFile is what of a go.mod is read here, as `go mod edit -json` prints it.
type modFile struct {
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

// raised are the modules that only old parts of Flux ask for, at versions of
// which some packages have moved to other modules since: ours are kept.
var raised = []string{"google.golang.org/api", "google.golang.org/genproto"}

// pin makes the copy's go.mod ask for kubo at that version, for every module
// that kubo's go.mod names in the version that it names, and for its replaces.
// What only we ask for stays as it is.
func pin(dir, version string) error {
	path, tag, _ := strings.Cut(version, "@")
	var got struct{ GoMod, Error string }
	out, err := output(os.TempDir(), "go", "mod", "download", "-json", version)
	if jerr := json.Unmarshal(out, &got); jerr != nil || got.Error != "" || err != nil {
		return fmt.Errorf("go mod download %s: %v %s", version, err, got.Error)
	}
	theirs, err := readMod(dir, got.GoMod)
	if err != nil {
		return err
	}
	ours, err := readMod(dir, "go.mod")
	if err != nil {
		return err
	}
	edit := []string{"mod", "edit"}
	for _, r := range ours.Require {
		if r.Indirect && !slices.Contains(raised, r.Path) { // the others follow from what is asked for
			edit = append(edit, "-droprequire="+r.Path)
		}
	}
	for _, r := range theirs.Require {
		edit = append(edit, "-require="+r.Path+"@"+r.Version)
	}
	for _, r := range theirs.Replace {
		old, to := r.Old.Path, r.New.Path
		if r.Old.Version != "" {
			old += "@" + r.Old.Version
		}
		if r.New.Version != "" {
			to += "@" + r.New.Version
		}
		edit = append(edit, "-replace="+old+"="+to)
	}
	if path == kubo {
		edit = append(edit, "-require="+version)
	} else {
		edit = append(edit, "-replace="+kubo+"="+path+"@"+tag)
	}
	if err := run(dir, "go", edit...); err != nil {
		return err
	}
	return run(dir, "go", "mod", "tidy")
}

func readMod(dir, file string) (m modFile, err error) {
	out, err := output(dir, "go", "mod", "edit", "-json", file)
	if err != nil {
		return m, fmt.Errorf("read %s: %w", file, err)
	}
	return m, json.Unmarshal(out, &m)
}

func output(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	return cmd.Output()
}

func run(dir, name string, args ...string) error {
	shown := strings.Join(args, " ")
	if len(shown) > 200 {
		shown = shown[:200] + "..."
	}
	fmt.Println("+", name, shown)
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	return cmd.Run()
}
