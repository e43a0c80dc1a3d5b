package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// nohup is true if this program was started with SIGHUP ignored, as by nohup: then
// it does not end when its terminal closes. It is set before anything in this
// program listens for that signal.
var nohup = signal.Ignored(syscall.SIGHUP)

// interruptible returns a context that ends with Ctrl-C, with SIGTERM, and, unless
// nohup, with SIGHUP, which a closing terminal sends. Every command that runs for
// more than a moment uses it, so that all of them end in the same way.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !nohup {
		signals = append(signals, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, signals...)
}

// interruptibleChild is interruptible for a command that may be the child of another one: if
// it is, its context also ends when standard input ends, so it does not outlive its parent,
// not even a killed one.
func interruptibleChild(ctx context.Context, child bool) (context.Context, context.CancelFunc) {
	ctx, stop := interruptible(ctx)
	if !child {
		return ctx, stop
	}
	ctx, gone := context.WithCancel(ctx)
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		gone()
	}()
	return ctx, func() { gone(); stop() }
}

// keepNohup ignores SIGHUP again if it was ignored before: kubo's command line
// listens for it in any case.
func keepNohup() {
	if nohup {
		signal.Ignore(syscall.SIGHUP)
	}
}
