package stream

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ipfsmon/ipfsmon/event"
)

// HasV3 and HasV4 report whether a version of the protocol has a place for the event.
func HasV3(e *event.Event) bool { return hasV3(e) }
func HasV4(e *event.Event) bool { return hasV4(e) }

// Bodies makes the bodies of a broker's messages from events: arrays of version 3, as
// the metrics exporter sent them, and batches of version 4. It is for one goroutine. The zero
// value is ready for use.
type Bodies struct{ comp batchCompressor }

// AppendV3 appends an event, for which HasV3 is true, to the JSON of an array, which is
// empty at first.
func (b *Bodies) AppendV3(array []byte, e *event.Event) []byte {
	open := byte(',')
	if len(array) == 0 {
		open = '['
	}
	return appendV3Event(append(array, open), e, &formV3Strict)
}

// V3 closes the array and returns it as one gzip stream, which the caller owns.
func (b *Bodies) V3(array []byte) []byte {
	array = append(array, "]\n"...)
	return b.comp.gzip.appendGzip(make([]byte, 0, len(array)/3+256), array)
}

// AppendV4 appends an event, for which HasV4 is true, to the lines of a batch.
func (b *Bodies) AppendV4(lines []byte, e *event.Event) []byte { return appendV4(lines, e) }

// V4 returns the lines as a batch: a frame of version 4 without its length. The caller owns it.
func (b *Bodies) V4(lines []byte) []byte { return b.comp.frame(lines, encodingZstd)[headerBytes:] }

// BodyReader reads what Bodies made, or another program. It is for one goroutine; Close it at
// the end.
type BodyReader struct {
	batches batchDecoder
	arrays  decoder
}

// ReadV3 returns the events of an array of version 3.
func (r *BodyReader) ReadV3(body []byte) (events []Event, err error) {
	err = reading.Call("stream: read an array of version 3", func() error {
		events, err = r.readV3(body)
		return err
	})
	return events, err
}

func (r *BodyReader) readV3(body []byte) ([]Event, error) {
	d := &r.arrays
	d.frame = body
	if err := d.inflate(); err != nil {
		return nil, fmt.Errorf("stream: inflate an array of %d bytes: %w", len(body), err)
	}
	var events []Event
	if err := json.Unmarshal(d.plain.Bytes(), &events); err != nil {
		return nil, fmt.Errorf("stream: decode an array of %d bytes: %w", d.plain.Len(), err)
	}
	for i := range events {
		if e := &events[i]; (e.Message == nil) == (e.Connection == nil) {
			return nil, fmt.Errorf("stream: event %d of an array: want one of bitswap_message and connection_event", i)
		}
	}
	return events, nil
}

// ReadV4 returns the events of a batch of version 4, those of unknown kinds left out.
func (r *BodyReader) ReadV4(body []byte) (events []Event, err error) {
	err = reading.Call("stream: read a batch of version 4", func() error {
		events, err = r.readV4(body)
		return err
	})
	return events, err
}

func (r *BodyReader) readV4(body []byte) (events []Event, err error) {
	d := &r.batches
	d.frame = append(d.frame[:0], body...)
	if err := d.inflate(); err != nil {
		return nil, fmt.Errorf("stream: a batch of %d bytes: %w", len(body), err)
	}
	d.rest = d.plain
	for len(d.rest) > 0 {
		e, err := d.next(nothing{})
		if err != nil {
			d.rest = nil
			return nil, err
		}
		if e.known() {
			events = append(events, *e)
		}
	}
	return events, nil
}

// Close releases the decompressors.
func (r *BodyReader) Close() { r.batches.close() }

// nothing is read where no more frames may follow.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
