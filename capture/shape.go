package capture

import (
	"reflect"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
)

// maxRead is the longest wantlist of a message that is read. boxo can only
// return all entries of a message at once, and its own server keeps 1,024 wants
// of a peer. So a longer wantlist is an attack: its entries count as truncated
// and none is read.
const maxRead = 32 * 1024

// shape reports how many entries a message of boxo has. boxo has no accessor for
// that which does not copy. The lengths of three maps are read by reflection; if
// boxo changes them, all works as before at a higher cost, and TestShapeIsBoxos
// fails.
type shape struct {
	of                       reflect.Type // nil: boxo's message has other fields than expected
	wants, presences, blocks int          // indexes of the fields
}

var boxoShape = shapeOf(reflect.TypeOf(bsmsg.New(false)))

func shapeOf(t reflect.Type) shape {
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return shape{}
	}
	index := func(name string) int {
		f, ok := t.Elem().FieldByName(name)
		if !ok || f.Type.Kind() != reflect.Map || len(f.Index) != 1 {
			return -1
		}
		return f.Index[0]
	}
	s := shape{t, index("wantlist"), index("blockPresences"), index("blocks")}
	if s.wants < 0 || s.presences < 0 || s.blocks < 0 {
		return shape{}
	}
	return s
}

// lengths returns the numbers of entries, or 1 for each if they are not known.
func (s *shape) lengths(m bsmsg.BitSwapMessage) (wants, presences, blocks int) {
	v := reflect.ValueOf(m)
	if s.of == nil || v.Type() != s.of {
		return 1, 1, 1
	}
	v = v.Elem()
	return v.Field(s.wants).Len(), v.Field(s.presences).Len(), v.Field(s.blocks).Len()
}
