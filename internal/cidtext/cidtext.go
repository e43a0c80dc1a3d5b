// Package cidtext makes the texts of CIDs and peer IDs, which every sink writes
// by the thousand, and reads those of CIDs.
//
// In: a CID or a peer ID. Out: the text that its own String() returns, appended
// to a buffer; or a text, and the CID. Promised: a text of any length is read in
// less than a millisecond; identifiers of the usual lengths allocate nothing,
// where String() allocates once or several times. Longer ones are whole too,
// and cost what String() costs.
package cidtext

import (
	"encoding/base32"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// maxText is the longest text of a CID that is decoded, in bytes: the longest CID that an
// event has, of 168 bytes and a prefix, has less in every base, of which base 2 is the longest.
// Decoding base58 takes time with the square of the length.
const maxText = 1400

// Parse decodes the text of a CID, of whoever wrote it, in any base. It is an error if the
// text has more than 1,400 bytes.
func Parse(text string) (cid.Cid, error) {
	if len(text) > maxText {
		return cid.Undef, fmt.Errorf("a CID of %d characters: want at most %d", len(text), maxText)
	}
	return cid.Decode(text)
}

// AppendCID appends the text of a defined CID, the same as c.String(): base58
// for version 0, "b" and base32 for version 1.
func AppendCID(dst []byte, c cid.Cid) []byte {
	key := c.KeyString()
	if c.Version() == 0 {
		return appendBase58(dst, key)
	}
	// The compiler sees that nothing keeps or changes the bytes, and copies none.
	return base32Lower.AppendEncode(append(dst, 'b'), []byte(key))
}

// AppendPeer appends the text of a peer ID, the same as p.String().
func AppendPeer(dst []byte, p peer.ID) []byte {
	if len(p) > maxBase58 {
		return append(dst, p.String()...)
	}
	return appendBase58(dst, string(p))
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Limb is 58 to the fifth: the largest power of which ten digits still
// leave room in 64 bits when multiplied by 2^32.
const base58Limb = 58 * 58 * 58 * 58 * 58

// maxBase58 is the longest input of appendBase58, in bytes: a CIDv0 has 34, a
// peer ID at most 42.
const maxBase58 = 64

// appendBase58 appends s, of at most maxBase58 bytes, in Bitcoin's base58. The
// cost grows with the square of the length. The libraries return strings, and
// take two to ten times as long (BenchmarkTexts).
func appendBase58(dst []byte, s string) []byte {
	for len(s) > 0 && s[0] == 0 {
		dst = append(dst, base58Alphabet[0])
		s = s[1:]
	}
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
			five[d] = base58Alphabet[rest%58]
			rest /= 58
		}
		digits := five[:]
		if i == used-1 {
			for digits[0] == base58Alphabet[0] {
				digits = digits[1:]
			}
		}
		dst = append(dst, digits...)
	}
	return dst
}
