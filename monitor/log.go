package monitor

import (
	"context"
	"log/slog"

	logging "github.com/ipfs/go-log/v2"
)

// LogName is the name of our logger in go-log, which kubo and libp2p use: `ipfs log level
// ipfsmon debug`.
const LogName = "ipfsmon"

// Logger returns our part of the program's log.
func Logger() *slog.Logger {
	return slog.New(errorText{logging.SlogHandler()}).With("logger", LogName)
}

// errorText formats errors as their text: go-log formats them as the JSON of their exported
// fields, which most errors lack.
type errorText struct{ slog.Handler }

func (h errorText) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(err.Error())
		}
		out.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, out)
}

func (h errorText) WithAttrs(attrs []slog.Attr) slog.Handler {
	return errorText{h.Handler.WithAttrs(attrs)}
}

func (h errorText) WithGroup(name string) slog.Handler { return errorText{h.Handler.WithGroup(name)} }
