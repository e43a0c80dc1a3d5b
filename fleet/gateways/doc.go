// Package gateways finds the nodes behind HTTP gateways.
//
// In: URLs of gateways, and monitors, of which some are nodes whose RPC API (kubo) may be
// used. Out: for each gateway the peers that asked a monitor for a random block that the
// gateway alone was asked for; as a file for GatewayList, or as JSON. Promised: a stated rate
// towards gateways, over all of them and for each; requests that say who they are; every
// block is removed at the end; a gateway's redirect to another host is not followed. Not
// promised: that a gateway's nodes are all found: those that a monitor is not connected to,
// and that do not find it as a provider, ask nobody here.
package gateways
