// Package answer writes answers of stores as Parquet, for other programs.
//
// In: the series and rows of a query, as client.Output has them. Out: one Parquet
// file with one table: the measurement and the tags of a series are columns, in the
// order in which they came, and null where a series lacks them. Promised: memory is
// bounded by one row group, for the types of columns are known only at the end and
// rows wait in a file of the folder for temporary files until then; nothing is written before Close. Not
// promised: Parquet's types of what a store does not show: a column whose numbers are
// all whole is BIGINT.
package answer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// groupRows is the most rows of a row group.
const groupRows = 1 << 16

// kind is what a column may be; a column of several kinds is text.
type kind uint8

const (
	isTime kind = 1 << iota
	isInteger
	isFloat
	isBool
	isText
)

// kinds are the types of fields as InfluxQL names them.
var kinds = map[string]kind{"integer": isInteger, "unsigned": isInteger, "float": isFloat, "boolean": isBool, "string": isText}

type column struct {
	name  string
	seen  kind // of the values so far
	known kind // of the store; 0: what the values show
}

// Output is a client.Output that writes Parquet. It is for one goroutine.
type Output struct {
	to    io.Writer
	types map[string]string
	file  *os.File // without a name
	rows  *bufio.Writer
	count int64

	columns []column
	places  map[string]int
	fixed   []any // values of the series' own columns
	at      []int // places of the series' columns, the own ones first
}

// New returns an output that writes to a file. types are the types of columns that are known: integer, float,
// boolean or string, as InfluxQL names them; nil: none. An output that is not closed writes nothing; Discard frees what it holds.
func New(to io.Writer, types map[string]string) (*Output, error) {
	f, err := os.CreateTemp("", "ipfsmon-answer-*")
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil { // it ends with the process, however that ends
		f.Close()
		return nil, fmt.Errorf("answer: %w", err)
	}
	return &Output{to: to, types: types, file: f, rows: bufio.NewWriterSize(f, 256<<10), places: map[string]int{}}, nil
}

// Rows returns how many rows there were.
func (o *Output) Rows() int64 { return o.count }

// Series begins a series.
func (o *Output) Series(name string, labels []client.Label, columns []string) error {
	o.fixed, o.at = o.fixed[:0], o.at[:0]
	used := map[int]bool{}
	place := func(name string) {
		i := o.place(name)
		for n := 1; used[i]; n++ {
			i = o.place(name + "_" + strconv.Itoa(n))
		}
		used[i] = true
		o.at = append(o.at, i)
	}
	if name != "" {
		place("measurement")
		o.fixed = append(o.fixed, name)
	}
	for _, l := range labels {
		place(l.Key)
		o.fixed = append(o.fixed, l.Value)
	}
	for _, c := range columns {
		place(c)
	}
	return nil
}

// place returns the place of a column.
func (o *Output) place(name string) int {
	if name == "" {
		name = "column"
	}
	i, ok := o.places[name]
	if !ok {
		i = len(o.columns)
		o.places[name] = i
		o.columns = append(o.columns, column{name: name, known: kinds[o.types[name]]})
	}
	return i
}

// Row adds a row of the series.
func (o *Output) Row(values []any) error {
	row := make([]any, len(o.columns))
	for i, v := range o.fixed {
		row[o.at[i]] = v
	}
	for i, v := range values {
		if i += len(o.fixed); i < len(o.at) {
			row[o.at[i]] = v
		}
	}
	for i, v := range row {
		c := &o.columns[i]
		c.seen |= kindOf(c.name, v)
	}
	line, err := json.Marshal(row)
	if err == nil {
		_, err = o.rows.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("answer: keep a row: %w", err)
	}
	o.count++
	return nil
}

// kindOf returns what a value shows of its column; 0 of null.
func kindOf(name string, v any) kind {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		return isBool
	case string:
		if name == "time" || name == "_time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
				return isTime
			}
		}
		return isText
	case json.Number:
		return numberKind(v)
	case int, int64, int32, uint32:
		return isInteger
	case uint64:
		return numberKind(json.Number(strconv.FormatUint(v, 10)))
	case float64, float32:
		return isFloat
	}
	return isText
}

func numberKind(n json.Number) kind {
	if _, err := n.Int64(); err == nil {
		return isInteger
	}
	return isFloat
}

// kind returns the kind that all values of a column have.
func (c *column) kind() kind {
	switch seen := c.seen | c.known; seen {
	case isTime, isInteger, isFloat, isBool, isText:
		return seen
	case isInteger | isFloat:
		return isFloat
	case 0:
		if c.name == "time" {
			return isTime
		}
	}
	return isText
}

// node is the column in a Parquet schema. Times have no mark of a zone, as in archives.
func (c *column) node() parquet.Node {
	n := parquet.String()
	switch c.kind() {
	case isTime:
		n = parquet.TimestampAdjusted(parquet.Nanosecond, false)
	case isInteger:
		n = parquet.Int(64)
	case isFloat:
		n = parquet.Leaf(parquet.DoubleType)
	case isBool:
		n = parquet.Leaf(parquet.BooleanType)
	case isText:
		n = parquet.Encoded(n, &parquet.RLEDictionary)
	}
	return parquet.Optional(n)
}

// value returns a value as the column has it.
func (c *column) value(v any) (parquet.Value, error) {
	if v == nil {
		return parquet.NullValue(), nil
	}
	switch c.kind() {
	case isTime:
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v))
		return parquet.Int64Value(at.UnixNano()), err
	case isInteger:
		n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		return parquet.Int64Value(n), err
	case isFloat:
		f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
		return parquet.DoubleValue(f), err
	case isBool:
		b, ok := v.(bool)
		if !ok {
			return parquet.Value{}, fmt.Errorf("%v is no boolean", v)
		}
		return parquet.BooleanValue(b), nil
	}
	return parquet.ByteArrayValue([]byte(fmt.Sprint(v))), nil
}

// fields is a group whose fields stay in their order; parquet.Group sorts them.
type fields struct {
	parquet.Group
	order []parquet.Field
}

func (f *fields) Fields() []parquet.Field { return f.order }

func (o *Output) schema() *parquet.Schema {
	if len(o.columns) == 0 {
		o.place("time") // a table without columns is none
	}
	root := &fields{Group: parquet.Group{}}
	for i := range o.columns {
		root.Group[o.columns[i].name] = o.columns[i].node()
	}
	by := map[string]parquet.Field{}
	for _, f := range root.Group.Fields() {
		by[f.Name()] = f
	}
	for _, c := range o.columns {
		root.order = append(root.order, by[c.name])
	}
	return parquet.NewSchema("answer", root)
}

// Close writes the file.
func (o *Output) Close() error {
	if o.file == nil {
		return errors.New("answer: closed")
	}
	err := o.write()
	o.Discard()
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// Discard frees what an output holds that is not closed.
func (o *Output) Discard() {
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
}

func (o *Output) write() error {
	if err := o.rows.Flush(); err != nil {
		return err
	}
	if _, err := o.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out := bufio.NewWriterSize(o.to, 256<<10)
	w := parquet.NewWriter(out, o.schema(), parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}), parquet.DataPageVersion(1),
		parquet.MaxRowsPerRowGroup(groupRows), parquet.CreatedBy("ipfsmon", "1", "answer"))
	in := json.NewDecoder(bufio.NewReaderSize(o.file, 256<<10))
	in.UseNumber()
	row := make(parquet.Row, len(o.columns))
	for range o.count {
		var values []any
		if err := in.Decode(&values); err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		for i := range o.columns {
			var v any
			if i < len(values) { // later series had more columns
				v = values[i]
			}
			value, err := o.columns[i].value(v)
			if err != nil {
				return fmt.Errorf("column %q: %w", o.columns[i].name, err)
			}
			defined := 1
			if v == nil {
				defined = 0
			}
			row[i] = value.Level(0, defined, i)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Flush()
}
