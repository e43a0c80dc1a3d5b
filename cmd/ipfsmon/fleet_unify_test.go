package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/stream"
)

// fleetRecordings writes what two monitors saw of one peer: at each second a
// request, the second monitor 100 ms later. It returns the monitors' folders.
func fleetRecordings(t *testing.T, requests int) (a, b string) {
	t.Helper()
	dir := t.TempDir()
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for m, name := range []string{"de1", "us1"} {
		rec, err := stream.NewRecorder(dir, name)
		require.NoError(t, err)
		for i := range requests {
			c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(fmt.Appendf(nil, "%d", i))
			require.NoError(t, err)
			require.NoError(t, rec.Add(&stream.Event{
				Timestamp: begin.Add(time.Duration(i)*time.Second + time.Duration(m)*100*time.Millisecond), Seq: uint64(i + 1),
				Peer:    "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
				Message: &stream.Message{Wants: []stream.Want{{Cid: c, WantType: 1}}},
			}))
		}
		require.NoError(t, rec.Close())
	}
	return filepath.Join(dir, "de1"), filepath.Join(dir, "us1")
}

// unified runs fleet unify.
func unified(t *testing.T, u unifying, args ...string) (log string, err error) {
	t.Helper()
	var out bytes.Buffer
	u.log = &out
	if err := u.read(args); err != nil {
		return "", err
	}
	err = u.run(t.Context())
	return out.String(), err
}

func TestFleetUnify(t *testing.T) {
	const requests = 500
	a, b := fleetRecordings(t, requests)
	dir := filepath.Join(t.TempDir(), "out")
	log, err := unified(t, unifying{format: "csv", output: dir, lateness: time.Second}, a, "west="+b)
	require.NoError(t, err)
	for _, want := range []string{"monitor 0, de1: 500 messages, 500 requests", "monitor 1, west: 500", "1000 entries in " + dir + ", 500 matched, 500 requests repeat"} {
		require.Contains(t, log, want)
	}
	data, err := os.ReadFile(filepath.Join(dir, "wl-000000001.csv"))
	require.NoError(t, err)
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, unify.Columns, rows[0])
	require.Len(t, rows, 2*requests+1)
	for i, row := range rows[1:] {
		want := []string{"0", "", "", ""}
		if i%2 == 1 {
			want = []string{"1", "0", "100", "100"}
		}
		require.Equal(t, want, row[:4])
		require.Equal(t, fmt.Sprint(i+1), row[4])
	}

	// Into one that has files.
	_, err = unified(t, unifying{format: "csv", output: dir}, a)
	require.ErrorContains(t, err, "wl-000000001.csv is there already")

	// As a recording: each request once.
	out := t.TempDir()
	_, err = unified(t, unifying{format: "recording", output: out, name: "both", lateness: time.Second}, a, b)
	require.NoError(t, err)
	files, err := stream.Recordings(filepath.Join(out, "both"))
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		bad, err := stream.ReadRecording(file, func(e *stream.Event) error {
			n++
			require.Equal(t, "de1", e.Monitor)
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, bad)
	}
	require.Equal(t, requests, n)
}

// TestFleetUnifyBadInput: what is wrong is named, and the rest is unified.
func TestFleetUnifyBadInput(t *testing.T) {
	const requests = 3000
	a, b := fleetRecordings(t, requests)
	files, err := stream.Recordings(a)
	require.NoError(t, err)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], data[:len(data)/2], 0o600))
	dir := t.TempDir()
	log, err := unified(t, unifying{format: "csv", output: dir, gzip: true, lateness: time.Second}, a, b)
	require.ErrorContains(t, err, files[0])
	require.ErrorContains(t, err, "cannot be read to its end")
	require.Contains(t, log, "monitor 1, us1: 3000 messages")
	require.NotContains(t, log, "monitor 0, de1: 0 messages")
	_, err = os.Stat(filepath.Join(dir, "wl-000000001.csv.gz"))
	require.NoError(t, err, "the others are whole")

	f := func(want string, args ...string) {
		t.Helper()
		u := unifying{format: "csv", output: filepath.Join(t.TempDir(), "out")}
		_, err := unified(t, u, args...)
		require.ErrorContains(t, err, want)
	}
	f("no such file", filepath.Join(dir, "nothing"))
	f("no such file", "de1="+filepath.Join(dir, "nothing"))
	f("a monitor's name", `d\e1=`+b)
	f("is there twice; want each file once", b, "other="+b)
	f("recording: no *.json.gz", t.TempDir())
	text := filepath.Join(t.TempDir(), "text.json.gz")
	require.NoError(t, os.WriteFile(text, []byte("plain"), 0o600))
	f("cannot be read to its end", "a="+text)

	// Flags that do not belong together.
	for line, want := range map[string]string{
		"--format=xml":                  `--format "xml": want csv or recording`,
		"--name=x":                      "want --format recording with it",
		"--format=recording --gzip":     "--gzip is of CSV files",
		"--lateness=48h":                "want at most 24h",
		"--format=recording --name=a\\": "--name",
	} {
		var stderr bytes.Buffer
		args := append([]string{"ipfsmon", "fleet", "unify", "--output", filepath.Join(t.TempDir(), "x"), b}, strings.Fields(line)...)
		require.Equal(t, exitUsage, runApp(app(), args, &stderr), stderr.String())
		require.Contains(t, stderr.String(), want)
	}
	var stderr bytes.Buffer
	require.Equal(t, exitUsage, runApp(app(), []string{"ipfsmon", "fleet", "unify", "--output", "x"}, &stderr))
	require.Contains(t, stderr.String(), "want FILE...")
}

// TestFleetUnifyLate: events out of order beyond the lateness are counted, and the
// hint keeps them.
func TestFleetUnifyLate(t *testing.T) {
	dir := t.TempDir()
	rec, err := stream.NewRecorder(dir, "m")
	require.NoError(t, err)
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum([]byte("x"))
	require.NoError(t, err)
	for i := range 3 * readAhead {
		at := begin.Add(time.Duration(i) * 100 * time.Millisecond)
		if i == 2*readAhead+5 {
			at = begin
		}
		require.NoError(t, rec.Add(&stream.Event{Timestamp: at, Peer: "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
			Message: &stream.Message{Wants: []stream.Want{{Cid: c}}}}))
	}
	require.NoError(t, rec.Close())
	log, err := unified(t, unifying{format: "csv", output: filepath.Join(dir, "1"), lateness: time.Second}, filepath.Join(dir, "m"))
	require.NoError(t, err)
	require.Contains(t, log, "m: left out 1 events with 1 entries, which were late by up to 50.1s; --lateness 52s keeps them")
	log, err = unified(t, unifying{format: "csv", output: filepath.Join(dir, "2"), lateness: 52 * time.Second}, filepath.Join(dir, "m"))
	require.NoError(t, err)
	require.NotContains(t, log, "left out")
}
