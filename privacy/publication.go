package privacy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/keyfile"
)

// publicationMagic begins the file of a publication's key.
const publicationMagic = "ipfsmon-publication-key"

// NewPublicationKey returns a key for one publication of a trace: a new random secret,
// the same for all days of the trace, and in no file. Once it is forgotten nobody can
// make its pseudonyms again.
func NewPublicationKey() *Key { return &Key{fixed: true, today: newKey(1, 0)} }

// OpenPublicationKey reads the key of a publication from a file that only its owner
// may read, so that a later part of a trace has the same pseudonyms. If there is no
// file, it makes one.
func OpenPublicationKey(path string) (*Key, error) {
	b, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		k := NewPublicationKey()
		if err := keyfile.Write(path, fmt.Appendf(nil, "%s %s\n", publicationMagic, hex.EncodeToString(k.today.secret[:]))); err != nil {
			return nil, fmt.Errorf("privacy: key: %w", err)
		}
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("privacy: key: %w", err)
	}
	words := strings.Fields(string(b))
	if len(words) == 2 && words[0] == publicationMagic {
		if secret, err := hex.DecodeString(words[1]); err == nil && len(secret) == 32 {
			return &Key{fixed: true, today: dayKey{number: 1, secret: [32]byte(secret)}}, nil
		}
	}
	return nil, fmt.Errorf("privacy: key: %s: not the key of a publication, or damaged: want a file that ipfsmon archive publish --key made", path)
}

// CutAddr cuts the text of a multiaddr to its network, as mode pseudonym does: ""
// for one without an IP address.
func CutAddr(a event.Text) event.Text { return cutAddr(a) }
