package influxtest

import (
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// Encoder returns an Encoder for tests.
type Encoder interface {
	Append([schema.Kinds][]byte, *event.Event) ([schema.Kinds][]byte, [schema.Kinds]int)
}

// Encode returns all lines of the events, history first.
func Encode(e Encoder, events ...*event.Event) string {
	var bufs [schema.Kinds][]byte
	for _, ev := range events {
		bufs, _ = e.Append(bufs, ev)
	}
	return string(bufs[schema.History]) + string(bufs[schema.Totals])
}

// Line is a line as the reference decoder parses it.
type Line struct {
	Name   string
	Tags   map[string]string
	Fields map[string]any
	At     int64
	Again  string // the line as the reference encoder writes it
}

func Decode(t testing.TB, lines string) []Line {
	t.Helper()
	var out []Line
	d := lineprotocol.NewDecoderWithBytes([]byte(lines))
	for d.Next() {
		var p Line
		var enc lineprotocol.Encoder
		name, err := d.Measurement()
		if err != nil {
			t.Fatalf("%v in %q", err, lines)
		}
		p.Name, p.Tags, p.Fields = string(name), map[string]string{}, map[string]any{}
		enc.StartLineRaw(name)
		for {
			k, v, err := d.NextTag()
			if err != nil {
				t.Fatalf("%v in %q", err, lines)
			}
			if k == nil {
				break
			}
			p.Tags[string(k)] = string(v)
			enc.AddTagRaw(k, v)
		}
		for {
			k, v, err := d.NextField()
			if err != nil {
				t.Fatalf("%v in %q", err, lines)
			}
			if k == nil {
				break
			}
			p.Fields[string(k)] = v.Interface()
			enc.AddFieldRaw(k, v)
		}
		at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
		if err != nil {
			t.Fatalf("%v in %q", err, lines)
		}
		p.At = at.UnixNano()
		enc.EndLine(at)
		if enc.Err() != nil {
			t.Fatalf("reference encoder: %v in %q", enc.Err(), lines)
		}
		p.Again = string(enc.Bytes())
		out = append(out, p)
	}
	return out
}
