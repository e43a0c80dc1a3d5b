package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipfs/kubo/config"
	serialize "github.com/ipfs/kubo/config/serialize"
	"github.com/ipfs/kubo/repo/fsrepo"
	"github.com/ipfs/kubo/repo/fsrepo/migrations"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/internal/loopback"
	"github.com/ipfsmon/ipfsmon/internal/paths"
)

// repoPath returns the given repository, or that of IPFS_PATH, or ~/.ipfs.
func repoPath(given string) (string, error) { return paths.Repo(given) }

// prepareRepo makes the repository if there is none, and rejects one that cannot
// be used with the options. It never changes a repository from public to
// isolated. Messages name the command, as in "ipfsmon run".
func prepareRepo(ctx context.Context, repo, command string, isolated, migrate bool, out io.Writer) error {
	made, err := makeRepo(ctx, repo, isolated)
	if err != nil {
		return fmt.Errorf("make the repository %s: %w", repo, err)
	}
	if made {
		fmt.Fprintf(out, "Made a repository in %s\n", repo)
	}
	if locked, err := fsrepo.LockedByOtherProcess(repo); err == nil && locked {
		return fmt.Errorf("the repository %s is in use by another process, a running node; stop it first, or use another repository with --repo", repo)
	}
	if err := checkVersion(repo, command, isolated, migrate); err != nil {
		return err
	}
	faults, err := isolation(repo)
	switch {
	case err != nil:
		return err
	case isolated && len(faults) > 0:
		return notIsolated(repo, faults)
	case !isolated && len(faults) == 0:
		fmt.Fprintf(out, "The repository %s is of an isolated node: it stays on the loopback interface; for the public network use another with --repo\n", repo)
	}
	return nil
}

// isolation returns the settings by which a repository's node may reach beyond the
// loopback interface.
func isolation(repo string) ([]loopback.Fault, error) {
	file := filepath.Join(repo, config.DefaultConfigFile)
	cfg, err := serialize.Load(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	faults, err := loopback.Check(cfg)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return faults, nil
}

// shownFaults is how many keys an error names; the repository of a public node has
// about two dozen.
const shownFaults = 5

func notIsolated(repo string, faults []loopback.Fault) error {
	var b strings.Builder
	for _, f := range faults[:min(shownFaults, len(faults))] {
		fmt.Fprintf(&b, "\n  %s", f)
	}
	if more := len(faults) - shownFaults; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return fmt.Errorf("the repository %s is not of an isolated node:%s\n"+
		"Use another with --repo, which is created if it does not exist, or set these keys with `ipfsmon ipfs config --json KEY VALUE`", repo, b.String())
}

// firstEmbedded is the first version of a repository whose migration is built into
// kubo; for older ones kubo fetches programs from the network.
const firstEmbedded = 16

// checkVersion rejects a repository that kubo would not open, before anything is
// started. At a terminal kubo itself asks whether to migrate.
func checkVersion(repo, command string, isolated, migrate bool) error {
	has, err := migrations.RepoVersion(repo)
	if err != nil {
		return fmt.Errorf("the repository %s is not complete: %w; if `ipfs init` was interrupted, move the folder away", repo, err)
	}
	switch {
	case has > fsrepo.RepoVersion:
		return fmt.Errorf("the repository %s has version %d, of a later kubo; this one supports versions up to %d: want a newer ipfsmon", repo, has, fsrepo.RepoVersion)
	case has < fsrepo.RepoVersion && isolated && has < firstEmbedded:
		return fmt.Errorf("the repository %s has version %d, and an isolated node fetches no migrations from the network: run `IPFS_PATH=%[1]s ipfsmon ipfs repo migrate` first", repo, has)
	case has < fsrepo.RepoVersion && !migrate && (quiet() || !term.IsTerminal(int(os.Stdin.Fd()))):
		return fmt.Errorf("the repository %s has version %d and must be migrated to version %d: run `%s --migrate`, or `ipfsmon ipfs repo migrate` before (IPFS_PATH=%[1]s); "+
			"an older kubo cannot open it afterwards, so keep a copy if you may want to go back", repo, has, fsrepo.RepoVersion, command)
	}
	return nil
}

// A repository is made in a folder inside its own, so that both are on the same
// file system even if the repository is a mount. Then its entries are moved up one
// by one, the configuration last. Without a configuration there is no repository:
// the next start removes what was begun, or finishes moving.
const (
	asideBegun = ".ipfsmon-init-" // being made; the rest of the name is random
	asideMade  = ".ipfsmon-made"  // complete, with its settings
)

// makeRepo makes a repository if there is none. If it is killed at any moment, the
// next call finishes the work.
func makeRepo(ctx context.Context, repo string, isolated bool) (made bool, err error) {
	if err := os.MkdirAll(repo, 0o700); err != nil {
		return false, err
	}
	entries, err := os.ReadDir(repo)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), asideBegun) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(repo, e.Name())); err != nil {
			return false, fmt.Errorf("remove what an interrupted start left: %w", err)
		}
	}
	ready := filepath.Join(repo, asideMade)
	if fsrepo.IsInitialized(repo) {
		return false, os.RemoveAll(ready) // it is empty or does not exist
	}
	if _, err := os.Stat(filepath.Join(ready, config.DefaultConfigFile)); errors.Is(err, os.ErrNotExist) {
		if err := makeAside(ctx, repo, ready, isolated); err != nil {
			return false, err
		}
	} else if err != nil {
		return false, err
	} else if isolated { // begun by a start that was killed, perhaps of a public node
		if err := applyLoopback(ready); err != nil {
			return false, err
		}
	}
	return true, moveUp(ready, repo)
}

// makeAside makes a complete repository in the folder ready.
func makeAside(ctx context.Context, repo, ready string, isolated bool) error {
	for _, name := range []string{"blocks", "datastore", "datastore_spec", "keystore", "version"} {
		entries, err := os.ReadDir(filepath.Join(repo, name))
		if (err == nil && len(entries) > 0) || (err != nil && !errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("it has %q but no %q: want an empty folder, or run `ipfsmon ipfs init` to keep it (IPFS_PATH=%s)", name, config.DefaultConfigFile, repo)
		}
	}
	aside, err := os.MkdirTemp(repo, asideBegun+"*")
	if err != nil {
		return err
	}
	if err := initRepo(ctx, aside); err != nil {
		return errors.Join(err, os.RemoveAll(aside))
	}
	if isolated {
		if err := applyLoopback(aside); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(ready); err != nil { // it has no configuration
		return err
	}
	return os.Rename(aside, ready)
}

// moveUp moves what is in a folder to the one above, the configuration last.
func moveUp(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int {
		return last(a.Name()) - last(b.Name())
	})
	for _, e := range entries {
		if e.IsDir() {
			_ = os.Remove(filepath.Join(to, e.Name())) // removes an empty folder; one with files is kept
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(from)
}

func last(name string) int {
	if name == config.DefaultConfigFile {
		return 1
	}
	return 0
}

// applyLoopback isolates the node of a new repository.
func applyLoopback(repo string) error {
	file := filepath.Join(repo, config.DefaultConfigFile)
	cfg, err := serialize.Load(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	loopback.Apply(cfg)
	return serialize.WriteConfigFile(file, cfg)
}

// initRepo runs `ipfs init` in a child process, because kubo's command line can
// run only once in a process.
func initRepo(ctx context.Context, repo string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "ipfs", "init")
	cmd.Env = append(os.Environ(), config.EnvDir+"="+repo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ipfs init: %w\n%s", err, out)
	}
	return nil
}
