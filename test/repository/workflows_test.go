package repository

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestFoldersHaveTheirTag: every test of a folder in test/ is behind one build
// tag, its name; e2e and repository, which need Go alone, have none. A target of
// make runs each folder as a whole, and .ci/run that target. Nothing is selected
// by the names of tests.
func TestFoldersHaveTheirTag(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	ci, err := os.ReadFile("../../.ci/run")
	require.NoError(t, err)
	targets := map[string]string{} // by folder
	for _, rule := range regexp.MustCompile(`(?m)^([a-z-]+):.*\n((?:\t.*\n)+)`).FindAllStringSubmatch(string(makefile), -1) {
		for _, of := range regexp.MustCompile(`-tags (\w+) .*\./test/(\w+)`).FindAllStringSubmatch(rule[2], -1) {
			require.Equal(t, of[1], of[2], "make %s: a folder's tag is its name", rule[1])
			targets[of[2]] = rule[1]
		}
	}
	require.NotRegexp(t, `-skip|-run '[^'^]`, string(makefile), "tests are selected by folder and tag")
	folders, err := filepath.Glob("../*/doc.go")
	require.NoError(t, err)
	require.Greater(t, len(folders), 8)
	for _, doc := range folders {
		folder := filepath.Base(filepath.Dir(doc))
		files, err := filepath.Glob("../" + folder + "/*_test.go")
		require.NoError(t, err)
		want := "//go:build " + folder + " || all\n"
		switch folder {
		case "e2e", "repository":
			want = "package " + folder + "\n"
		case "harness":
			require.Empty(t, files, "harness holds no tests")
		case "soak": // benchmarks, by hand
			require.NotEmpty(t, targets[folder])
		default:
			require.NotEmpty(t, targets[folder], "no target of make runs %s", folder)
			require.Regexp(t, `(?m)^part make (check-stack|`+targets[folder]+`)$`, string(ci))
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(b), want), "%s begins with %q", file, want)
		}
	}
}

type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Strategy struct {
			Matrix struct{ Part []string }
		}
		Steps []struct{ Uses, Run string }
	}
}

// TestWorkflowsRunEveryPart compares the parts of .ci/run with those of the
// workflow on GitHub, and wants every action at the hash of a commit.
func TestWorkflowsRunEveryPart(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	pinned := regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40}$`)
	parts := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(b, &w), file)
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, "%s may do more than read", file)
		for name, job := range w.Jobs {
			for _, s := range job.Steps {
				require.True(t, s.Uses == "" || pinned.MatchString(s.Uses), "%s: %s: want a commit's hash", file, s.Uses)
				if filepath.Base(file) == "check.yml" && s.Run == "make ${{ matrix.part }}" {
					for _, p := range job.Strategy.Matrix.Part {
						require.False(t, parts[p], "job %s: %s is there twice", name, p)
						parts[p] = true
					}
				}
			}
		}
	}
	script, err := os.ReadFile("../../.ci/run")
	require.NoError(t, err)
	want := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^part make (.+)$`).FindAllStringSubmatch(string(script), -1) {
		want[m[1]] = true
	}
	require.NotEmpty(t, want)
	require.Equal(t, fmt.Sprint(want), fmt.Sprint(parts))
}
