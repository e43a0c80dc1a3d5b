package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/ipfsmon/ipfsmon/monitor"
)

// startedAs is this program as it was started; kubo's command line changes os.Args.
var startedAs = os.Args[0]

// kubosNoise is how the lines begin that kubo prints at its start and that `ipfsmon
// run` leaves out, unless the log has notices.
var kubosNoise = []string{
	"Initializing daemon...", "Kubo version: ", "Repo version: ", "System version: ", "Golang version: ",
	"Swarm listening on ", "Run 'ipfs id' to inspect ", "WebUI: ", "Routing V1 API exposed at ", "\n",
}

// readyLine is the last line of kubo's start.
const readyLine = "Daemon is ready\n"

// banner is a writer that leaves out kubo's noise, and calls ready after the last
// line of kubo's start. A line that is not noise passes at once, also without its
// end: it may be a question.
type banner struct {
	out   io.Writer
	ready func()
	line  []byte // held back: it may become noise
	state lineState
}

type lineState int

const (
	lineHeld lineState = iota
	linePasses
	lineDropped
)

// Write passes on what is not noise.
func (b *banner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		part := p
		if end > 0 {
			part = p[:end]
		}
		p = p[len(part):]
		if err := b.add(part); err != nil {
			return n, err
		}
		if end > 0 {
			b.line, b.state = nil, lineHeld
		}
	}
	return n, nil
}

// add takes a part of a line.
func (b *banner) add(part []byte) error {
	if b.state == linePasses {
		_, err := b.out.Write(part)
		return err
	}
	b.line = append(b.line, part...)
	text := string(b.line)
	switch {
	case b.state == lineDropped || slices.ContainsFunc(kubosNoise, func(s string) bool { return strings.HasPrefix(text, s) }):
		b.state = lineDropped
		return nil
	case text != readyLine && slices.ContainsFunc(append(slices.Clip(kubosNoise), readyLine), func(s string) bool { return strings.HasPrefix(s, text) }):
		return nil // not known yet
	}
	b.state = linePasses
	_, err := b.out.Write(b.line)
	if text == readyLine {
		b.ready()
	}
	return err
}

// shortenKubo replaces standard output by one that leaves out kubo's noise, until the
// last line of kubo's start, after which it calls ready, or until the returned
// function is called. With --quiet it leaves out everything.
func (r *runner) shortenKubo(ready func()) (restore func(), err error) {
	if slog.Default().Enabled(context.Background(), slog.LevelInfo) {
		kubosNoise = nil
	}
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout := os.Stdout
	os.Stdout = out
	direct := func() {
		ready()
		if !quiet() {
			// What follows needs no reader: the process may end at any moment.
			_ = dup(int(stdout.Fd()), int(out.Fd())) // with an error it is read on
		}
	}
	done := make(chan struct{})
	go func() { // ends with restore
		defer close(done)
		_, _ = io.Copy(&banner{out: r.out, ready: direct}, in) // nothing reads what cannot be printed
		_, _ = io.Copy(io.Discard, in)                         // kubo must not wait for a reader
	}()
	return func() {
		os.Stdout = stdout
		out.Close()
		<-done
		in.Close()
	}, nil
}

// whatNext prints three lines of what to do next with a running monitor. place is
// the folder through which other commands find it; standard is the one that they
// find without being given it.
func whatNext(w io.Writer, m *monitor.Monitor, place, standard string) {
	command := startedAs
	if !strings.Contains(command, "/") {
		command = "ipfsmon"
	}
	if place != standard {
		command = "IPFS_PATH=" + shellWord(place) + " " + command
	}
	var lines []string
	if pages := m.IntrospectAddresses(); len(pages) > 0 {
		lines = append(lines, pages[0]+"   the live page, in a browser")
	}
	if len(m.HTTPAddresses()) > 0 {
		lines = append(lines, command+" top   the same in a terminal")
	}
	if m.Queryable() {
		lines = append(lines, command+" query top-cids --since 10m   what is wanted most; `query --list` has more questions")
	}
	if len(m.StreamAddresses()) > 0 {
		lines = append(lines, command+" tail   every message and connection as it happens")
	}
	if len(lines) > 0 {
		fmt.Fprint(w, "\nWhat next:\n   ", strings.Join(lines[:min(len(lines), 3)], "\n   "), "\n\n")
	}
}

// shellWord quotes a word for a shell if it must be.
func shellWord(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-~+:@%") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
