package report

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// colours that also people with colour blindness can distinguish (Okabe and Ito).
var colours = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}, {0x33, 0x33, 0x33, 0xff},
}

// dashes distinguish more lines than there are colours.
var dashes = [][]vg.Length{nil, {vg.Points(6), vg.Points(3)}, {vg.Points(2), vg.Points(2)}}

// Size of the picture.
const (
	width  = 24 * vg.Centimeter
	height = 11 * vg.Centimeter
	dpi    = 110
)

// ErrNothing is the error of a plot without successful results.
var ErrNothing = errors.New("report: no successful result to plot")

// Plot writes the cumulative distributions of durations, one panel for each kind
// and one line for each fleet. The format is svg or png.
func Plot(w io.Writer, groups []Group, format string) error {
	var kinds []string
	fleets := map[string]int{}
	for _, g := range groups {
		if len(g.durations) == 0 {
			continue
		}
		if len(kinds) == 0 || kinds[len(kinds)-1] != g.Kind {
			kinds = append(kinds, g.Kind)
		}
		if _, ok := fleets[g.Fleet]; !ok {
			fleets[g.Fleet] = len(fleets)
		}
	}
	if len(kinds) == 0 {
		return ErrNothing
	}
	panels := make([]*plot.Plot, len(kinds))
	for i, k := range kinds {
		p, err := panel(k, groups, fleets)
		if err != nil {
			return fmt.Errorf("report: plot %s: %w", k, err)
		}
		panels[i] = p
	}
	wide := width / 2 * vg.Length(len(kinds))
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch format {
	case "svg":
		canvas = vgsvg.New(wide, height)
	case "png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(wide, height), vgimg.UseDPI(dpi))}
	default:
		return fmt.Errorf("report: format %q: want svg or png", format)
	}
	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: vg.Millimeter * 8, PadTop: vg.Millimeter * 3, PadBottom: vg.Millimeter * 3, PadLeft: vg.Millimeter * 3, PadRight: vg.Millimeter * 6}
	dc := draw.New(canvas)
	for i, c := range plot.Align([][]*plot.Plot{panels}, tiles, dc)[0] {
		panels[i].Draw(c)
	}
	if _, err := canvas.WriteTo(w); err != nil {
		return fmt.Errorf("report: write the plot: %w", err)
	}
	return nil
}

func panel(k string, groups []Group, fleets map[string]int) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = k
	p.X.Label.Text = "duration"
	p.Y.Label.Text = "per cent done"
	p.Y.Min, p.Y.Max = 0, 100
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true // a distribution has nothing there
	p.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 25, Label: "25"}, {Value: 50, Label: "50"}, {Value: 75, Label: "75"}, {Value: 90, Label: "90"}, {Value: 100, Label: "100"}}
	p.Legend.Padding = vg.Millimeter
	least, most := math.Inf(1), 0.0
	for i := range groups {
		g := &groups[i]
		if g.Kind != k || len(g.durations) == 0 {
			continue
		}
		line, err := plotter.NewLine(steps(g))
		if err != nil {
			return nil, err
		}
		n := fleets[g.Fleet]
		line.Color, line.Width, line.Dashes = colours[n%len(colours)], vg.Points(1.8), dashes[n/len(colours)%len(dashes)]
		p.Add(line)
		p.Legend.Add(fmt.Sprintf("%s (%d)", g.Fleet, g.Success), line)
		least, most = min(least, line.XYs[0].X), max(most, line.XYs[len(line.XYs)-1].X)
	}
	p.X.Min, p.X.Max = least/1.2, most*1.2
	return p, nil
}

// steps returns the distribution function, with a step at each duration.
func steps(g *Group) plotter.XYs {
	n := float64(len(g.durations))
	out := plotter.XYs{}
	for i, d := range g.durations {
		x := math.Max(d.Seconds(), 1e-6)
		out = append(out, plotter.XY{X: x, Y: 100 * float64(i) / n}, plotter.XY{X: x, Y: 100 * float64(i+1) / n})
	}
	return out
}

// decades marks 1, 2 and 5 of each power of ten, or 1 alone where they are many.
type decades struct{}

func (decades) Ticks(least, most float64) (out []plot.Tick) {
	for e := math.Floor(math.Log10(least)); e <= math.Log10(most); e++ {
		for m := 1; m < 10; m++ {
			v := float64(m) * math.Pow(10, e)
			if v < least || v > most {
				continue
			}
			label := ""
			if m == 1 || most/least < 200 && (m == 2 || m == 5) {
				label = human(v)
			}
			out = append(out, plot.Tick{Value: v, Label: label})
		}
	}
	return out
}
