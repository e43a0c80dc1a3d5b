package capture

import (
	"reflect"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
)

// maxRead is the most wantlist entries of a message that are looked at. boxo
// can only hand out all entries of a message at once, and its own server keeps
// 1,024 wants of a peer, so that a message with more than this is an attack:
// its entries are counted as truncated and none is read.
const maxRead = 32 * 1024

// shape says how many entries boxo's messages hold, which they do not tell by
// themselves: every accessor copies. Only the lengths of three maps are read,
// by reflection; if boxo changed them, everything works as before, but costs
// more. TestShapeIsBoxos tells.
type shape struct {
	of                       reflect.Type // nil: not known
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

// lengths returns the numbers of entries, or ones where they are not known.
func (s *shape) lengths(m bsmsg.BitSwapMessage) (wants, presences, blocks int) {
	v := reflect.ValueOf(m)
	if s.of == nil || v.Type() != s.of {
		return 1, 1, 1
	}
	v = v.Elem()
	return v.Field(s.wants).Len(), v.Field(s.presences).Len(), v.Field(s.blocks).Len()
}
