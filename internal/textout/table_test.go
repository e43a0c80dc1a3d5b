package textout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/internal/textout"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	table := textout.NewTable(&b)
	table.Row("peer", "wants", "agent")
	table.Row("é", 12, "kubo")
	table.Row("a\tb\nc\x1b[2J", 3, "")
	if b.Len() > 0 {
		t.Errorf("%q before Flush", b.String())
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	table.Row("x", "y")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "peer       wants  agent\n" +
		"é          12     kubo\n" +
		"a�b�c�[2J  3      \n" +
		"x  y\n"
	if b.String() != want {
		t.Errorf("got\n%s, want\n%s", b.String(), want)
	}

	b.Reset()
	numbers := textout.NewNumbers(&b)
	numbers.Row("kind", "runs")
	numbers.Row("provide", 1234567)
	numbers.Row()
	numbers.Row("a", 1)
	if err := numbers.Flush(); err != nil || b.String() != "     kind     runs\n  provide  1234567\n\n  a  1\n" {
		t.Errorf("got %v and\n%s", err, b.String())
	}
}

func TestTableReportsErrors(t *testing.T) {
	full := errors.New("disk full")
	table := textout.NewTable(failing{full})
	table.Row("x")
	if err := table.Flush(); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
