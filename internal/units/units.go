// Package units parses and writes durations and sizes as people do: 90s, 7d, 20GiB,
// 1.5GB. Every flag, setting and variable of the project uses it, so that the same
// units work everywhere.
package units

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// The errors for invalid values.
const (
	wantDuration = "want a duration, such as 90s, 6h or 7d"
	wantBytes    = "want a size, such as 500000000, 512MiB, 20GiB or 1.5GB"
)

var (
	durationParts = regexp.MustCompile(`^([0-9]*\.?[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w)`)
	bytesParts    = regexp.MustCompile(`^([0-9]*\.?[0-9]+) ?([A-Za-z]*)$`)
)

// ParseDuration parses a duration in the units of time.ParseDuration and in days
// (d, 24 hours) and weeks (w): 300ms, 1h30m, 7d, 1w2d. "0" needs no unit.
// Negative durations are errors. Errors quote s and say what is wanted.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	sum, rest := time.Duration(0), s
	for {
		m := durationParts.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("%q: %s", s, wantDuration)
		}
		unit, times := m[2], time.Duration(1)
		switch unit {
		case "d":
			unit, times = "h", 24
		case "w":
			unit, times = "h", 7*24
		}
		d, err := time.ParseDuration(m[1] + unit)
		if err != nil || d > (math.MaxInt64-sum)/times {
			return 0, fmt.Errorf("%q: want a duration of at most 290 years", s)
		}
		sum += d * times
		if rest = rest[len(m[0]):]; rest == "" {
			return sum, nil
		}
	}
}

// bytesUnits are the units of sizes, in lower case.
var bytesUnits = map[string]int64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// ParseBytes parses a size: a number of bytes, or a number with kB, MB, GB, TB
// (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024), in upper or lower case,
// with a fraction if there is a unit. Negative sizes are errors. Errors quote s
// and say what is wanted.
func ParseBytes(s string) (int64, error) {
	m := bytesParts.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("%q: %s", s, wantBytes)
	}
	unit, ok := bytesUnits[strings.ToLower(m[2])]
	if !ok {
		return 0, fmt.Errorf("%q: %s", s, wantBytes)
	}
	const most = 1 << 62
	if n, err := strconv.ParseInt(m[1], 10, 64); err == nil {
		if n > most/unit {
			return 0, fmt.Errorf("%q: %s", s, wantBytes)
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil || unit == 1 || f*float64(unit) > most {
		return 0, fmt.Errorf("%q: %s", s, wantBytes)
	}
	return int64(math.Round(f * float64(unit))), nil
}

// Bytes is a size in a configuration: in JSON a number of bytes or a string for
// ParseBytes, in the environment a string. JSON output is a number.
type Bytes int64

// UnmarshalJSON reads a number or a string.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(text) > 0 && text[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return errors.New(wantBytes)
		}
	}
	return b.UnmarshalText([]byte(text))
}

// UnmarshalText reads a size like ParseBytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := ParseBytes(string(text))
	if err == nil {
		*b = Bytes(n)
	}
	return err
}

// FormatBytes writes a size for people, in the largest unit that suits it, with
// two digits or three: 512 B, 9.8 KiB, 340 MiB.
func FormatBytes(n uint64) string { return humanize.IBytes(n) }

// FormatDuration writes a duration for people, rounded to about three digits:
// 90.1µs, 1.23s, 1h2m0s.
func FormatDuration(d time.Duration) string {
	to := time.Duration(1)
	for step := d.Abs() / 1000; to <= step; to *= 10 {
	}
	if to > time.Second { // of minutes and hours whole seconds matter
		to = time.Second
	}
	return d.Round(to).String()
}

// FormatNumber writes a number for people: below 10,000 with up to six digits,
// above with three and a letter for its size, as in 12.3M.
func FormatNumber(v float64) string {
	if math.Abs(v) < 1e4 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	n, letter := humanize.ComputeSI(v)
	return strconv.FormatFloat(n, 'g', 3, 64) + letter
}
