// Package release says what was built: the version and the commit.
//
// In: what the build sets, or Go's own record of it. Out: two strings. A release's
// version is its tag; `make` sets it from `git describe`.
package release

import (
	"runtime/debug"
	"strings"
)

// next is the version of what is built without a tag. The Makefile reads this line.
const next = "0.2.0-dev"

// Set by the Makefile with -X.
var version, commit string

// module is the path of this module, which may be linked into another program.
const module = "github.com/ipfsmon/ipfsmon"

// Version returns the version, without "v": that of the tag, as in 0.2.0, with the number of
// commits after it, as in 0.2.0+5.g1a2b3c4d; without a tag, what comes next.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			// Pseudo-versions name a commit, not a version.
			if m.Path == module && strings.HasPrefix(m.Version, "v") && !strings.HasPrefix(m.Version, "v0.0.0-") {
				return strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return next
}

// Commit returns the commit from which this program was built, or "unknown".
func Commit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == module {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return "unknown"
}
