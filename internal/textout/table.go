package textout

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table aligns the columns of a command's output, two spaces apart. Nothing is
// written before Flush, which also begins new widths.
type Table struct {
	w   *tabwriter.Writer
	end string // of a row; in a table that aligns to the right the last cell ends with a tab too
}

// NewTable returns a table with its columns aligned to the left, for text.
func NewTable(w io.Writer) *Table {
	return &Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), "\n"}
}

// NewNumbers returns a table with its columns aligned to the right.
func NewNumbers(w io.Writer) *Table {
	return &Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight), "\t\n"}
}

// Row adds a row. Each cell is printed as fmt.Sprint does and cleaned, so that it
// can break neither the table nor the terminal. Without cells the line is empty,
// and new widths begin. Its error is in that of Flush.
func (t *Table) Row(cells ...any) {
	if len(cells) == 0 {
		fmt.Fprint(t.w, "\n")
		return
	}
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, Line(fmt.Sprint(c), maxLine))
	}
	fmt.Fprint(t.w, t.end)
}

// Flush writes the rows since the last call.
func (t *Table) Flush() error { return t.w.Flush() }
