package suggest_test

import (
	"testing"

	"github.com/ipfsmon/ipfsmon/internal/suggest"
)

func TestNearest(t *testing.T) {
	known := []string{"run", "demo", "query", "introspect", "format", "IPFSMON_MONITOR_NAME"}
	for given, want := range map[string]string{
		"quer": "query", "qurey": "query", "rnu": "", "runn": "run", "intraspect": "introspect", "formt": "format",
		"IPFSMON_MONITOR_NAM": "IPFSMON_MONITOR_NAME", "IPFSMON_NOSUCH": "", "": "", "xyz": "", "dem": "demo",
	} {
		if got := suggest.Nearest(given, known); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	if got := suggest.DidYouMean("foramt", []string{"format"}, "--"); got != "; did you mean --format?" {
		t.Error(got)
	}
	if got := suggest.DidYouMean("zzz", []string{"format"}, "--"); got != "" {
		t.Error(got)
	}
}
