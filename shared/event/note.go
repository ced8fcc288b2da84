package event

// Note says why an event leads to less than others do. The zero Note says nothing.
type Note uint8

// The notes.
const (
	// NamesNothing: the event names no entity.
	NamesNothing Note = iota + 1
	// UnknownType: the definition knows neither the family of its type nor a kind of
	// that name.
	UnknownType
	// RequireUnmet: it lacks a value that the definition requires. Its entities are
	// not looked at.
	RequireUnmet
	// Unreadable: it came among others in one request and cannot be read.
	Unreadable
	// ScopeUnusable: what it has in the place of its scope's id is none, so that
	// nothing may be asked for.
	ScopeUnusable
)

var noteNames = [...]string{"", "names_nothing", "unknown_type", "require_unmet", "unreadable", "scope_unusable"}

// String returns the note's name, as in rows and metrics. "" of the zero Note.
func (n Note) String() string {
	if int(n) < len(noteNames) {
		return noteNames[n]
	}
	return ""
}

// ParseNote returns the note of a name; the zero Note for a name that is none.
func ParseNote(name string) Note {
	for n, s := range noteNames {
		if s == name {
			return Note(n)
		}
	}
	return 0
}

// Notes returns all notes.
func Notes() []Note {
	return []Note{NamesNothing, UnknownType, RequireUnmet, Unreadable, ScopeUnusable}
}
