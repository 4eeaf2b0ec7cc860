package main

import (
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// plot draws two pictures above each other: rates as bars, with their aims as marks, and the distribution of every time that was measured more than ten times.
func (r *report) plot(path string) error {
	rates, err := r.rates()
	if err != nil {
		return err
	}
	latencies, err := r.latencies()
	if err != nil {
		return err
	}
	img := vgimg.New(28*vg.Centimeter, 30*vg.Centimeter)
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadTop: 5, PadBottom: 5, PadLeft: 5, PadRight: 10, PadY: 12}
	all := [][]*plot.Plot{{rates}, {latencies}}
	canvases := plot.Align(all, tiles, draw.New(img))
	for i := range all {
		all[i][0].Draw(canvases[i][0])
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

var (
	blue = color.RGBA{R: 52, G: 101, B: 164, A: 255}
	red  = color.RGBA{R: 204, A: 255}
)

func (r *report) rates() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = "a second (red: the aim)", "/s"
	var names []string
	var values plotter.Values
	var aims plotter.XYs
	for _, x := range slices.Backward(r.Results) {
		if x.Unit != "/s" {
			continue
		}
		if x.Aim != 0 {
			aims = append(aims, plotter.XY{X: x.Aim, Y: float64(len(names))})
		}
		names, values = append(names, x.What+"  "+figure(x.Value, "")), append(values, x.Value)
	}
	if len(values) == 0 {
		return p, nil
	}
	bars, err := plotter.NewBarChart(values, vg.Points(9))
	if err != nil {
		return nil, err
	}
	bars.Horizontal, bars.Color, bars.LineStyle.Width = true, blue, 0
	p.Add(plotter.NewGrid(), bars)
	if len(aims) > 0 {
		marks, err := plotter.NewScatter(aims)
		if err != nil {
			return nil, err
		}
		marks.GlyphStyle = draw.GlyphStyle{Color: red, Radius: vg.Points(4), Shape: draw.PlusGlyph{}}
		p.Add(marks)
	}
	p.NominalY(names...)
	p.X.Min = 0
	return p, nil
}

func (r *report) latencies() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = "time (box: quarters, line: median)", "ms, logarithmic"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	var names []string
	for _, x := range slices.Backward(r.Results) {
		if len(x.Times) < 10 {
			continue
		}
		v := make(plotter.Values, 0, len(x.Times))
		for _, t := range x.Times {
			v = append(v, max(t, 0.01))
		}
		box, err := plotter.NewBoxPlot(vg.Points(10), float64(len(names)), v)
		if err != nil {
			return nil, err
		}
		box.Horizontal, box.FillColor = true, color.RGBA{R: 200, G: 220, B: 245, A: 255}
		p.Add(box)
		names = append(names, x.What)
	}
	if len(names) == 0 {
		p.X.Min, p.X.Max = 1, 10
		return p, nil
	}
	p.NominalY(names...)
	return p, nil
}
