package archive

import (
	"fmt"
	"strings"
)

//go:generate go test -run TestArchiveDoc -update .

// Markdown returns the tables and their columns for docs/archive.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| table | one row is |\n|---|---|\n")
	for _, t := range Tables() {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", t.Name, t.Name, t.Row)
	}
	for _, t := range Tables() {
		fmt.Fprintf(&b, "\n### %s\n\nOne row: %s.\n\n| column | type | unit | null | |\n|---|---|---|---|---|\n", t.Name, t.Row)
		for _, c := range t.Columns {
			null := ""
			if c.Nullable {
				null = "yes"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.Name, c.Type, c.Unit, null, c.Help)
		}
	}
	return b.String()
}
