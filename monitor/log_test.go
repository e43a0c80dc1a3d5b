package monitor

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorsAreWrittenAsText(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(errorText{slog.NewJSONHandler(&b, nil)}).With("logger", LogName)
	log.Warn("it failed", "err", errors.New("no such thing"), "n", 3)
	require.Contains(t, b.String(), `"err":"no such thing"`)
	require.Contains(t, b.String(), `"n":3`)
	require.Contains(t, b.String(), `"logger":"ipfsmon"`)
}
