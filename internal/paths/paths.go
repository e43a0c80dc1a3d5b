// Package paths reads paths as a person writes them.
//
// In: a path from a flag, the environment or a configuration. Out: the path to
// open. Promised: ~ means what it means to kubo, so that IPFS_PATH=~/x is the
// same repository for every command of ours and of kubo's. Not promised: that
// anything is there.
package paths

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The environment's name for the node's repository, and where it is without
// one: kubo's.
const (
	repoVariable = "IPFS_PATH"
	defaultRepo  = "~/.ipfs"
)

// Home returns a path with a leading ~ replaced by the user's home folder.
// Other paths, "" among them, are returned as they are. ~name is an error:
// kubo does not know it either, and a folder of that name is hardly meant.
func Home(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok {
		return path, nil
	}
	err := errors.New("cannot expand user-specific home dir")
	if rest == "" || rest[0] == '/' || rest[0] == '\\' {
		var home string
		if home, err = os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest), nil
		}
	}
	return "", fmt.Errorf("path %q: %w; want an absolute path, or ~/ for your own home folder", path, err)
}

// Repo returns the absolute path of a node's repository: given, or that of
// IPFS_PATH, or ~/.ipfs.
func Repo(given string) (string, error) {
	if given == "" {
		given = os.Getenv(repoVariable)
	}
	if given == "" {
		given = defaultRepo
	}
	path, err := Home(given)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("find the node's repository: %w", err)
	}
	return path, nil
}

// SQLite returns the URI of a file for SQLite's driver, to which a query of
// settings may be added. Every path means the file that it names: in a URI %,
// ? and # would be something else, and ":memory:" no file at all.
func SQLite(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("database %s: %w", path, err)
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(abs)), nil
}

// Expand replaces each path by what Home returns for it. The error names all
// that cannot be, by their keys.
func Expand(all map[string]*string) error {
	var errs []error
	for key, path := range all {
		out, err := Home(*path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
			continue
		}
		*path = out
	}
	return errors.Join(errs...)
}
