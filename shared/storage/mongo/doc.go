// Package mongo is the store in MongoDB, the product's database. What it
// writes is meant to be read and queried by its owner:
//
//	mirror_<source>_<kind>  _id: the entity's id    what the provider says is true
//	events                  _id: source/event id    the log, a row per event
//	dead_letters            _id: the dead letter's id
//	discrepancies, audit
//	tasks                   _id: the task's id      the reconciler's work
//	feed                    _id: source/position    the log of changes, in batches
//	subscriptions           _id: source/consumer    how far consumers of it are
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
// filter, so it needs no transactions and works on a standalone server, a replica
// set and a sharded cluster. No update needs a pipeline, an array filter or a
// newer server. Where several documents change, they change in an order in which
// a repetition completes a step that was cut off:
//
//   - settle: outcome, then the row's status;
//   - bury: dead letter, outcome, then a comparison with the newest sync;
//   - supersede, redrive, discard: outcome, then dead letter, since a repetition
//     finds only open dead letters; last the count of open dead letters, of every
//     entity named;
//   - judge and repair a discrepancy: each notes its result, then the status
//     follows from both.
//
// Two such steps may run at once and interleave. Steps that close or bury dead
// letters therefore end with a check that dead letter and outcome agree (see
// agree): the step that ends second sees what the first did.
//
// A row's outcomes are a map by entity rather than an array, so that a filtered
// update can address one by its path. open and tally count them, so that the
// row's status can be set without reading the row. The few steps that must read
// first (an event that comes again, a dead letter that is buried again) write on
// condition that the rev they read has not changed.
//
// # Round trips
//
// Claim and Write are one each; Claim of a document that is not there yet is
// two. Log is one insert for the whole batch, and a
// read and an update only for events that are there already. Settle is an
// update of the outcomes and one of the rows. Calls of Log and Settle, and claims and
// writes of one kind, that come while one is in flight share the next, so many
// entities synced at once cost as much as one. A call that meets none goes at once.
//
// A group of claims is a read and an update, which raises each claim from the number
// that was read (see claimRound), and an insert if some documents are not there yet.
// A group of writes is one update. Each call of a group has its own answer: what the
// group cannot decide (another worker came between, dead letters are open, the server
// refuses one document) is called again alone, which has the answer it would have
// had without the group.
//
// All writes wait for a majority. All reads are from the primary, with read
// concern majority.
//
// # Bells
//
// A change stream of outbox, and one of feed, says that there may be more to read, and
// nothing else: no resume token is kept, and what it misses is found by reading. A server
// that refuses them (a standalone one, one that is not MongoDB, a user without the right)
// is not asked again, and is read as often as a database without bells.
//
// # Indexes
//
// The start and the first claim of a kind create their indexes and wait at most 5
// seconds for them. On a large collection the build goes on in the background, and
// the log says when it ends. No index enforces anything: while one is missing,
// queries are slow but right.
//
// # Servers
//
// The store needs MongoDB 4.4 or newer. (The driver itself refuses servers
// before 4.2.)
package mongo
