package stream

import (
	"encoding/base32"
	"encoding/json"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// The texts of CIDs and peer IDs are made here rather than by their own
// packages because those allocate several times for each; an event has up to
// thousands of them. Tests compare both.

const base58Digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Limb is 58 to the fifth: the largest power of which ten digits still
// leave room in 64 bits when multiplied by 2^32.
const base58Limb = 58 * 58 * 58 * 58 * 58

// maxBase58 is the longest input appendBase58 takes, in bytes: twice what a
// peer ID has.
const maxBase58 = 96

// appendBase58 appends the base58btc text of s, which has at most maxBase58 bytes.
func appendBase58(dst []byte, s string) []byte {
	zeros := 0
	for zeros < len(s) && s[zeros] == 0 {
		dst = append(dst, base58Digits[0])
		zeros++
	}
	s = s[zeros:]

	var limbs [maxBase58/3 + 1]uint32 // five digits each, the least first
	used := 0
	for len(s) > 0 {
		// The first word takes the odd bytes, so that the others are whole.
		n := (len(s)-1)%4 + 1
		var word uint64
		for _, c := range []byte(s[:n]) {
			word = word<<8 | uint64(c)
		}
		s = s[n:]
		for i := range used {
			word += uint64(limbs[i]) << 32
			limbs[i] = uint32(word % base58Limb)
			word /= base58Limb
		}
		for ; word > 0; used++ {
			limbs[used] = uint32(word % base58Limb)
			word /= base58Limb
		}
	}

	for i := used - 1; i >= 0; i-- {
		var five [5]byte
		for d, rest := 4, limbs[i]; d >= 0; d-- {
			five[d] = base58Digits[rest%58]
			rest /= 58
		}
		digits := five[:]
		if i == used-1 {
			for digits[0] == base58Digits[0] {
				digits = digits[1:]
			}
		}
		dst = append(dst, digits...)
	}
	return dst
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// appendCID appends the text of a defined CID: base58btc for version 0,
// base32 for version 1.
func appendCID(dst []byte, c cid.Cid) []byte {
	key := c.KeyString()
	if c.Version() == 0 {
		return appendBase58(dst, key)
	}
	dst = append(dst, 'b')
	// In pieces of whole base32 groups, so that the bytes stay on the stack.
	var piece [40]byte
	for len(key) > 0 {
		n := copy(piece[:], key)
		dst = base32Lower.AppendEncode(dst, piece[:n])
		key = key[n:]
	}
	return dst
}

func appendPeer(dst []byte, p peer.ID) []byte {
	if len(p) > maxBase58 {
		return append(dst, p.String()...)
	}
	return appendBase58(dst, string(p))
}

// appendJSONString appends s as encoding/json does, HTML escapes included.
func appendJSONString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil { // cannot be: strings always have a JSON form
				quoted = []byte(`""`)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
