package event

import "slices"

// NoteKind says what a note is about.
type NoteKind uint8

// The kinds of notes; NoteKinds is their number.
const (
	NoteStart     NoteKind = iota // the monitor started
	NoteStop                      // the monitor stopped
	NoteLoss                      // points or events were lost
	NoteStorm                     // wants come much faster than usual
	NoteCalm                      // the storm is over
	NoteClockStep                 // the wall clock was set
	NoteKinds
)

// NoteNames are the tag values of the kinds of notes.
var NoteNames = [NoteKinds]string{"start", "stop", "loss", "storm", "calm", "clock_step"}

// String returns the tag value of the kind, "" for a number that is no kind.
func (k NoteKind) String() string {
	if k < NoteKinds {
		return NoteNames[k]
	}
	return ""
}

// NoteNamed returns the kind of note with that name, and whether there is one.
func NoteNamed(name string) (NoteKind, bool) {
	i := slices.Index(NoteNames[:], name)
	return NoteKind(max(i, 0)), i >= 0
}

// MaxNoteText bounds the text of a note, in bytes.
const MaxNoteText = 512

// Note reports something that a person who looks at figures should know. It has
// nothing of a peer in it.
type Note struct {
	Kind NoteKind
	// Value is, by Kind: of NoteLoss how many were lost since the note before, of
	// NoteStorm the wants in a second, of NoteCalm the seconds that the storm lasted,
	// of NoteClockStep the milliseconds that the clock moved (negative: back), else 0.
	Value int64
	Text  Text // the same for people
}

// NewNote returns the event of a note; at is in nanoseconds since 1970.
func NewNote(at int64, kind NoteKind, value int64, text string) *Event {
	return &Event{Time: at, Kind: KindNote, Note: &Note{Kind: kind, Value: value, Text: Clean(text, MaxNoteText)}}
}
