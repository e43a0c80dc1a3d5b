package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/spool"
)

// Buckets is how many parts the peers are divided into, so that several readers can share
// them. It never changes: queues are bound to the buckets.
const Buckets = 16

// Bucket returns the bucket of a peer's events, 0 to Buckets-1: FNV-1a (64 bits) of the bytes of
// the peer ID, modulo Buckets. Events without a peer are in bucket 0.
func Bucket(p peer.ID) int {
	if p == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(p)) // never fails
	return int(h.Sum64() % Buckets)
}

// Batch describes a batch of v4.
type Batch struct {
	Monitor string `json:"monitor"`
	Run     string `json:"run"`    // of the monitor: 16 hexadecimal digits, others at each start
	Bucket  int    `json:"bucket"` // of the peers in it
	// Number counts the batches of a bucket in a run, from 1, and Before the events in
	// the batches before this one.
	Number uint64 `json:"number"`
	Before uint64 `json:"before"`
	Events int    `json:"events"`
	First  uint64 `json:"first"` // Seq of its first event
	Last   uint64 `json:"last"`  // and of its last one
	// Missed is how many events of the run were lost, from any bucket, before they could be put into
	// a batch.
	Missed uint64 `json:"missed,omitempty"`
}

// id names the batch among all: a repeated batch has the same.
func (b *Batch) id() string {
	return b.Run + "-" + strconv.Itoa(b.Bucket) + "-" + strconv.FormatUint(b.Number, 10)
}

func (b *Batch) key() string { return "v4." + b.Monitor + "." + strconv.Itoa(b.Bucket) }

func (b *Batch) headers() amqp.Table {
	return amqp.Table{
		"monitor": b.Monitor, "run": b.Run, "bucket": int32(b.Bucket), "number": int64(b.Number), "before": int64(b.Before),
		"events": int32(b.Events), "first": int64(b.First), "last": int64(b.Last), "missed": int64(b.Missed),
	}
}

// batchOf reads headers.
func batchOf(t amqp.Table) (b Batch, err error) {
	text := func(name string) string { s, _ := t[name].(string); return s }
	number := func(name string) uint64 {
		var n int64 = -1
		switch v := t[name].(type) { // other clients choose other widths
		case int64:
			n = v
		case int32:
			n = int64(v)
		case int16:
			n = int64(v)
		case int8:
			n = int64(v)
		case uint8:
			n = int64(v)
		}
		if n < 0 && err == nil {
			err = fmt.Errorf("header %s is %v: want a number of 0 or more", name, t[name])
		}
		return uint64(max(n, 0))
	}
	b = Batch{Monitor: text("monitor"), Run: text("run"), Bucket: int(number("bucket")), Number: number("number"), Before: number("before"),
		Events: int(number("events")), First: number("first"), Last: number("last"), Missed: number("missed")}
	switch {
	case err != nil:
	case event.CheckName(b.Monitor) != nil:
		err = fmt.Errorf("header monitor: %w", event.CheckName(b.Monitor))
	case len(b.Run) != 16 || strings.Trim(b.Run, "0123456789abcdef") != "":
		err = fmt.Errorf("header run is %q: want 16 hexadecimal digits", event.Clean(b.Run, 64))
	case b.Bucket >= Buckets:
		err = fmt.Errorf("header bucket is %d: want 0 to %d", b.Bucket, Buckets-1)
	case b.Number == 0:
		err = fmt.Errorf("header number is 0: want 1 or more")
	}
	return b, err
}

// message waits for the broker.
type message struct {
	key     string
	pub     amqp.Publishing
	events  int
	since   time.Time    // when its first event was accepted
	out     bool         // of memory: it is being published
	spooled *spool.Batch // of disk
}

// The content types.
const (
	typeV3 = "application/json"
	typeV4 = "application/vnd.ipfsmon.v4"
)

// v3Message returns a message as the metrics exporter published it.
func v3Message(monitor, kind string, events int, since time.Time, body []byte) *message {
	return &message{
		key: "monitor." + monitor + "." + kind, events: events, since: since,
		pub: amqp.Publishing{DeliveryMode: amqp.Transient, Body: body},
	}
}

// The last words of the routing keys of v3.
const (
	v3Messages    = "bitswap_messages"
	v3Connections = "conn_events"
)

// pack joins a batch and its description for the spool: a line of JSON, then the body.
func pack(b *Batch, body []byte) []byte {
	line, err := json.Marshal(b)
	if err != nil {
		panic(err) // cannot happen: it has plain values
	}
	return append(append(line, '\n'), body...)
}

// unpack makes the message of what pack returned.
func unpack(packed []byte) (*message, error) {
	line, body, found := bytes.Cut(packed, []byte{'\n'})
	if !found {
		return nil, fmt.Errorf("a batch on disk without a description")
	}
	var b Batch
	if err := json.Unmarshal(line, &b); err != nil {
		return nil, fmt.Errorf("the description of a batch on disk: %w", err)
	}
	return &message{key: b.key(), events: b.Events, pub: amqp.Publishing{
		DeliveryMode: amqp.Persistent, ContentType: typeV4, MessageId: b.id(), AppId: "ipfsmon", Headers: b.headers(), Body: body,
	}}, nil
}
