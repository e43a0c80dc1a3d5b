package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

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
	files, err := filepath.Glob("../.github/workflows/*.yml")
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
	script, err := os.ReadFile("../.ci/run")
	require.NoError(t, err)
	want := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^part make (.+)$`).FindAllStringSubmatch(string(script), -1) {
		want[m[1]] = true
	}
	require.NotEmpty(t, want)
	require.Equal(t, fmt.Sprint(want), fmt.Sprint(parts))
}
