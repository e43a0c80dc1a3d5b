package stream

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	stdgzip "compress/gzip"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// TestArrayIsTheExporters: byte for byte what encoding/json made of the exporter's types.
func TestArrayIsTheExporters(t *testing.T) {
	var b Bodies
	var array []byte
	var want []*event3
	for _, e := range goldenEvents() {
		if len(e.Wants) == 1 && e.Wants[0].Type > 1 {
			continue // what its clients cannot decode is left out: TestV3AsIpfsToolsReadsIt
		}
		if len(e.Addrs) > 0 {
			e.Addrs = []event.Text{"/ip4/192.0.2.1/tcp/4001", "/dns4/a.example/tcp/443/wss"} // others: TestAddressesOf2022
		}
		require.True(t, HasV3(e))
		array = b.AppendV3(array, e)
		want = append(want, asV3(e).Event)
	}
	z, err := stdgzip.NewReader(bytes.NewReader(b.V3(array)))
	require.NoError(t, err)
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	var wanted bytes.Buffer
	require.NoError(t, json.NewEncoder(&wanted).Encode(want))
	require.Equal(t, wanted.String(), string(got))
}

// TestBodiesAreRead: what was put into a body comes out.
func TestBodiesAreRead(t *testing.T) {
	var b Bodies
	var r BodyReader
	defer r.Close()
	for range 3 { // buffers are used again
		var v3, v4 []byte
		var in3, in4 []*event.Event
		for _, k := range eventtest.Kinds() {
			e := eventtest.Example(t, k)
			if HasV3(e) {
				v3, in3 = b.AppendV3(v3, e), append(in3, e)
			}
			if HasV4(e) {
				v4, in4 = b.AppendV4(v4, e), append(in4, e)
			}
		}
		got, err := r.ReadV3(b.V3(v3))
		require.NoError(t, err)
		require.Len(t, got, len(in3))
		got, err = r.ReadV4(b.V4(v4))
		require.NoError(t, err)
		require.Len(t, got, len(in4))
		for i := range got {
			back, err := got[i].ToEvent()
			require.NoError(t, err)
			require.Equal(t, in4[i].Kind, back.Kind)
			require.Equal(t, in4[i].Seq, got[i].Seq)
		}
	}
}
