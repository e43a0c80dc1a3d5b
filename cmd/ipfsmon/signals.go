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
// more than a moment uses it, so that all of them end in the same way. A second
// Ctrl-C ends the program at once, also where it waits for a file that nobody writes.
// A second SIGHUP does not: one closing terminal may send two.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, ending()...)
	ctx, again := signal.NotifyContext(ctx, os.Interrupt)
	context.AfterFunc(ctx, again)
	return ctx, func() { again(); stop() }
}

// ending are the signals beside Ctrl-C that end a command.
func ending() []os.Signal {
	if nohup {
		return []os.Signal{syscall.SIGTERM}
	}
	return []os.Signal{syscall.SIGTERM, syscall.SIGHUP}
}

// interruptibleChild is interruptible for a command that may be the child of another one: if
// it is, its context also ends when standard input ends, so it does not outlive its parent,
// not even a killed one. A second Ctrl-C does not end a child: its parent does.
func interruptibleChild(ctx context.Context, child bool) (context.Context, context.CancelFunc) {
	if !child {
		return interruptible(ctx)
	}
	ctx, stop := signal.NotifyContext(ctx, append(ending(), os.Interrupt)...)
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
