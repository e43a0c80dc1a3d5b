package harness

import (
	"fmt"
	"strings"
)

// Gates collects what was missed.
type Gates struct{ missed []string }

// Check notes whether a gate holds, and returns its text with the verdict.
func (g *Gates) Check(ok bool, format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if ok {
		return text + "  ok"
	}
	g.missed = append(g.missed, strings.Join(strings.Fields(text), " "))
	return text + "  MISSED"
}

// Err names the gates that were missed; nil if there are none.
func (g *Gates) Err() error {
	if len(g.missed) == 0 {
		return nil
	}
	return fmt.Errorf("%d gates missed: %s", len(g.missed), strings.Join(g.missed, "; "))
}
