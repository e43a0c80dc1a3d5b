// Package paths expands paths that a person wrote, and finds files in such folders.
//
// In: a path from a flag, the environment or a configuration. Out: the path to
// open, or the paths of files. Promised: ~ means the same as in kubo, so that IPFS_PATH=~/x is the same
// repository for all commands of ipfsmon and kubo. Not promised: that the path
// exists.
package paths

import (
	"errors"
	"fmt"
	"io/fs"
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

// Glob returns the paths of what is in a folder and has a name that matches a pattern,
// in the order of names. The folder is no part of the pattern: in filepath.Glob a folder
// called a[1] is one that nobody has. The pattern is one of filepath.Match, with / between
// folders; a wrong one, or a folder that cannot be read, matches nothing.
func Glob(dir, pattern string) (out []string) {
	names, _ := fs.Glob(os.DirFS(dir), pattern) // the only error is that of a wrong pattern
	for _, name := range names {
		out = append(out, filepath.Join(dir, filepath.FromSlash(name)))
	}
	return out
}
