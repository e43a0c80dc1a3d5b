package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame on disk, all numbers little-endian:
//
//	0  4  magic, F5 'S' 'P' F6
//	4  1  version, 1
//	5  1  kind of the batch
//	6  2  zero
//	8  8  number of the frame, from 1, never used twice
//	16 8  when its first point was accepted, Unix nanoseconds
//	24 4  points
//	28 4  length of the payload
//	32 4  CRC32C of bytes 0 to 31
//	36 .. payload
//	   4  CRC32C of everything before it
const (
	version    = 1
	headerSize = 36
	frameExtra = headerSize + 4
	// maxFrame bounds the payload of one batch, in bytes.
	maxFrame = 64 << 20
)

var (
	magic      = []byte{0xF5, 'S', 'P', 0xF6} // bytes that never occur in text
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ref is a frame's header and its offset in the segment.
type ref struct {
	seq    uint64
	off    int64
	since  int64 // Unix nanoseconds
	points uint32
	length uint32
	kind   byte
}

func (r ref) end() int64 { return r.off + int64(r.length) + frameExtra }

// appendFrame adds a frame to dst.
func appendFrame(dst []byte, r ref, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, version, r.kind, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, r.seq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.since))
	dst = binary.LittleEndian.AppendUint32(dst, r.points)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseHeader parses a header; ok is false unless it is a complete header of this version.
func parseHeader(b []byte, off int64) (r ref, ok bool) {
	if len(b) < headerSize || !bytes.Equal(b[:4], magic) || b[4] != version ||
		binary.LittleEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) {
		return ref{}, false
	}
	r = ref{
		seq: binary.LittleEndian.Uint64(b[8:]), off: off, since: int64(binary.LittleEndian.Uint64(b[16:])),
		points: binary.LittleEndian.Uint32(b[24:]), length: binary.LittleEndian.Uint32(b[28:]), kind: b[5],
	}
	return r, r.seq > 0 && r.seq < maxSeq && r.length <= maxFrame
}

// maxSeq keeps numbers far from overflow, whatever a file contains.
const maxSeq = 1 << 62

// CorruptionError reports bytes in a segment that are not what was written: the disk changed
// them, or a write was incomplete. It concerns these bytes only; the bytes after them are read.
type CorruptionError struct {
	Segment string // the file's name
	Offset  int64  // of the first byte of the frame or hole
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("spool: segment %s is corrupt at offset %d", e.Segment, e.Offset)
}

// readFrame reads a frame's payload from a segment and verifies all bytes of the frame. The
// error is a *CorruptionError or an I/O error.
func readFrame(f io.ReaderAt, segment string, want ref) ([]byte, error) {
	corrupt := &CorruptionError{Segment: segment, Offset: want.off}
	b := make([]byte, want.end()-want.off)
	if n, err := f.ReadAt(b, want.off); n < len(b) {
		if err == io.EOF {
			return nil, corrupt
		}
		return nil, err
	}
	r, ok := parseHeader(b, want.off)
	if !ok || r != want {
		return nil, corrupt
	}
	at := len(b) - 4
	if binary.LittleEndian.Uint32(b[at:]) != crc32.Checksum(b[:at], castagnoli) {
		return nil, corrupt
	}
	return b[headerSize:at:at], nil
}

// isCorrupt reports whether an error is a *CorruptionError.
func isCorrupt(err error) bool {
	var corrupt *CorruptionError
	return errors.As(err, &corrupt)
}

// hole is a range of bytes in a segment that is not a frame.
type hole struct{ from, to int64 }

// scan finds the frames of a segment of that size. Of a segment without holes it reads only the
// headers; a segment with holes is read completely, and only frames whose bytes all verify
// count.
func scan(f io.ReaderAt, size int64) (refs []ref, holes []hole, err error) {
	var head [headerSize]byte
	off := int64(0)
	for off < size {
		n, err := f.ReadAt(head[:], off)
		if err != nil && err != io.EOF {
			return nil, nil, err
		}
		r, ok := parseHeader(head[:n], off)
		if !ok || r.end() > size {
			return scanAll(f, size)
		}
		refs = append(refs, r)
		off = r.end()
	}
	return refs, nil, nil
}

// scanAll looks for frames at every offset.
func scanAll(f io.ReaderAt, size int64) (refs []ref, holes []hole, err error) {
	const chunk = 256 << 10
	buf := make([]byte, 0, chunk)
	from := int64(0) // of the current hole, if any
	off := int64(0)
	for off < size {
		buf = buf[:min(chunk, size-off)]
		n, err := f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return nil, nil, err
		}
		if n == 0 {
			break // shorter than it was
		}
		at := bytes.Index(buf[:n], magic)
		if at < 0 {
			off += int64(max(n-len(magic)+1, 1))
			continue
		}
		off += int64(at)
		var head [headerSize]byte
		if n, err = f.ReadAt(head[:], off); err != nil && err != io.EOF {
			return nil, nil, err
		}
		r, ok := parseHeader(head[:n], off)
		if ok = ok && r.end() <= size; ok {
			if _, err = readFrame(f, "", r); err != nil && !isCorrupt(err) {
				return nil, nil, err
			}
			ok = err == nil
		}
		if !ok {
			off++
			continue
		}
		if off > from {
			holes = append(holes, hole{from, off})
		}
		refs = append(refs, r)
		off = r.end()
		from = off
	}
	if from < size {
		holes = append(holes, hole{from, size})
	}
	return refs, holes, nil
}
