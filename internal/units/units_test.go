package units_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/units"
)

func TestParseDuration(t *testing.T) {
	good := func(s string, want time.Duration) {
		t.Helper()
		got, err := units.ParseDuration(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	const day = 24 * time.Hour
	good("0", 0)
	good("0s", 0)
	good("90s", 90*time.Second)
	good("7d", 7*day)
	good("1w2d", 9*day)
	good("1.5d", 36*time.Hour)
	good("1d12h30m", 36*time.Hour+30*time.Minute)
	good("500ms", 500*time.Millisecond)
	good("168h0m0s", 7*day)
	for _, s := range []string{"", "7", "-5s", "-7d", "d", "7 d", "7days", "fast", "1h-1m", "1e3s", "200000000w", "1.s", "NaN"} {
		_, err := units.ParseDuration(s)
		require.ErrorContains(t, err, "want a duration", s)
	}
}

func TestParseBytes(t *testing.T) {
	good := func(s string, want int64) {
		t.Helper()
		got, err := units.ParseBytes(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	good("0", 0)
	good("500000000", 500000000)
	good("512MiB", 512<<20)
	good("20GiB", 20<<30)
	good("1.5GB", 1_500_000_000)
	good("1.5 GiB", 3<<29)
	good("64kB", 64_000)
	good("3tib", 3<<40)
	good("7B", 7)
	for _, s := range []string{"", "-5", "-1GiB", "1.5", "20G", "many", "1e9", "1GiB2", "GiB", "9999999999GiB", "99999999999999999999", "5 MB B"} {
		_, err := units.ParseBytes(s)
		require.ErrorContains(t, err, "want a size", s)
	}
}

func TestBytesAsASetting(t *testing.T) {
	var s struct{ Size units.Bytes }
	require.NoError(t, json.Unmarshal([]byte(`{"Size": "20GiB"}`), &s))
	require.EqualValues(t, 20<<30, s.Size)
	require.NoError(t, json.Unmarshal([]byte(`{"Size": 67108864}`), &s))
	b, err := json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, `{"Size": 67108864}`, string(b))
	for _, bad := range []string{`{"Size": true}`, `{"Size": -1}`, `{"Size": 1.5}`, `{"Size": {}}`, `{"Size": "x"}`} {
		require.ErrorContains(t, json.Unmarshal([]byte(bad), &s), "want a size", bad)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"7d", "1.5GB", "-1s", "1w1w"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := units.ParseDuration(s); err == nil && d < 0 {
			t.Errorf("%q is %v", s, d)
		}
		if n, err := units.ParseBytes(s); err == nil && n < 0 {
			t.Errorf("%q is %d", s, n)
		}
	})
}

func TestFormat(t *testing.T) {
	for _, c := range [][2]string{
		{units.FormatBytes(0), "0 B"}, {units.FormatBytes(1023), "1023 B"}, {units.FormatBytes(10_000), "9.8 KiB"}, {units.FormatBytes(340 << 20), "340 MiB"},
		{units.FormatDuration(0), "0s"}, {units.FormatDuration(90_123), "90.1µs"}, {units.FormatDuration(2500 * time.Millisecond), "2.5s"},
		{units.FormatDuration(12_345_678), "12.3ms"}, {units.FormatDuration(-12_345_678), "-12.3ms"}, {units.FormatDuration(999), "999ns"},
		{units.FormatDuration(5*time.Hour + 12*time.Second + 3), "5h0m12s"}, {units.FormatDuration(61_234 * time.Millisecond), "1m1.2s"},
		{units.FormatNumber(0), "0"}, {units.FormatNumber(9999), "9999"}, {units.FormatNumber(12_345), "12.3k"}, {units.FormatNumber(-2.5e6), "-2.5M"},
		{units.FormatNumber(0.00123), "0.00123"}, {units.FormatNumber(math.Inf(1)), "+Inf"}, {units.FormatNumber(4e12), "4T"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}
