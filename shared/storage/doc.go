// Package storage is the customer's database: the mirror documents, the event
// log, dead letters, discrepancies, the reconciler's tasks and the audit. It
// alone knows databases.
//
// SCHEMA.md beside this file has every collection and table, for those who read
// the database with queries of their own.
//
// Store is the one interface; mongo and sqlite implement it, and storetest
// holds the conformance suite both must pass. Everything here is built on
// single-document atomic operations, so that it holds on a standalone MongoDB
// as well as on a replica set or a sharded cluster.
//
// # The claim, or why the mirror never goes backwards
//
// Every fetch is preceded by a claim: one atomic step that raises the counter
// `claim` on the entity's own document and returns the document. The write
// after the fetch is conditional on the counter still being the one taken:
//
//	worker A   claim → 7 ── fetch (slow) ────────────────── write if claim == 7 ✗ refused
//	worker B              claim → 8 ── fetch ── write if claim == 8 ✓
//
// A state whose fetch began earlier can never replace one whose fetch began
// later, whatever locks, leases or queues were lost in between, because the
// number is minted where it is checked.
//
// Only a database put back to an older copy gives numbers out again. A fetch
// that was under way meanwhile holds one the copy does not have, and is refused;
// should it be given out anew, the fetch that was sent later stands. What was
// settled since the copy was made is open again, so that it is appended anew.
//
// # One event, one row
//
// The log has a row per event with an outcome per entity it names and `open`,
// the number of outcomes not settled yet. Outcomes are settled at most once
// (the update is filtered on the outcome being open), so doing it again is
// harmless. The status of the row follows from its outcomes, the first that
// applies: open outcomes → pending (retrying after a failure); then dead,
// discarded, superseded, processed.
//
// A dead outcome has an open dead letter. Closing the dead letter, by redriving,
// discarding or superseding it, changes the outcome with it, whatever else
// happens at the same time.
//
// processed_at is when the last open outcome of the row was settled or buried;
// a row that opens again has none until then.
//
// Times are kept to the millisecond, in UTC. Exact texts stand in the payload
// and in the raw state.
//
// # Waiting, not failing
//
// When the database is away, every method returns an error of class
// fate.Unavailable (busy, no primary, time-out, write concern not met); a
// document the database refuses for its content is fate.Permanent, and so is
// anything stored that cannot be read, which the error names: waiting would not
// mend it. A context error is returned as it is.
//
// A mirror document of which some fields cannot be read is returned without
// them: see Document.Damaged.
package storage
