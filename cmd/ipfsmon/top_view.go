package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/mattn/go-runewidth"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// topModel is the terminal view: its readings and what the keys have chosen.
type topModel struct {
	source *topSource
	every  time.Duration

	last    *topReading
	history []topPoint // oldest first, at most maxTopPoints
	err     error      // of the last reading; nil: it worked
	paused  bool
	view    int
	scroll  int
	width   int
	height  int
}

// topPoint is one reading in the chart.
type topPoint struct{ received, sent float64 }

// maxTopPoints is how many readings the chart keeps.
const maxTopPoints = 600

// topViews are the views, chosen by 1 to 5.
var topViews = []struct {
	name string
	body func(m *topModel) []string
}{
	{"Rates", (*topModel).rates},
	{"Content", (*topModel).content},
	{"Peers", (*topModel).peers},
	{"Latency", (*topModel).latency},
	{"Losses", (*topModel).losses},
}

// topRead is the result of a reading.
type topRead struct {
	reading *topReading
	err     error
}

func newTopModel(s *topSource, first *topReading, every time.Duration) *topModel {
	return &topModel{source: s, every: every, last: first, width: 80, height: 24}
}

// run shows the view on the terminal until q, Ctrl-C or the end of ctx.
func (m *topModel) run(ctx context.Context) error {
	screen, err := tcell.NewScreen()
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("top: use the terminal (TERM=%s): %w; want another TERM, or --once", os.Getenv("TERM"), err)
	}
	events, quit := make(chan tcell.Event), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { screen.ChannelEvents(events, quit) })
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer screen.Fini()
	defer close(quit)
	defer cancel()
	m.width, m.height = screen.Size()
	reads := make(chan topRead, 1)
	next := time.NewTimer(m.every)
	for {
		m.draw(screen)
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			switch e := e.(type) {
			case *tcell.EventResize:
				m.width, m.height = e.Size()
				screen.Sync()
			case *tcell.EventKey:
				if m.key(e) {
					return nil
				}
			}
			if !ok {
				return nil // the terminal is gone
			}
		case <-next.C:
			if m.paused {
				next.Reset(m.every)
				continue
			}
			wg.Go(func() {
				r, err := m.source.read(ctx)
				reads <- topRead{r, err}
			})
		case r := <-reads:
			m.add(r)
			next.Reset(m.every)
		}
	}
}

// draw puts the view on the screen.
func (m *topModel) draw(screen tcell.Screen) {
	screen.Clear()
	for y, line := range strings.Split(m.View(), "\n") {
		style := tcell.StyleDefault
		if y == 0 || y == m.height-1 {
			style = style.Reverse(true)
			line += strings.Repeat(" ", max(0, m.width-runewidth.StringWidth(line)))
		}
		x := 0
		for _, r := range line {
			screen.SetContent(x, y, r, nil, style)
			x += runewidth.RuneWidth(r)
		}
	}
	screen.Show()
}

// add takes a reading into the view.
func (m *topModel) add(read topRead) {
	if m.err = read.err; m.err != nil {
		return
	}
	read.reading.since(m.last)
	m.last = read.reading
	m.history = append(m.history, topPoint{m.last.Rates[0].Received, m.last.Rates[0].Sent})
	m.history = m.history[max(0, len(m.history)-maxTopPoints):]
}

// key handles a key, and reports whether it ends the view.
func (m *topModel) key(e *tcell.EventKey) (quit bool) {
	page := max(m.height-headLines-1, 1)
	switch e.Key() {
	case tcell.KeyCtrlC, tcell.KeyEscape:
		return true
	case tcell.KeyTab, tcell.KeyRight:
		m.choose(m.view + 1)
	case tcell.KeyBacktab, tcell.KeyLeft:
		m.choose(m.view - 1)
	case tcell.KeyDown:
		m.scroll++
	case tcell.KeyUp:
		m.scroll--
	case tcell.KeyPgDn:
		m.scroll += page
	case tcell.KeyPgUp:
		m.scroll -= page
	case tcell.KeyRune:
		switch r := e.Rune(); r {
		case 'q':
			return true
		case '1', '2', '3', '4', '5':
			m.choose(int(r - '1'))
		case 'p', ' ':
			m.paused = !m.paused
		case '+':
			m.every = max(m.every/2, minTopInterval)
		case '-':
			m.every = min(m.every*2, time.Minute)
		}
	}
	return false
}

func (m *topModel) choose(view int) {
	m.view, m.scroll = (view+len(topViews))%len(topViews), 0
}

// headLines is how many lines are above and below the body of a view.
const headLines = 6

// View returns the screen: its lines fit into the terminal.
func (m *topModel) View() string {
	body := m.body()
	room := max(m.height-headLines, 1)
	m.scroll = min(max(m.scroll, 0), max(len(body)-room, 0))
	more := ""
	if rest := len(body) - room - m.scroll; rest > 0 {
		more = fmt.Sprintf("%d more below   ", rest)
	}
	lines := append(m.head(), body[m.scroll:min(m.scroll+room, len(body))]...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, more+"tab, 1-5 view   p pause   + - interval   up, down scroll   q quit")
	for i, l := range lines {
		lines[i] = runewidth.Truncate(l, max(m.width, 1), "…")
	}
	return strings.Join(lines[:min(len(lines), max(m.height, 1))], "\n")
}

// head returns the lines above the body.
func (m *topModel) head() []string {
	r := m.last
	state := "ready"
	switch {
	case m.err != nil:
		state = "no answer: " + textout.Line(m.err.Error(), 256)
	case m.paused:
		state = "paused"
	case !r.Ready:
		state = "not ready: " + r.NotReady
	}
	points := fmt.Sprintf("%d points stored", r.Stored)
	if r.pipe.Influx == nil {
		points = "nothing is stored"
	}
	if r.Destination != "" {
		points += "   " + r.Destination
	}
	var tabs []string
	for i, v := range topViews {
		name := fmt.Sprintf(" %d %s ", i+1, v.name)
		if i == m.view {
			name = "[" + strings.TrimSpace(name) + "]"
		}
		tabs = append(tabs, name)
	}
	return []string{
		fmt.Sprintf("ipfsmon %s   %s   %s   every %v   %s", r.Version, r.Monitor, r.At.Format(time.TimeOnly), m.every, state),
		fmt.Sprintf("%d peers connected, %d known   %s", r.Peers, r.Known, points),
		"",
		strings.Join(tabs, " "),
		"",
	}
}

func (m *topModel) body() []string { return topViews[m.view].body(m) }

// rates are the messages and what they carry, a second.
func (m *topModel) rates() []string {
	out := []string{fmt.Sprintf("%-14s %12s %12s", "a second", "received", "sent")}
	if len(m.last.Rates) == 0 {
		return append(out, "waiting for the second reading")
	}
	for _, r := range m.last.Rates {
		if r.Kind == "block bytes" {
			out = append(out, fmt.Sprintf("%-14s %12s %12s", r.Kind, units.FormatBytes(uint64(r.Received)), units.FormatBytes(uint64(r.Sent))))
			continue
		}
		out = append(out, fmt.Sprintf("%-14s %12.1f %12.1f", r.Kind, r.Received, r.Sent))
	}
	for _, side := range []struct {
		name string
		of   func(topPoint) float64
	}{{"received", func(p topPoint) float64 { return p.received }}, {"sent", func(p topPoint) float64 { return p.sent }}} {
		var values []float64
		for _, p := range m.history[max(0, len(m.history)-max(m.width-2, 1)):] {
			values = append(values, side.of(p))
		}
		if len(values) > 0 {
			out = append(out, "", fmt.Sprintf("messages %s, at most %.1f a second", side.name, slices.Max(values)), sparkline(values))
		}
	}
	return out
}

// sparkline draws values in one line, the largest at full height.
func sparkline(values []float64) string {
	const steps = "▁▂▃▄▅▆▇█"
	marks, most := []rune(steps), slices.Max(values)
	var out strings.Builder
	for _, v := range values {
		i := 0
		if most > 0 {
			i = min(int(v/most*float64(len(marks)-1)+0.5), len(marks)-1)
		}
		out.WriteRune(marks[i])
	}
	return out.String()
}

// content is what peers want most.
func (m *topModel) content() []string {
	out := []string{"CIDs that peers wanted most in the last minute", "", fmt.Sprintf("%8s %8s  %s", "wants", "peers", "CID")}
	for _, e := range m.last.CIDs {
		out = append(out, fmt.Sprintf("%8s %8d  %s", inexact(e.Wants, e.Error), e.Peers, e.CID))
	}
	return m.orNone(out, 3)
}

// peers are who wants most, and what the connected ones are.
func (m *topModel) peers() []string {
	list := []string{"Peers that wanted most in the last minute", "", fmt.Sprintf("%8s  %-52s  %s", "wants", "peer", "agent")}
	for _, e := range m.last.Wanters {
		list = append(list, fmt.Sprintf("%8s  %-52s  %s", inexact(e.Wants, e.Error), e.Peer, e.Agent))
	}
	out := m.orNone(list[:min(len(list), 13)], 3) // ten of them
	for _, t := range []struct {
		title string
		rows  []topCount
	}{{"Connected peers by transport", m.last.Transports}, {"Connected peers by agent", m.last.Agents}} {
		out = append(out, "", t.title)
		for _, c := range t.rows {
			out = append(out, fmt.Sprintf("%8d  %s", c.Count, c.Name))
		}
	}
	return out
}

// orNone explains a list that is empty.
func (m *topModel) orNone(list []string, head int) []string {
	switch {
	case len(list) > head:
		return list
	case m.last.Hidden != "":
		return append(list, "not shown: "+m.last.Hidden)
	}
	return append(list, "none yet")
}

func inexact(n, err uint64) string {
	if err == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d±%d", n, err)
}

// latency is how long this node waits for blocks.
func (m *topModel) latency() []string {
	out := []string{"How long this node waited in the last minute, by where the provider came from", "",
		fmt.Sprintf("%-40s %10s %10s %10s %12s", "", "median", "90 %", "99 %", "since start")}
	for _, l := range m.last.Latencies {
		out = append(out, fmt.Sprintf("%-40s %10s %10s %10s %12d", l.What, inTime(l.Median), inTime(l.P90), inTime(l.P99), l.Count))
	}
	return m.orNone(out, 3)
}

// inTime prints seconds; 0: there was none.
func inTime(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// losses is what is missing somewhere, and since when it grows.
func (m *topModel) losses() []string {
	out := []string{fmt.Sprintf("%-48s %14s %12s", "lost or left out", "since start", "a second")}
	for _, l := range m.last.Losses {
		out = append(out, fmt.Sprintf("%-48s %14d %12.1f", l.What, l.Total, l.Rate))
	}
	if i := m.last.pipe.Influx; i != nil {
		out = append(out, "")
		for _, d := range i.Destinations {
			out = append(out, fmt.Sprintf("%-48s %14d points", "waiting for "+d.Name, d.Queued), fmt.Sprintf("%-48s %13.1fs", "age of the oldest", d.LagSeconds))
		}
	}
	return out
}
