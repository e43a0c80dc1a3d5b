package schema

import "github.com/ipfsmon/ipfsmon/event"

var Notes = &Measurement{
	Name: "notes", Kind: Totals,
	Point:   "an event that dashboards mark: the monitor's start and end, lost points or events, the beginning and end of a storm of wants, a step of the wall clock",
	Answers: "What happened, and when?",
	Query:   `SELECT kind, text, value FROM totals.notes WHERE time > now() - 7d ORDER BY time DESC`,
	Tags: []Tag{
		{Key: "kind", Values: event.NoteNames[:], Help: "start and stop of the monitor; loss: points or events were lost; storm: wants at five times the usual rate and more than 100 a second; calm: the storm is over; clock_step: the wall clock was set by more than 2 s, or the machine slept"},
		tagNode},
	Fields: []Field{
		{Key: "text", Type: String, Help: "the same as readable text"},
		{Key: "value", Type: Int, Help: "loss: how many since the previous note; storm: wants per second; calm: seconds that the storm lasted; clock_step: milliseconds, negative if the clock went back; else 0"}},
}
