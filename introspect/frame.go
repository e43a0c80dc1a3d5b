package introspect

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// The frame of a message to a client: version, checksum and length of the
// payload, each 4 bytes little endian, then the payload.
const (
	frameVersion = 1
	headerBytes  = 12
	// SchemaVersion is the version in every ServerMessage.
	SchemaVersion = 1
	// MaxMessageBytes is the maximum length of a message for DecodeFrame and CaptureReader.
	MaxMessageBytes = 64 << 20
)

// checksum is FNV-1a with 32 bits.
func checksum(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// encodeFrame returns the frame of a message and sets the message's version. size is its
// approximate length.
func encodeFrame(m *pb.ServerMessage, size int) ([]byte, error) {
	m.Version = &pb.Version{Version: SchemaVersion}
	out, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, headerBytes, headerBytes+size), m)
	if err != nil {
		return nil, fmt.Errorf("introspect: encode a message: %w", err)
	}
	payload := out[headerBytes:]
	binary.LittleEndian.PutUint32(out, frameVersion)
	binary.LittleEndian.PutUint32(out[4:], checksum(payload))
	binary.LittleEndian.PutUint32(out[8:], uint32(len(payload)))
	return out, nil
}

// DecodeFrame decodes a frame as a server sends it, one in each WebSocket message. The error
// names what is wrong with it.
func DecodeFrame(b []byte) (*pb.ServerMessage, error) {
	payload, err := framePayload(b)
	if err != nil {
		return nil, err
	}
	return decodeMessage(payload)
}

// framePayload checks a frame and returns its payload.
func framePayload(b []byte) ([]byte, error) {
	if len(b) < headerBytes {
		return nil, fmt.Errorf("introspect: a message of %d bytes: want %d of header", len(b), headerBytes)
	}
	if v := binary.LittleEndian.Uint32(b); v != frameVersion {
		return nil, fmt.Errorf("introspect: a message of version %d: want %d", v, frameVersion)
	}
	payload := b[headerBytes:]
	if n := binary.LittleEndian.Uint32(b[8:]); uint64(n) != uint64(len(payload)) {
		return nil, fmt.Errorf("introspect: a message claims %d bytes, and has %d", n, len(payload))
	}
	if binary.LittleEndian.Uint32(b[4:]) != checksum(payload) {
		return nil, errChecksum
	}
	return payload, nil
}

var errChecksum = errors.New("introspect: the checksum of a message does not match")

// decoding guards the decoding of capture files and of servers' messages.
var decoding guard.Guard

func decodeMessage(payload []byte) (*pb.ServerMessage, error) {
	m := new(pb.ServerMessage)
	err := decoding.Call("introspect: decode a message", func() error {
		return proto.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(payload, m)
	})
	if err != nil {
		return nil, fmt.Errorf("introspect: decode a message: %w", err)
	}
	return m, nil
}

// maxDepth bounds the nesting of messages: only a connection over a connection nests deeper
// than a dozen.
const maxDepth = 100

// maxCommandBytes is the maximum length of a client's command.
const maxCommandBytes = 4 << 10

// decodeCommand decodes a client's command.
func decodeCommand(b []byte) (*pb.ClientCommand, error) {
	c := new(pb.ClientCommand)
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDepth, DiscardUnknown: true}).Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("introspect: decode a command: %w", err)
	}
	return c, nil
}
