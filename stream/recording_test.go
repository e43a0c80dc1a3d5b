package stream

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

func readAll(t *testing.T, path string) (all []*Event, bad int, err error) {
	t.Helper()
	bad, err = ReadRecording(path, func(e *Event) error { all = append(all, e); return nil })
	return all, bad, err
}

func TestRecording(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecorder(dir, "de/1")
	require.NoError(t, err)
	defer r.Close()
	require.Equal(t, filepath.Join(dir, "de_1"), r.Dir())
	now := time.Date(2026, 11, 20, 14, 59, 58, 0, time.UTC)
	r.now = func() time.Time { return now }
	for _, e := range goldenEventsV4() {
		require.NoError(t, r.Add(asClient(e)))
		now = now.Add(time.Second / 2)
	}
	names := func() (out []string) {
		entries, err := os.ReadDir(r.Dir())
		require.NoError(t, err)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	require.Equal(t, []string{".lock", "2026-11-20_14-59-58_UTC.json.gz", "2026-11-20_15-00-00_UTC.json.gz.tmp"}, names())
	for _, name := range append(names(), ".") {
		info, err := os.Stat(filepath.Join(r.Dir(), name))
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is for its owner alone", name)
	}
	_, err = NewRecorder(dir, "de/1")
	require.ErrorContains(t, err, "another recorder")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())

	files, err := Recordings(dir)
	require.NoError(t, err)
	require.Len(t, files, 2)
	var all []*Event
	for _, f := range files {
		events, bad, err := readAll(t, f)
		require.NoError(t, err)
		require.Zero(t, bad)
		all = append(all, events...)
	}
	for i, e := range goldenEventsV4() {
		require.Equal(t, asClient(e), all[i])
	}

	// The same second again: no file is overwritten.
	again, err := NewRecorder(dir, "de/1")
	require.NoError(t, err)
	again.now = func() time.Time { return time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC) }
	require.NoError(t, again.Add(asClient(connection(1, false))))
	require.NoError(t, again.Close())
	require.Contains(t, names(), "2026-11-20_15-00-01_UTC.json.gz")

	other, err := NewRecorder(dir, "us")
	require.NoError(t, err)
	require.NoError(t, other.Add(asClient(connection(1, false))))
	require.NoError(t, other.Close())
	_, err = Recordings(dir)
	require.ErrorContains(t, err, "want one of the folders de_1, us")
	_, err = Recordings(t.TempDir())
	require.ErrorContains(t, err, "no *.json.gz")
}

func TestFolderName(t *testing.T) {
	for in, want := range map[string]string{"de1": "de1", "../..": "_", "": "unknown", "..": "unknown", "a b\x00/c.d": "a_b__c.d", "é": "_"} {
		require.Equal(t, want, folderName(in), "%q", in)
	}
	require.Len(t, folderName(strings.Repeat("x", 1000)), 128)
}

// TestKilledRecorderIsRepaired cuts a file at every place where a kill may end it.
func TestKilledRecorderIsRepaired(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecorder(dir, "m")
	require.NoError(t, err)
	for i, e := range goldenEventsV4() {
		require.NoError(t, r.Add(asClient(e)))
		if i%3 == 2 {
			require.NoError(t, r.Flush())
		}
	}
	require.NoError(t, r.Flush())
	data, err := os.ReadFile(r.file.Name())
	require.NoError(t, err)
	require.NoError(t, r.Close())
	last := 0
	for n := 0; n <= len(data); n += 7 {
		dir := t.TempDir()
		path := filepath.Join(dir, "m", "2026-11-20_14-59-58_UTC.json.gz")
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path+openSuffix, data[:n], 0o644))
		require.NoError(t, os.WriteFile(path+openSuffix+repairSuffix, []byte("left by one killed while repairing"), 0o644))
		r, err := NewRecorder(dir, "m")
		require.NoError(t, err)
		require.NoError(t, r.Close())
		_, err = os.Lstat(path + openSuffix)
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = os.Lstat(path + openSuffix + repairSuffix)
		require.ErrorIs(t, err, os.ErrNotExist)
		events, bad, err := readAll(t, path)
		if errors.Is(err, os.ErrNotExist) {
			require.Zero(t, last, "%d bytes", n)
			continue
		}
		require.NoError(t, err)
		require.Zero(t, bad)
		require.GreaterOrEqual(t, len(events), last)
		last = len(events)
		for i, e := range events {
			require.Equal(t, asClient(goldenEventsV4()[i]), e)
		}
	}
	require.GreaterOrEqual(t, last, 9, "what was flushed before the last bytes is kept")
}

// TestWholeFileIsFinished: a recorder may be killed after it completed a file and before it
// renamed it. A name that cannot be given is an error.
func TestWholeFileIsFinished(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecorder(dir, "m")
	require.NoError(t, err)
	require.NoError(t, r.Add(asClient(goldenEventsV4()[0])))
	open := r.file.Name()
	require.NoError(t, r.Close())
	whole := strings.TrimSuffix(open, openSuffix)
	require.NoError(t, os.Rename(whole, open))
	r, err = NewRecorder(dir, "m")
	require.NoError(t, err)
	require.NoError(t, r.Close())
	events, _, err := readAll(t, whole)
	require.NoError(t, err)
	require.Len(t, events, 1)
	left, err := filepath.Glob(filepath.Join(dir, "m", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "m", ".lock"), whole}, left)

	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	monitors, err := RecordedMonitors(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"m"}, monitors)
	require.ErrorIs(t, r.rename(open, whole), os.ErrNotExist)
}

func TestReadsWhatOthersWrote(t *testing.T) {
	write := func(data string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(data))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		path := filepath.Join(t.TempDir(), "x.json.gz")
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
		return path
	}
	// Frames of version 3, and the snake case of the Rust client.
	v3, err := os.ReadFile("testdata/v3.jsonl")
	require.NoError(t, err)
	events, bad, err := readAll(t, write(string(v3)))
	require.NoError(t, err)
	require.Zero(t, bad)
	for i, e := range goldenEvents() {
		require.Equal(t, ofV3(e), events[i])
	}
	snake, err := os.ReadFile("testdata/show.jsonl")
	require.NoError(t, err)
	events, bad, err = readAll(t, write(string(snake)))
	require.NoError(t, err)
	require.Zero(t, bad)
	require.Equal(t, ofV3(goldenEvents()[1]).Message, events[1].Message)

	events, bad, err = readAll(t, write("nonsense\n{}\n\n{\"event\":{}}\n{\"peer\":\"x\",\"connection_event\":{\"remote\":\"/a\"}}"))
	require.NoError(t, err)
	require.Equal(t, 3, bad)
	require.Len(t, events, 1)

	path := write(string(snake))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data[:len(data)/2], 0o644))
	_, _, err = readAll(t, path)
	var damaged *DamagedError
	require.ErrorAs(t, err, &damaged)
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o644))
	_, _, err = readAll(t, path)
	require.ErrorAs(t, err, &damaged)
	stop := errors.New("enough")
	_, err = ReadRecording(write(string(snake)), func(*Event) error { return stop })
	require.Equal(t, stop, err)
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p := Pace{Speed: 2}
		at := time.Unix(1000, 0)
		for i := range 5 {
			require.NoError(t, p.Wait(t.Context(), at.Add(time.Duration(i)*time.Minute)))
		}
		require.Equal(t, 2*time.Minute, time.Since(begin))
		require.NoError(t, p.Wait(t.Context(), at), "a late event does not delay the replay")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Wait(ctx, at.Add(time.Hour)), context.DeadlineExceeded)
		require.NoError(t, (&Pace{}).Wait(t.Context(), at.Add(time.Hour)))
	})
}
