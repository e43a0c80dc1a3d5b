package stream

import (
	"strconv"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
)

// hasV4 reports whether version 4 of the protocol has the event. Samples,
// summaries and the monitor's own counters are not in the stream: Prometheus and
// InfluxDB have them.
func hasV4(e *event.Event) bool {
	switch e.Kind {
	case event.KindMessage:
		return true
	case event.KindConnection:
		return e.Conn != nil
	case event.KindIdentify:
		return e.Identify != nil
	case event.KindNote:
		return e.Note != nil
	case event.KindOrigins:
		return e.Origins != nil
	case event.KindDHT:
		return e.DHT != nil
	case event.KindFlood:
		return e.Flood != nil
	case event.KindSearch:
		return e.Search != nil
	case event.KindRequest:
		return e.Request != nil
	case event.KindRetrieval:
		return e.Retrieval != nil
	}
	return false
}

// appendV4 appends the event as one line of JSON, byte for byte as encoding/json
// writes Event. hasV4 must be true for the event. Names never change; new ones
// may be added.
func appendV4(dst []byte, e *event.Event) []byte {
	dst = append(dst, `{"timestamp":"`...)
	dst = time.Unix(0, e.Time).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","peer":"`...)
	dst = cidtext.AppendPeer(dst, e.Peer)
	dst = append(dst, '"')
	switch e.Kind {
	case event.KindMessage:
		if e.Dir == event.Sent {
			dst = append(dst, `,"sent_message":`...)
		} else {
			dst = append(dst, `,"bitswap_message":`...)
		}
		dst = appendMessage(dst, e)
	case event.KindConnection:
		dst = append(dst, `,"connection_event":`...)
		dst = appendConn(dst, e.Conn)
	case event.KindIdentify:
		dst = append(dst, `,"identify":`...)
		dst = appendIdentify(dst, e.Identify)
	case event.KindNote:
		dst = append(dst, `,"note":`...)
		dst = appendNote(dst, e.Note)
	case event.KindOrigins:
		dst = append(dst, `,"origins":`...)
		dst = appendOrigins(dst, e.Origins)
	case event.KindDHT:
		dst = append(dst, `,"dht":`...)
		dst = appendDHT(dst, e.Dir, e.DHT)
	case event.KindFlood:
		dst = append(dst, `,"flood":`...)
		dst = appendFlood(dst, e)
	case event.KindSearch:
		dst = append(dst, `,"search":`...)
		dst = appendSearch(dst, e)
	case event.KindRequest:
		dst = append(dst, `,"request":`...)
		dst = appendRequest(dst, e)
	case event.KindRetrieval:
		dst = append(dst, `,"retrieval":`...)
		dst = appendRetrieval(dst, e)
	}
	dst = appendInt(dst, "seq", int64(e.Seq))
	dst = appendString(dst, "country", e.Country)
	dst = appendTrue(dst, "gateway", e.Gateway)
	if e.Side != event.NoSide {
		dst = appendString(dst, "side", e.Side.String())
		dst = appendString(dst, "downstream", string(e.Downstream))
	}
	dst = appendString(dst, "monitor", string(e.Monitor))
	return append(dst, "}\n"...)
}

func appendMessage(dst []byte, e *event.Event) []byte {
	dst = appendBody(dst, e, &formV4)
	if len(e.Blocks) > 0 {
		dst = append(dst, `,"block_sizes":[`...)
		for i := range e.Blocks {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(e.Blocks[i].Size), 10)
		}
		dst = append(dst, ']')
	}
	dst = appendInt(dst, "pending_bytes", int64(e.PendingBytes))
	dst = appendInt(dst, "wire_size", int64(e.WireSize))
	dst = appendInt(dst, "truncated", int64(e.Truncated))
	dst = appendInt(dst, "oversize_cid", int64(e.OversizeCID))
	if e.Transport != event.Libp2p {
		dst = appendString(dst, "transport", e.Transport.String())
	}
	dst = appendInt(dst, "duration_ns", int64(e.Took))
	return append(dst, '}')
}

func appendConn(dst []byte, c *event.Conn) []byte {
	dst = append(dst, `{"remote":`...)
	dst = appendJSONString(dst, string(c.Addr))
	dst = append(dst, `,"connection_event_type":`...)
	if c.Closed {
		dst = append(dst, '1')
	} else {
		dst = append(dst, '0')
	}
	dst = appendString(dst, "id", c.ID)
	dst = appendString(dst, "direction", c.DirectionName())
	dst = appendString(dst, "transport", c.Transport)
	dst = appendString(dst, "security", c.Security)
	dst = appendString(dst, "muxer", c.Muxer)
	dst = appendTrue(dst, "limited", c.Limited)
	if !c.Opened.IsZero() {
		dst = append(dst, `,"opened":"`...)
		dst = c.Opened.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	dst = appendInt(dst, "duration_ns", int64(c.Duration))
	dst = appendInt(dst, "streams", int64(c.Streams))
	dst = appendTrue(dst, "was_open", c.WasOpen)
	dst = appendTrue(dst, "unmatched", c.Unmatched)
	dst = appendInt(dst, "peer_connections", int64(c.PeerConns))
	dst = appendInt(dst, "total_connections", int64(c.TotalConns))
	return append(dst, '}')
}

func appendIdentify(dst []byte, i *event.Identify) []byte {
	dst = append(dst, `{"agent":`...)
	dst = appendJSONString(dst, string(i.Agent))
	dst = append(dst, `,"protocol_version":`...)
	dst = appendJSONString(dst, string(i.ProtocolVersion))
	dst = append(dst, `,"protocols":`...)
	dst = appendTexts(dst, i.Protocols)
	dst = append(dst, `,"listen_addresses":`...)
	dst = appendTexts(dst, i.ListenAddrs)
	dst = append(dst, `,"observed_address":`...)
	dst = appendJSONString(dst, string(i.ObservedAddr))
	return append(dst, '}')
}

func appendNote(dst []byte, n *event.Note) []byte {
	dst = append(dst, `{"kind":`...)
	dst = appendJSONString(dst, n.Kind.String())
	dst = appendInt(dst, "value", n.Value)
	dst = append(dst, `,"text":`...)
	dst = appendJSONString(dst, string(n.Text))
	return append(dst, '}')
}

func appendOrigins(dst []byte, o *event.Origins) []byte {
	dst = append(dst, `{"interval_ns":`...)
	dst = strconv.AppendInt(dst, int64(o.Interval), 10)
	dst = appendUint(dst, "missed", o.Missed)
	dst = append(dst, `,"sums":[`...)
	for i := range o.Sums {
		s := &o.Sums[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		if s.Country != "" {
			dst = append(dst, `"country":`...)
			dst = append(appendJSONString(dst, s.Country), ',')
		}
		dst = append(dst, `"direction":`...)
		dst = appendJSONString(dst, s.Dir.String())
		dst = appendTrue(dst, "gateway", s.Gateway)
		dst = appendUint(dst, "messages", s.Messages)
		dst = appendUint(dst, "wants", s.Wants)
		dst = appendUint(dst, "blocks", s.Blocks)
		dst = appendUint(dst, "block_bytes", s.BlockBytes)
		dst = appendUint(dst, "connections", s.Connections)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

func appendFlood(dst []byte, e *event.Event) []byte {
	f := e.Flood
	dst = append(dst, `{"state":`...)
	dst = appendJSONString(dst, f.State.String())
	dst = append(dst, `,"since":"`...)
	dst = f.Since.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","agent":`...)
	dst = appendJSONString(dst, string(f.Agent))
	dst = append(dst, `,"connected_addresses":`...)
	dst = appendTexts(dst, e.Addrs)
	dst = appendInt(dst, "wants", int64(f.Wants))
	dst = appendInt(dst, "messages", int64(f.Messages))
	dst = appendInt(dst, "want_rate", int64(f.WantRate))
	dst = appendInt(dst, "message_rate", int64(f.MessageRate))
	dst = appendInt(dst, "share_permille", int64(f.Share))
	dst = appendInt(dst, "repeats_permille", int64(f.Repeats))
	return append(dst, '}')
}

func appendTexts(dst []byte, texts []event.Text) []byte {
	dst = append(dst, '[')
	for i, s := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, string(s))
	}
	return append(dst, ']')
}

// The following functions append a member of an object unless its value is the
// zero value, like omitempty.

func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendInt(dst []byte, name string, v int64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendInt(appendName(dst, name), v, 10)
}

func appendUint(dst []byte, name string, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendUint(appendName(dst, name), v, 10)
}

func appendString(dst []byte, name, v string) []byte {
	if v == "" {
		return dst
	}
	return appendJSONString(appendName(dst, name), v)
}

func appendTrue(dst []byte, name string, v bool) []byte {
	if !v {
		return dst
	}
	return append(appendName(dst, name), "true"...)
}
