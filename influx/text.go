package influx

import (
	"math/bits"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	base32Alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
)

// appendCID appends the text of a CID, the same as c.String(), without garbage.
func appendCID(dst []byte, c cid.Cid) []byte {
	s := c.KeyString()
	if c.Version() == 0 {
		return appendBase58(dst, s)
	}
	return appendBase32(append(dst, 'b'), s)
}

// appendPeer appends the text of a peer ID, the same as p.String(), without
// garbage.
func appendPeer(dst []byte, p peer.ID) []byte {
	return appendBase58(dst, string(p))
}

// appendBase32 appends s in lower-case base32 without padding.
func appendBase32(dst []byte, s string) []byte {
	for len(s) >= 5 {
		v := uint64(s[0])<<32 | uint64(s[1])<<24 | uint64(s[2])<<16 | uint64(s[3])<<8 | uint64(s[4])
		dst = append(dst,
			base32Alphabet[v>>35&31], base32Alphabet[v>>30&31], base32Alphabet[v>>25&31], base32Alphabet[v>>20&31],
			base32Alphabet[v>>15&31], base32Alphabet[v>>10&31], base32Alphabet[v>>5&31], base32Alphabet[v&31])
		s = s[5:]
	}
	var v, n uint
	for i := 0; i < len(s); i++ {
		v, n = v<<8|uint(s[i]), n+8
		for n >= 5 {
			n -= 5
			dst = append(dst, base32Alphabet[v>>n&31])
		}
	}
	if n > 0 {
		dst = append(dst, base32Alphabet[v<<(5-n)&31])
	}
	return dst
}

// maxBase58 is the longest input that appendBase58 does in one go: a peer ID
// or a CIDv0 is at most 42 bytes.
const maxBase58 = 64

// appendBase58 appends s in Bitcoin's base58. The cost grows with the square
// of the length; longer input than maxBase58, which no peer ID or CIDv0 has,
// is cut there.
func appendBase58(dst []byte, s string) []byte {
	if len(s) > maxBase58 {
		s = s[:maxBase58]
	}
	for len(s) > 0 && s[0] == 0 {
		dst = append(dst, '1')
		s = s[1:]
	}
	// s as a number of 64-bit words, the highest first.
	var words [maxBase58 / 8]uint64
	n := (len(s) + 7) / 8
	for i := 0; i < len(s); i++ {
		w := &words[n-1-(len(s)-1-i)/8]
		*w = *w<<8 | uint64(s[i])
	}
	// Ten digits of base58 are taken off at a time: 58^10 fits into a word.
	const chunk, digits = 430804206899405824, 10
	var out [(maxBase58*138/100+1)/digits*digits + 2*digits]byte
	at := len(out)
	for first := 0; first < n; {
		var rem uint64
		for i := first; i < n; i++ {
			words[i], rem = bits.Div64(rem, words[i], chunk)
		}
		for first < n && words[first] == 0 {
			first++
		}
		for i := 0; i < digits; i++ {
			if first == n && rem == 0 {
				break
			}
			at--
			out[at] = base58Alphabet[rem%58]
			rem /= 58
		}
	}
	return append(dst, out[at:]...)
}

// appendString appends a string field's value in quotes. A line break or
// another control character cannot come from an event.Text; should one come
// all the same it becomes a space, so that it can never begin a line.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(append(dst, s[from:i]...), '\\', c)
			from = i + 1
		case c < ' ' || c == 0x7f:
			dst = append(append(dst, s[from:i]...), ' ')
			from = i + 1
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// appendTag appends a tag's value. InfluxDB refuses an empty value and takes a
// backslash at the end for an escape of what follows, so those are changed.
func appendTag(dst []byte, s string) []byte {
	for len(s) > 0 && s[len(s)-1] == '\\' {
		s = s[:len(s)-1]
	}
	if s == "" {
		s = "unknown"
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ',' || c == '=' || c == ' ':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
