package nodestate

import (
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Account is what was exchanged with a peer over Bitswap: bytes of blocks, and how often.
type Account struct{ Sent, Received, Exchanged uint64 }

// Ledgers are what a Bitswap server keeps of its peers. All methods may be called from any
// goroutine.
type Ledgers interface {
	// Account returns what was exchanged with a peer.
	Account(peer.ID) Account
	// Wants returns CIDs that a peer waits for, at most that many, and how many there are.
	Wants(p peer.ID, most int) (wants []cid.Cid, all int)
	// Waiting returns how many peers wait for blocks.
	Waiting() int
}

// boxoLedgers are those of boxo's server.
type boxoLedgers struct{ server *server.Server }

func (l boxoLedgers) Account(p peer.ID) Account {
	r := l.server.LedgerForPeer(p)
	return Account{Sent: r.Sent, Received: r.Recv, Exchanged: r.Exchanged}
}

func (l boxoLedgers) Wants(p peer.ID, most int) ([]cid.Cid, int) {
	all := l.server.WantlistForPeer(p)
	return all[:min(len(all), most)], len(all)
}

func (l boxoLedgers) Waiting() int {
	stat, err := l.server.Stat()
	if err != nil {
		return 0
	}
	return len(stat.Peers)
}
