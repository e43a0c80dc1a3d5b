// Package influx keeps what the monitor sees in InfluxDB.
//
// In: events from the bus. Out: points in an InfluxDB 1.x or 2.x, or in
// several, over HTTP, and the answers to questions. It is the front of its
// folders, in the order in which a point passes them:
//
//	schema      the one list of what is stored
//	lineproto   makes lines of events
//	delivery    collects lines into batches, keeps them in memory or on disk
//	            (spool) and posts them, compressed (linezip), until each server
//	            has accepted them
//	client      the server: address, credentials, requests, set-up
//	query       asks what is stored
//	embedded    the InfluxDB for those who have none, which the plugin does not
//	            link
//
// What they promise is in the comment of each.
package influx
