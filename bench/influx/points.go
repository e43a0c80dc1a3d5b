package main

import (
	"crypto/sha256"
	"fmt"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// How varied the points are.
const (
	templates = 4096 // messages
	cids      = 2000
	peers     = 300
	nodeName  = "bench"
)

// source makes messages with wants: the same ones each time, a microsecond
// after one another for each want.
type source struct {
	messages []event.Event
	entries  int
	at       int64
	n        int
}

func newSource(entries int, begin time.Time) *source {
	s := &source{entries: entries, at: begin.UnixNano()}
	for i := range templates {
		e := event.Event{Kind: event.KindMessage, Dir: event.Direction(i % 2), Peer: peerOf(i % peers)}
		for j := range entries {
			n := i*entries + j
			e.Wants = append(e.Wants, event.Want{CID: cidOf(n % cids), Priority: int32(n), Type: event.WantType(n % 2), Cancel: n%5 == 4, SendDontHave: true})
		}
		s.messages = append(s.messages, e)
	}
	return s
}

// next makes e the next message, as many points as it has entries.
func (s *source) next(e *event.Event) *event.Event {
	*e = s.messages[s.n%templates]
	e.Time = s.at
	s.at += int64(s.entries) * 1000
	s.n++
	return e
}

func cidOf(n int) cid.Cid {
	sum := sha256.Sum256(fmt.Append(nil, "block ", n))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // not for this one
	}
	return cid.NewCidV1(cid.Raw, mh)
}

func peerOf(n int) peer.ID {
	sum := sha256.Sum256(fmt.Append(nil, "peer ", n))
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, sum[:]...)) // as of an Ed25519 key
}

// point is a line taken apart, for those who are given values.
type point struct {
	measurement string
	tags        map[string]string
	fields      map[string]any
	keys        []string // of the tags, in order
	at          time.Time
}

// newEncoder makes one that writes every measurement of history.
func newEncoder() *lineproto.Encoder {
	enc := lineproto.NewEncoder(nodeName, true)
	enc.SetDHTHistory()
	return enc
}

// pointsOf returns the points of an event as text and numbers: who gets them
// need not make text of CIDs and peers.
func pointsOf(e *event.Event) (out []point, err error) {
	var bufs [schema.Kinds][]byte
	bufs, _ = newEncoder().Append(bufs, e)
	for _, b := range bufs {
		for d := lineprotocol.NewDecoderWithBytes(b); d.Next(); {
			p := point{tags: map[string]string{}, fields: map[string]any{}}
			name, err := d.Measurement()
			if err != nil {
				return nil, err
			}
			p.measurement = string(name)
			for {
				k, v, err := d.NextTag()
				if err != nil {
					return nil, err
				}
				if k == nil {
					break
				}
				p.tags[string(k)] = string(v)
				p.keys = append(p.keys, string(k))
			}
			for {
				k, v, err := d.NextField()
				if err != nil {
					return nil, err
				}
				if k == nil {
					break
				}
				p.fields[string(k)] = v.Interface()
			}
			if p.at, err = d.Time(lineprotocol.Nanosecond, time.Time{}); err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func (p *point) forClient(at time.Time) *write.Point {
	return influxdb2.NewPoint(p.measurement, p.tags, p.fields, at)
}
