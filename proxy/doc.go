// Package proxy puts many kubo nodes behind one libp2p identity and balances
// Bitswap between them.
//
// In: peers (upstream) that connect to the proxy's listeners and want blocks; the RPC addresses
// of the owner's nodes (downstream). Out: the blocks, HAVEs and DONT_HAVEs of those nodes; each
// side sees the proxy as a single Bitswap peer; every message of both sides to a tracer, totals
// as events.
//
// Promised: a block that is passed on fits a CID that its sender was asked
// for; a CID is asked of one node at a time, of the next when that one does not
// have it or does not answer, and once however many peers want it; children of a
// dag-pb node that are wanted in a row are asked for a little ahead; DONT_HAVE
// is sent when every connected node has sent it; what can wait in memory for a
// peer is bounded; the two sides are two hosts that share a key and
// nothing else, so that neither learns of the other's peers. Not promised:
// that a want is answered while a connected node neither answers nor disconnects.
//
// Wants of peers go downstream and blocks go upstream. The reverse is allowed
// only for the CIDs of a preload request, and never in a bridge.
//
// Upstream and downstream are kitsune's words, the reverse of nginx's.
package proxy
