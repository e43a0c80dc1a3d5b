package proxy

import (
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bsnet "github.com/ipfs/boxo/bitswap/network"
)

// readable gives a message without what its receiver cannot read: Bitswap before
// 1.2 knows neither HAVE nor DONT_HAVE.
func readable(msg bsmsg.BitSwapMessage, to bsnet.MessageSender) bsmsg.BitSwapMessage {
	if len(msg.BlockPresences()) == 0 || to.SupportsHave() {
		return msg
	}
	out := bsmsg.New(msg.Full())
	for _, b := range msg.Blocks() {
		out.AddBlock(b)
	}
	for _, w := range msg.Wantlist() {
		if w.Cancel {
			out.Cancel(w.Cid)
		} else {
			out.AddEntry(w.Cid, w.Priority, w.WantType, w.SendDontHave)
		}
	}
	return out
}
