// Package paths expands paths that a person wrote.
//
// In: a path from a flag, the environment or a configuration. Out: the path to
// open. Promised: ~ means the same as in kubo, so that IPFS_PATH=~/x is the same
// repository for all commands of ipfsmon and kubo. Not promised: that the path
// exists.
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

// Home returns a path with a leading ~ replaced by the user's home folder. Other
// paths, including "", are returned unchanged. ~name is an error: kubo does not
// support it either, and hardly anyone means a folder with that name.
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
	return "", fmt.Errorf("path %q: %w: want an absolute path, or ~/ for your own home folder", path, err)
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

// SQLite returns the URI of a file for SQLite's driver, to which a query with
// settings may be appended. It escapes the path: %, ? and # have another meaning
// in a URI, and ":memory:" would not be a file.
func SQLite(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("database %s: %w", path, err)
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(abs)), nil
}

// Expand replaces each path by the result of Home. The error names the keys of all
// paths for which that fails.
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
