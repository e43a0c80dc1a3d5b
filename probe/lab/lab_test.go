package lab

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fleets(t *testing.T, specs ...string) (out []Fleet) {
	for _, s := range specs {
		f, err := ParseFleet(s)
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

func TestFifty(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := Run(ctx, Config{Nodes: 50, Bucket: 6, Rounds: 15, Servers: 3, Fleets: fleets(t, "default", "optprov:optprov"), Dir: t.TempDir(), Settle: 50 * time.Millisecond})
	require.NoError(t, err)
	for _, r := range out.Results {
		t.Logf("%v %s %v %v %v", r.Provide, r.Fleet, r.Duration, r.Error, r.Lookup)
	}
}
