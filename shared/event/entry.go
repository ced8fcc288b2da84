package event

// Entry is one entry of a shard's stream.
type Entry struct {
	// ID is the stream id.
	ID     string
	Tier   Tier
	Signal Signal
	// Parked: the entity is parked, so the entry belongs behind it.
	Parked bool
	// Err: the entry could not be decoded; Fields hold it as it is.
	Err    error
	Fields map[string]string
	// Attempts, on entries taken from a parked list, is how many failed attempts
	// were charged to it.
	Attempts int
}

// HighestClass returns the class among entries that goes first; Backfill if there
// are none.
func HighestClass(entries []Entry) Class {
	class := Backfill
	for i := range entries {
		class = min(class, entries[i].Signal.Class)
	}
	return class
}
