package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// nohup says that this program was started with SIGHUP ignored, as nohup does:
// then a terminal that closes does not end it. It is asked before anything
// here listens for that signal.
var nohup = signal.Ignored(syscall.SIGHUP)

// interruptible returns a context that ends with Ctrl-C, with SIGTERM, and with
// SIGHUP, which a terminal that closes sends, unless nohup. Every command that
// runs for more than a moment uses it, so that all of them end in the same way.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !nohup {
		signals = append(signals, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, signals...)
}

// keepNohup has SIGHUP ignored again: kubo's command line listens for it
// whether it was ignored or not.
func keepNohup() {
	if nohup {
		signal.Ignore(syscall.SIGHUP)
	}
}
