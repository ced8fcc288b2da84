// Package storage is the interface to the customer's database: the mirror documents,
// the event log, dead letters, discrepancies, the reconciler's tasks and the audit.
// Only its subpackages know a database.
//
// SCHEMA.md beside this file describes every collection and table, for
// applications that query the database themselves.
//
// Store is the one interface; mongo and sqlite implement it, and storetest
// holds the conformance suite both must pass. Everything here is built on
// single-document atomic operations, so that it holds on a standalone MongoDB
// as well as on a replica set or a sharded cluster.
//
// # The claim, or why the mirror never goes backwards
//
// A claim is the fencing token of a fetch. Before each fetch, one atomic step
// raises the counter `claim` on the entity's own document and returns the
// document. The write after the fetch succeeds only if the counter is still the
// one that was taken:
//
//	worker A   claim → 7 ── fetch (slow) ────────────────── write if claim == 7 ✗ refused
//	worker B              claim → 8 ── fetch ── write if claim == 8 ✓
//
// A state whose fetch began earlier never replaces one whose fetch began later,
// even if locks, leases or queues were lost in between, because the number is
// issued and checked in the same place.
//
// A database restored from an older copy issues some numbers a second time. A
// fetch in flight during the restore holds a number that the copy does not have,
// and its write is refused. If that number is issued again before the write, the
// fetch that was sent later wins. Events settled after the copy was made are open
// again, and recovery appends them again.
//
// # One event, one row
//
// The log has a row per event with an outcome per entity it names and `open`, the
// number of outcomes not settled yet. An outcome is settled at most once (the
// update's filter requires an open outcome), so settling may be repeated. The
// status of the row follows from its outcomes, the first that applies: open
// outcomes → pending (retrying after a failure); then dead, discarded, superseded,
// processed, erased.
//
// A dead outcome has an open dead letter. Closing the dead letter (redriven,
// discarded or superseded) changes the outcome with it, also when other calls for
// the same entity run at the same time.
//
// processed_at is when the last open outcome of the row was settled or buried;
// a row that opens again has none until then.
//
// Times are kept to the millisecond, in UTC. The payload and the raw state have
// the exact texts.
//
// # Waiting, not failing
//
// While the database is away (busy, no primary, time-out, write concern not met),
// every method returns an error of class fate.Unavailable. A document that the
// database refuses for its content is fate.Permanent, since waiting does not help;
// so is a stored value that cannot be read, which the error names. Context errors
// are returned unchanged.
//
// A mirror document of which some fields cannot be read is returned without
// them: see Document.Damaged.
package storage
