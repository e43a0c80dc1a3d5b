package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/kubo/config"
	serialize "github.com/ipfs/kubo/config/serialize"
	"github.com/ipfs/kubo/repo/fsrepo"
	"github.com/ipfs/kubo/repo/fsrepo/migrations"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/loopback"
)

// TestMain makes the test program act as ipfsmon where that starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "ipfs" {
		main()
		return
	}
	os.Exit(m.Run())
}

// whole checks that a folder is a repository and contains nothing else.
func whole(t *testing.T, repo string, isolated bool) {
	t.Helper()
	require.True(t, fsrepo.IsInitialized(repo))
	v, err := migrations.RepoVersion(repo)
	require.NoError(t, err)
	require.Equal(t, fsrepo.RepoVersion, v)
	for _, name := range []string{"blocks", "datastore", "datastore_spec", "keystore"} {
		_, err := os.Stat(filepath.Join(repo, name))
		require.NoError(t, err)
	}
	entries, err := os.ReadDir(repo)
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, strings.HasPrefix(e.Name(), ".ipfsmon"), "%s was left in the repository", e.Name())
	}
	cfg, err := serialize.Load(filepath.Join(repo, config.DefaultConfigFile))
	require.NoError(t, err)
	faults, err := loopback.Check(cfg)
	require.NoError(t, err)
	require.Equal(t, isolated, len(faults) == 0, "%v", faults)
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}))
}

// TestMakeRepoAfterEveryInterruption starts from each state of the folder that a killed
// start can leave.
func TestMakeRepoAfterEveryInterruption(t *testing.T) {
	model := t.TempDir()
	made, err := makeRepo(t.Context(), model, true)
	require.NoError(t, err)
	require.True(t, made)
	whole(t, model, true)
	before, err := os.ReadFile(filepath.Join(model, "config"))
	require.NoError(t, err)
	made, err = makeRepo(t.Context(), model, true)
	require.NoError(t, err)
	require.False(t, made, "an existing repository is not changed")
	entries, err := os.ReadDir(model)
	require.NoError(t, err)

	f := func(name string, remake bool, state func(repo string)) {
		t.Helper()
		repo := t.TempDir()
		state(repo)
		made, err := makeRepo(t.Context(), repo, true)
		require.NoError(t, err, name)
		whole(t, repo, true)
		after, err := os.ReadFile(filepath.Join(repo, "config"))
		require.NoError(t, err)
		require.Equal(t, !remake, string(before) == string(after), "%s: the identity", name)
		if remake {
			require.True(t, made, name)
		}
	}
	f("ipfs init was cut short", true, func(repo string) {
		require.NoError(t, os.MkdirAll(filepath.Join(repo, asideBegun+"1", "datastore"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(repo, asideBegun+"1", "config"), []byte("{"), 0o600))
	})
	f("made, not isolated yet, not renamed", true, func(repo string) { copyFolder(t, model, filepath.Join(repo, asideBegun+"1")) })
	f("an empty folder was left", true, func(repo string) { require.NoError(t, os.Mkdir(filepath.Join(repo, asideMade), 0o700)) })
	for moved := range len(entries) + 1 {
		f("moving up", false, func(repo string) {
			ready := filepath.Join(repo, asideMade)
			copyFolder(t, model, ready)
			// In the order of moveUp: the configuration last.
			for _, e := range entries[:moved] {
				if e.Name() == "config" && moved <= len(entries)-1 {
					continue
				}
				require.NoError(t, os.Rename(filepath.Join(ready, e.Name()), filepath.Join(repo, e.Name())))
			}
		})
	}
}

// TestMakeRepoBesideOtherFiles tests what may be in the folder before.
func TestMakeRepoBesideOtherFiles(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "a [b]* c")
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "blocks"), 0o700)) // empty
	require.NoError(t, os.WriteFile(filepath.Join(repo, "swarm.key"), []byte("x"), 0o600))
	_, err := makeRepo(t.Context(), repo, true)
	require.NoError(t, err)
	whole(t, repo, true)
	_, err = os.Stat(filepath.Join(repo, "swarm.key"))
	require.NoError(t, err)

	repo = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(repo, "version"), []byte("18\n"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "blocks", "X2"), 0o700))
	_, err = makeRepo(t.Context(), repo, true)
	require.ErrorContains(t, err, `it has "blocks" but no "config"`)
	require.ErrorContains(t, err, "ipfsmon ipfs init")
}

// TestMakeRepoForThePublicNetwork does not change kubo's configuration.
func TestMakeRepoForThePublicNetwork(t *testing.T) {
	repo := t.TempDir()
	_, err := makeRepo(t.Context(), repo, false)
	require.NoError(t, err)
	whole(t, repo, false)
	faults, err := isolation(repo)
	require.NoError(t, err)
	err = notIsolated(repo, faults)
	require.ErrorContains(t, err, "is not of an isolated node:")
	require.ErrorContains(t, err, "Addresses.Swarm is")
	require.ErrorContains(t, err, "more")
	require.ErrorContains(t, err, "ipfsmon ipfs config --json KEY VALUE")
}
