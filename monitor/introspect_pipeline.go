package monitor

import (
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// maxStoreError bounds the text of InfluxDB's last error, in bytes.
const maxStoreError = 512

// pipeline returns the state of the monitor itself.
func (in *introspection) pipeline() (*pb.Pipeline, error) {
	s := in.m.pipeline()
	out := &pb.Pipeline{
		Capture: &pb.Pipeline_Capture{Limited: s.Capture.Limited, SendErrors: s.Capture.SendErrors, Panics: s.Capture.Panics},
		Bus:     &pb.Pipeline_Bus{Published: s.Bus.Published, Held: s.Bus.Held, HeldBytes: s.Bus.HeldBytes},
	}
	for _, r := range s.Bus.Readers {
		out.Bus.Readers = append(out.Bus.Readers, &pb.Pipeline_Reader{Name: r.Name, Read: r.Read, Missed: r.Missed, Behind: r.Behind})
	}
	if x := s.Stream; x != nil {
		out.Stream = &pb.Pipeline_Stream{
			Accepted: x.Accepted, Refused: x.Refused, Events: x.Events, SentEvents: x.SentEvents, SentBytes: x.SentBytes,
			DroppedEvents: x.DroppedEvents, Kicked: x.Kicked,
		}
		for _, u := range in.m.subscribers() {
			out.Stream.Subscribers = append(out.Stream.Subscribers, &pb.Pipeline_Subscriber{
				Id: u.ID, SinceTs: pb.Millis(u.Since), Version: uint32(u.Version), Encoding: u.Encoding, Filter: string(u.Filter),
				QueuedBytes: u.QueuedBytes, QueueLimit: u.QueueLimit, SentEvents: u.SentEvents, SentBytes: u.SentBytes, DroppedEvents: u.DroppedEvents,
			})
		}
	}
	if x := s.Influx; x != nil {
		out.Influx = &pb.Pipeline_Influx{
			Events: x.Events, Accepted: x.Accepted, Stored: x.Stored, Dropped: x.Dropped, Rejected: x.Rejected,
			Queued: x.Queued, QueueBytes: x.QueueBytes, LagSeconds: x.LagSeconds, Failing: x.Failing, LastError: string(event.Clean(x.LastError, maxStoreError)),
		}
		out.Spool = &pb.Pipeline_Spool{Bytes: x.SpoolBytes, Full: x.SpoolFull}
		if x.SpoolFull > 0 {
			out.Spool.LimitBytes = uint64(float64(x.SpoolBytes) / x.SpoolFull)
		}
	}
	if s.Broker != nil {
		for _, x := range s.Broker.Exchanges {
			out.Exchanges = append(out.Exchanges, &pb.Pipeline_Exchange{
				Name: x.Name, Exchange: x.Exchange, Broker: string(event.Clean(x.Broker, maxStoreError)), Accepted: x.Accepted, Delivered: x.Delivered, Dropped: x.Dropped, Rejected: x.Rejected,
				Queued: x.Queued, QueueBytes: x.QueueBytes, SpoolBytes: x.SpoolBytes, SpoolFull: x.SpoolFull, LagSeconds: x.LagSeconds,
				Connected: x.Connected, Blocked: x.Blocked, Failing: x.Failing, LastError: string(event.Clean(x.LastError, maxStoreError)),
			})
		}
	}
	if x := s.HTTP; x != nil {
		out.Http = &pb.Pipeline_Http{Connections: x.Connections, Panics: x.Panics}
		for _, r := range x.Requests {
			out.Http.Requests += r.Count
		}
	}
	i := in.server.Stats()
	out.Introspection = &pb.Pipeline_Introspection{
		Sessions: uint32(i.Sessions), Accepted: i.Accepted, Refused: i.Refused, SentMessages: i.SentMessages, SentBytes: i.SentBytes,
		DiscardedEvents: i.DiscardedEvents, DiscardedStates: i.DiscardedStates, Panics: i.Panics + in.panics(),
	}
	return out, nil
}
