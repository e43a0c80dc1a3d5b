package sources

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/event"
)

// unifiedColumns are the columns of the field's unified CSV, in its order.
var unifiedColumns = []string{"monitor_id", "matched_to_monitor_id", "match_time_diff_ms", "global_duplicate_time_diff_ms", "message_id", "message_type",
	"timestamp_seconds", "timestamp_subsec_milliseconds", "peer_id", "address", "priority", "entry_type", "cid", "duplicate_status",
	"sliding_window_smallest_match", "secs_since_earlier_message", "upgrades_earlier_request"}

// Unified makes an archive of one CSV file of a unified trace, or one with gzip: of
// ipfsmon fleet unify, or of the field's own tool. Rows that are not whole are
// skipped and counted.
func Unified(ctx context.Context, path string, o Options) (r Result, err error) {
	id, err := contentID(path)
	if err != nil {
		return r, fmt.Errorf("archive: %w", err)
	}
	if r.Before, err = archive.Made(o.Dir, id); err != nil || r.Before {
		return r, err
	}
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("archive: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var text io.Reader = in
	if strings.HasSuffix(path, ".gz") {
		if text, err = gzip.NewReader(in); err != nil {
			return r, fmt.Errorf("archive: %s: %w", path, err)
		}
	}
	rows := csv.NewReader(text)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil || !slices.Equal(head, unifiedColumns) {
		return r, errors.Join(err, fmt.Errorf("archive: %s is not a unified trace: want a first row with %s", path, strings.Join(unifiedColumns, ",")))
	}
	w, err := archive.NewWriter(o.Dir, archive.Options{Source: id})
	if err != nil {
		return r, err
	}
	defer w.Abort()
	for n := 1; ; n++ {
		if n%lookEvery == 0 && ctx.Err() != nil {
			return r, ctx.Err()
		}
		cells, err := rows.Read()
		if err == io.EOF {
			break
		}
		if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
			r.Skipped++
			continue
		}
		if err != nil {
			r.Damaged = string(event.Clean(fmt.Sprintf("%s cannot be read to its end: %v", path, err), 512))
			break
		}
		row, err := unifiedRow(cells)
		if err != nil {
			r.Skipped++
			continue
		}
		if err := w.AddUnified(row); err != nil {
			return r, err
		}
	}
	r.Name = string(event.Clean(path, 512))
	if r.Rows = w.Rows; w.Rows == 0 {
		return r, nil
	}
	return r, w.Commit(r.Source)
}

// unifiedRow returns the row of the cells, in the order of unifiedColumns.
func unifiedRow(cells []string) (r archive.Unified, err error) {
	number := func(i, bits int) int64 {
		n, e := strconv.ParseInt(cells[i], 10, bits)
		err = errors.Join(err, e)
		return n
	}
	optional := func(i int) *int64 {
		if cells[i] == "" {
			return nil
		}
		n := number(i, 64)
		return &n
	}
	text := func(i int) string { return string(event.Clean(cells[i], event.MaxAddrText)) }
	r = archive.Unified{MonitorID: text(0), MatchedTo: text(1), MatchDiff: optional(2), GlobalDiff: optional(3), MessageID: number(4, 64), MessageType: int32(number(5, 32)),
		Seconds: number(6, 64), Millis: int32(number(7, 32)), Peer: text(8), Addr: text(9), Priority: int32(number(10, 32)), EntryType: int32(number(11, 32)), CID: text(12),
		Duplicate: int32(number(13, 32)), SecondsEarlier: optional(15)}
	if cells[14] != "" {
		n := int32(number(14, 32))
		r.SlidingWindow = &n
	}
	if cells[16] != "" {
		yes, e := strconv.ParseBool(cells[16])
		r.Upgrades, err = &yes, errors.Join(err, e)
	}
	if r.Seconds < 0 || r.Seconds > 9e9 || r.Millis < 0 || r.Millis > 999 {
		err = errors.Join(err, errors.New("a time out of range"))
	}
	return r, err
}
