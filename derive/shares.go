package derive

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
)

// The closed sets of Share.Name in a summary's Codecs, Versions and Hashes.
var (
	Codecs   = []string{"dag-pb", "raw", "dag-cbor", "dag-json", "libp2p-key", "cbor", "json", "git-raw", "other"}
	Versions = []string{"0", "1", "other"}
	Hashes   = []string{"sha2-256", "identity", "sha2-512", "sha3-256", "sha3-512", "keccak-256", "blake2b-256", "blake3", "dbl-sha2-256", "other"}
)

// The codes in the order of the names above; the last name, other, has none.
var (
	codecCodes = []uint64{cid.DagProtobuf, cid.Raw, cid.DagCBOR, cid.DagJSON, cid.Libp2pKey, 0x51, 0x0200, cid.GitRaw}
	hashCodes  = []uint64{mh.SHA2_256, mh.IDENTITY, mh.SHA2_512, mh.SHA3_256, mh.SHA3_512, mh.KECCAK_256, mh.BLAKE2B_MIN + 31, mh.BLAKE3, mh.DBL_SHA2_256}
)

// shares counts the wanted CIDs by codec, version and hash function.
type shares struct {
	codecs   [9]uint64
	versions [3]uint64
	hashes   [10]uint64
}

func (s *shares) add(c cid.Cid) {
	codec, version, hash := len(codecCodes), len(s.versions)-1, len(hashCodes)
	if c.Defined() {
		p := c.Prefix()
		codec = index(codecCodes, p.Codec)
		version = int(min(p.Version, uint64(version)))
		hash = index(hashCodes, p.MhType)
	}
	s.codecs[codec]++
	s.versions[version]++
	s.hashes[hash]++
}

// index returns the index of code, or len(codes) if it is not there.
func index(codes []uint64, code uint64) int {
	if i := slices.Index(codes, code); i >= 0 {
		return i
	}
	return len(codes)
}

// named returns the shares that are not zero, the largest first.
func named(names []string, counts []uint64) []event.Share {
	if len(names) != len(counts) {
		panic("derive: " + strconv.Itoa(len(names)) + " names for " + strconv.Itoa(len(counts)) + " counts")
	}
	var out []event.Share
	for i, n := range counts {
		if n > 0 {
			out = append(out, event.Share{Name: names[i], N: n})
		}
	}
	slices.SortStableFunc(out, func(a, b event.Share) int { return cmp.Compare(b.N, a.N) })
	return out
}
