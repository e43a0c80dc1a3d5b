// Package influx stores the monitor's events in InfluxDB.
//
// In: events from the bus. Out: points in one or several InfluxDB 1.x or 2.x over HTTP, and the
// answers to questions. It is the front of its folders, listed in the order in which a point
// passes them:
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
// Each package comment says what the package promises.
package influx
