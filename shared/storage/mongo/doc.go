// Package mongo is the store in MongoDB, the product's database. What it
// writes is meant to be read and queried by its owner:
//
//	mirror_<source>_<kind>  _id: the entity's id    what the provider says is true
//	events                  _id: source/event id    the log, a row per event
//	dead_letters            _id: the dead letter's id
//	discrepancies, audit
//	tasks                   _id: the task's id      the reconciler's work
//
// (An underscore in a source is doubled in the name of its collections, so
// that no two of them share one.)
//
// The _id of an entity whose id is unique under its parents only is the id, a unit
// separator (U+001F) and the parents' ids; see event.Key.Local. Query such
// entities by parents and state.id.
//
// # Documents
//
// raw is the provider's JSON as text, every token as it came, and what Tarn
// itself reads. state is the same as a document, for queries: integers that
// fit are integers, all other numbers stay text exactly as sent (money is
// never a float), and what MongoDB cannot hold is escaped or left out; state
// is never read back. See project.
//
// # Single documents
//
// Every step is one atomic update of one document with the condition in its
// filter, so it holds on a standalone server, a replica set or a sharded
// cluster, without transactions. No update needs a pipeline, an array filter
// or a newer server. Where several documents change, the order is such that
// doing it again finishes what was left:
//
//   - settle: outcome, then the row's status;
//   - bury: dead letter, outcome, then compare with the newest sync;
//   - supersede, redrive, discard: outcome, then dead letter: while it is open it is
//     found again; the count of open dead letters last, for whatever was named;
//   - judge and repair a discrepancy: what one says is noted, then the status
//     follows from both.
//
// Two such steps may be made at once, each between two updates of the other. So
// those that close or bury dead letters end by looking whether dead letter and outcome
// agree (see agree): whichever comes second sees what the first did.
//
// A row's outcomes are a map by entity rather than an array, since a filtered
// update can then name one by its path; open and tally count them, so that the
// row's status can follow without being read. The few steps that must read
// first (an event that comes again, a dead letter that is buried again) write under
// the condition that the rev of what they read is still the same.
//
// # Round trips
//
// Claim and Write are one each; Claim of a document that is not there yet is
// two. Log is one insert for the whole batch, and a
// read and an update only for events that are there already. Settle is an
// update of the outcomes and one of the rows. Calls of Log and Settle that are
// made while one is under way share the next, so many entities settled at
// once cost what one does.
//
// All writes wait for a majority, and all reads are of the primary and of what
// a majority has.
//
// # Indexes
//
// A start and the first claim of a kind have their indexes built, and wait 5
// seconds at most for them; on a large collection building goes on in the
// background, and the log says when it has ended. No index decides what may be
// written: until it is there, queries are only slow.
//
// # Servers
//
// Nothing here needs more than MongoDB 4.4. (The driver itself refuses servers
// before 4.2.)
package mongo
