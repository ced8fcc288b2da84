package storage

import "time"

// Retention is how long the store keeps what only the past needs. Zero, the
// default of each, keeps it for ever. What still needs work is never
// removed: events that are not settled or whose dead letters are open, commands
// that are not final, and discrepancies not judged yet.
type Retention struct {
	// Events is the age at which settled events, by received_at, and closed dead
	// letters, by when they were buried, go.
	Events time.Duration
	// Commands is the age, by when they became final, at which commands go that are final and
	// not owed to the change feed. Until then a key names the command that was asked for
	// under it. Refs stay.
	Commands time.Duration
	// Audit is the age at which entries of the audit go.
	Audit time.Duration
	// Discrepancies is the age, by found_at, at which judged ones go.
	Discrepancies time.Duration
}
