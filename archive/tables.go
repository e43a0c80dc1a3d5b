package archive

import (
	"cmp"
	"io"
	"reflect"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Column describes a column of a table.
type Column struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // as DuckDB names it
	Unit     string `json:"unit,omitempty"`
	Nullable bool   `json:"nullable,omitempty"`
	Help     string `json:"help"`

	bloom bool
}

// Table describes a table.
type Table struct {
	Name    string   `json:"name"`
	Row     string   `json:"row"` // what one row stands for
	Columns []Column `json:"columns"`
}

// tableAt are the places of the tables in tables.
type tableAt int

// The tables; tableCount is their number.
const (
	messages tableAt = iota
	wants
	presences
	blocks
	connections
	identifies
	latencies
	notes
	origins
	dhts
	searches
	retrievals
	requests
	floods
	gaps
	unified
	tableCount
)

// tables is the list of all tables.
var tables = [tableCount]table{
	messages:    define[Message]("messages", "a Bitswap message, received or sent"),
	wants:       define[Want]("wants", "an entry of a wantlist, received or sent"),
	presences:   define[Presence]("presences", "a HAVE or DONT_HAVE, received or sent"),
	blocks:      define[Block]("blocks", "a block in a message, received or sent; never its data"),
	connections: define[Connection]("connections", "a connection that was opened or closed"),
	identifies:  define[Identify]("identifies", "what a peer reported of itself when it was identified"),
	latencies:   define[Latency]("latencies", "an answer to a want, with the time that it took; only from a store"),
	notes:       define[Note]("notes", "something that a person who looks at figures should know"),
	origins:     define[Origin]("origins", "the sums of one interval's traffic with the peers of one country and direction, gateways apart"),
	dhts:        define[DHT]("dht", "a request of the DHT's protocol that has ended"),
	searches:    define[Search]("searches", "a step of a search for the providers of a CID"),
	retrievals:  define[Retrieval]("retrievals", "a block that the node wanted, when it first came"),
	requests:    define[Request]("requests", "a want that was asked over HTTP, when it ended"),
	floods:      define[Flood]("floods", "a peer that sends the node more than a node can use: when that began, each minute, and when it ended"),
	gaps:        define[Gap]("gaps", "a place of the trace where events are missing"),
	unified:     define[Unified]("unified", "a request or a cancel in the unified trace of several monitors"),
}

// Tables returns the descriptions of all tables.
func Tables() []Table {
	out := make([]Table, tableCount)
	for i := range tables {
		out[i] = tables[i].about()
	}
	return out
}

// table is one of tables, whatever its rows are.
type table interface {
	about() Table
	newWriter(w *Writer) tableWriter
	openRows(path string) (rows, error)
	merge(dir string, files []File, number int) (size int64, err error)
}

// order is the place of a row: rows are sorted by it.
type order struct {
	time, message int64
	entry         int32
}

func (o order) compare(p order) int {
	return cmp.Or(cmp.Compare(o.time, p.time), cmp.Compare(o.message, p.message), cmp.Compare(o.entry, p.entry))
}

// row is what all rows can do, as pointers.
type row[T any] interface {
	*T
	place() order
}

func (r *Head) place() order { return order{time: r.Time} }

// place of a message: in the order of its number among those of its time.
func (r *Message) place() order { return order{time: r.Time, message: r.Message} }

func (r *Entry) place() order { return order{r.Time, r.Message, r.Entry} }

// tableOf is a table with rows of type T.
type tableOf[T any, P row[T]] struct {
	Table
	schema *parquet.Schema
}

func define[T any, P row[T]](name, stands string) table {
	var zero T
	t := &tableOf[T, P]{Table: Table{Name: name, Row: stands}, schema: parquet.SchemaOf(zero)}
	t.Columns = columns(reflect.TypeOf(zero))
	return t
}

func (t *tableOf[T, P]) about() Table { return t.Table }

// columns lists the columns of a row type by its fields' tags.
func columns(t reflect.Type) (out []Column) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			out = append(out, columns(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		c := Column{Name: name, Unit: f.Tag.Get("unit"), Help: f.Tag.Get("doc"), bloom: f.Tag.Get("bloom") != ""}
		for option := range strings.SplitSeq(options, ",") {
			c.Nullable = c.Nullable || option == "optional"
		}
		at := f.Type
		if at.Kind() == reflect.Pointer {
			at = at.Elem()
		}
		switch {
		case strings.Contains(options, "timestamp"):
			c.Type = "TIMESTAMP_NS"
		case at.Kind() == reflect.Slice && at.Elem().Kind() == reflect.Uint8:
			c.Type = "BLOB"
		default:
			c.Type = map[reflect.Kind]string{reflect.String: "VARCHAR", reflect.Bool: "BOOLEAN", reflect.Int32: "INTEGER",
				reflect.Int64: "BIGINT", reflect.Slice: "VARCHAR[]"}[at.Kind()]
		}
		out = append(out, c)
	}
	return out
}

// rows is an open file that is read row by row.
type rows interface {
	next() (order, error) // io.EOF after the last
	io.Closer
}
