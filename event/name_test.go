package event

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"de1", "büro 2", "モニター", "a,b=c", strings.Repeat("x", MaxName)} {
		if err := CheckName(good); err != nil {
			t.Errorf("CheckName(%q): %v, want nil", good, err)
		}
	}
	for _, bad := range []string{
		"", strings.Repeat("x", MaxName+1), "a\xff", "a\xc3", "a\nb", "a\tb", "a\x7f", "a\u0085b", "a\u009b31m", "\x1b[31m", "a\u202eb", "a\u200bb", "a\ufeff", `a\b`, "a\uFFFD", "a\u2028b",
	} {
		if err := CheckName(bad); err == nil || !strings.Contains(err.Error(), "want 1 to 128 bytes") {
			t.Errorf("CheckName(%q): %v, want an error that says what is wanted", bad, err)
		}
	}
}
