package query

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// Bounds of a plot.
const (
	plotRows  = 100_000 // rows of one series that are kept
	plotBars  = 100     // bars that are drawn
	plotLabel = 60      // characters of a label
)

// NewPlot returns an Output that draws with characters, width of them in a line: a series with
// several times as a line of small columns, others as bars. Numbers are drawn, text labels
// them.
func NewPlot(w io.Writer, width int) client.Output {
	return &plot{w: bufio.NewWriter(w), width: min(max(width, 40), 400)}
}

type plot struct {
	w       *bufio.Writer
	width   int
	labels  string
	columns []string
	rows    [][]any
	left    int // rows or bars left out
	bars    []bar
	some    bool
}

type bar struct {
	label string
	value float64
}

func (p *plot) Series(_ string, labels []client.Label, columns []string) error {
	p.draw()
	var words []string
	for _, l := range labels {
		words = append(words, l.Value)
	}
	p.labels, p.columns = strings.Join(words, " "), columns
	return nil
}

func (p *plot) Row(values []any) error {
	if len(p.rows) >= plotRows {
		p.left++
		return nil
	}
	p.rows = append(p.rows, append([]any(nil), values...))
	return nil
}

func (p *plot) Close() error {
	p.draw()
	p.drawBars()
	if !p.some {
		p.w.WriteString("(nothing to plot)\n")
	}
	if p.left > 0 {
		fmt.Fprintf(p.w, "(%d more left out)\n", p.left)
	}
	return p.w.Flush()
}

// number returns a value that can be drawn.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// isTime reports whether a column is a time, which is neither drawn nor printed.
func isTime(name string) bool {
	return name == "time" || name == "_time" || name == "_start" || name == "_stop"
}

// draw draws the series that has ended, each numeric column as a line over time, or adds it to
// the bars.
func (p *plot) draw() {
	rows := p.rows
	p.rows = p.rows[:0]
	if len(rows) == 0 {
		return
	}
	first, last := "", ""
	for i, c := range p.columns {
		if c == "time" || c == "_time" {
			first, last = fmt.Sprint(rows[0][i]), fmt.Sprint(rows[len(rows)-1][i])
		}
	}
	var text, numbers []int
	for i, c := range p.columns {
		if isTime(c) {
			continue
		}
		drawn := false
		for _, r := range rows {
			if _, ok := number(r[i]); ok {
				drawn = true
				break
			}
		}
		if drawn {
			numbers = append(numbers, i)
		} else {
			text = append(text, i)
		}
	}
	words := func(row []any, with string) string {
		parts := []string{p.labels}
		for _, i := range text {
			if row[i] != nil {
				parts = append(parts, fmt.Sprint(row[i]))
			}
		}
		if len(numbers) > 1 || len(strings.TrimSpace(strings.Join(parts, ""))) == 0 {
			parts = append(parts, with)
		}
		return strings.TrimSpace(strings.Join(parts, " "))
	}
	overTime := first != last
	for _, i := range text { // rows with different labels are not a line
		for _, r := range rows {
			overTime = overTime && fmt.Sprint(r[i]) == fmt.Sprint(rows[0][i])
		}
	}
	for _, i := range numbers {
		if !overTime {
			for _, r := range rows {
				if v, ok := number(r[i]); ok {
					p.bars = append(p.bars, bar{words(r, p.columns[i]), v})
				}
			}
			continue
		}
		p.drawBars()
		values := make([]float64, 0, len(rows))
		for _, r := range rows {
			v, ok := number(r[i])
			if !ok {
				v = math.NaN()
			}
			values = append(values, v)
		}
		p.line(words(rows[0], p.columns[i]), values, first, last)
	}
}

var heights = []rune("▁▂▃▄▅▆▇█")

// line draws values as columns; values in the same column are averaged.
func (p *plot) line(label string, values []float64, first, last string) {
	p.some = true
	width := min(p.width, len(values))
	sums, counts := make([]float64, width), make([]int, width)
	low, high, newest := math.Inf(1), math.Inf(-1), 0.0
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		at := i * width / len(values)
		sums[at] += v
		counts[at]++
		low, high, newest = min(low, v), max(high, v), v
	}
	fmt.Fprintf(p.w, "%s  from %s to %s, last %s\n", p.short(label), units.FormatNumber(low), units.FormatNumber(high), units.FormatNumber(newest))
	base := min(low, 0) // columns start at 0, so that their height shows the value
	for i := range sums {
		if counts[i] == 0 {
			p.w.WriteByte(' ')
			continue
		}
		h := 0.0
		if high > base {
			h = (sums[i]/float64(counts[i]) - base) / (high - base)
		}
		p.w.WriteRune(heights[min(int(h*float64(len(heights))), len(heights)-1)])
	}
	from, to := clock(first), clock(last)
	fmt.Fprintf(p.w, "\n%s%s%s\n", from, strings.Repeat(" ", max(width-len(from)-len(to), 1)), to)
}

// short returns a label that leaves half of the width to the bars.
func (p *plot) short(label string) string {
	return textout.Short(textout.Line(label, 4*plotLabel), min(plotLabel, p.width/2))
}

// clock formats a time briefly.
func clock(s string) string {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return textout.Line(s, plotLabel)
	}
	return at.UTC().Format("01-02 15:04")
}

func (p *plot) drawBars() {
	bars := p.bars
	p.bars = nil
	if len(bars) > plotBars {
		p.left += len(bars) - plotBars
		bars = bars[:plotBars]
	}
	wide, most := 0, 0.0
	for i := range bars {
		bars[i].label = p.short(bars[i].label)
		wide, most = max(wide, utf8.RuneCountInString(bars[i].label)), max(most, bars[i].value)
	}
	room := float64(p.width - wide - 10)
	for _, b := range bars {
		p.some = true
		eighths := 0
		if most > 0 && b.value > 0 {
			eighths = int(math.Round(b.value / most * room * 8))
		}
		full := strings.Repeat("█", eighths/8)
		if eighths%8 > 0 {
			full += string([]rune(" ▏▎▍▌▋▊▉")[eighths%8])
		}
		fmt.Fprintf(p.w, "%s%s %7s %s\n", b.label, strings.Repeat(" ", wide-utf8.RuneCountInString(b.label)), units.FormatNumber(b.value), full)
	}
}
