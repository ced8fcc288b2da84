// Package worker turns signals into a true mirror. A worker holds leases on
// its fair share of shards; any number of workers, up to the number of
// shards, form a fleet without a leader.
//
// # The way of one signal
//
// Files in the order of the story:
//
//	worker.go   what a worker is made of, and how it starts and stops
//	keep.go     loops that panic are started again
//	member.go   heartbeat, fair share, taking and handing over shards
//	shard.go    one held shard: renewing, reading, handing over
//	intake.go   a batch as read: log ─ fan out ─ route
//	unreadable.go  entries nobody can read, on their way to the audit
//	refused.go  events the store refuses, apart from those it takes
//	flags.go    events that do not tell all they should
//	lane.go     the FIFO of one entity
//	ready.go    lanes that could sync now, by priority and age, waiting for budget
//	aside.go    lanes put to wait in Redis, since too much is in hand
//	sync.go     lock ─ take ─ claim ─ fetch ─ compare ─ write
//	parents.go  which parents the entity is asked for under
//	summary.go  what the verdict needs from a batch
//	verdict.go  what a fetched state says about the events it covers
//	settle.go   settlements, many at a time
//	ack.go      acks, many at a time
//	fail.go     what becomes of a sync that failed
//	retry.go    parked entities whose time has come
//	source.go   one source's lanes and its budget
//	pace.go     how much of its rate is asked for, learned from the provider
//	pause.go    a source that is down, refuses us or is too slow: pause, probe
//	undefined.go  entities of a kind that only a newer definition has
//	throttle.go one entity that is answered 429, or the source
//	window.go   whether known entities that are not found are gone
//	witness.go  whether the account is asked that the mirror is of
//	delay.go    signals that are not to be looked at yet
//	notes.go    duplicates and rejections, on their way to the audit
//	measure.go  what only Redis and the store know, as metrics
//	trace.go    the spans of a sync
//
// # Lanes
//
// Per shard there is one intake loop, which finishes one batch before it reads
// the next, so entries reach their lanes in stream order. A lane is one
// entity's FIFO; it is synced by one goroutine at a time, and different lanes
// run in parallel, as far as the source's budget and concurrency allow. What
// waits in a lane when its claim is taken is settled by that one fetch:
//
//	      head                      tail
//	lane  [ e1 e2 e3 | e4 e5 ]            e4, e5 came after the claim:
//	        covered by claim 7   waiting  they wait for claim 8
//
// # Parents are facts
//
// Many paths need more than an entity's id: the account an order stands under.
// A signal brings such parents as a hint, and a hint may be wrong or late. So an
// entity that was ever fetched is asked for under the parents of that fetch, and
// a success there covers every signal, whatever it names; an event that names
// others says so on its row (parents_differ). Only if the provider has no such
// entity there (gone, or refused though it accepts us) is each other parent set
// asked that the batch names. The first success moves the entity. Only if all say
// that it is gone may it become a tombstone; if they disagree, the attempt has
// failed.
//
// A sync asks eight hints at most, so a batch ends before the signal that names
// a ninth. A tombstone has the parents of its last success, and is revived by a
// signal that names the right ones.
//
// The parents in a qualified key (see event.Key) are no hint: such an entity is
// asked for under these alone. An event that names one without its parents was
// sharded by the id alone; the worker that logs it puts the key of the one known
// entity into the row and appends a signal to the shard of that key.
//
// # States of an entity in a shard
//
//	             route                    budget
//	(nothing) ───────────▶ ready ───────────────────▶ syncing
//	    ▲                    ▲                           │
//	    │ lane empty         │ more came; claim lost;    │
//	    ├────────────────────┼──── lagging read ─────────┤
//	    │                    │                           │ transient, gone
//	    │                    └────── due ◀── parked ◀────┘
//	    └──────── settled or buried ────────────┘
//
// A parked entity costs a worker no memory: everything that waits for it is in
// Redis, and what comes later is moved behind it while the batch is routed. A
// ready lane may become parked too, see below.
//
// # More than fits in hand
//
// After an outage a backlog may be larger than a worker's memory should be. If
// reading stopped when enough is in hand, each entity would be fetched once for
// every handful it is in, and budget is what a drain lives on. So reading goes
// on: lanes that wait for budget are set aside, which is parking without a
// failure, due at once. The whole backlog is then sorted by entity in Redis, and
// one fetch covers all that waits for one. Few of a shard's parked entities are
// begun at a time, so those of lower classes get half of these places at most.
//
// What has waited longest is fetched first, by the ids in the streams, except that
// entities that failed before take turns with the others, and hold half of the
// source's slots at most: what made them fail may hold a slot for long. An
// account gets a signal from each event of its orders when that is read, long
// after the event came; so it comes after the orders, and those who were read
// late come before it, by which time it has been named by all of them.
//
// # Why parking takes the shard's gate
//
// The read script says of each entry whether its entity is parked at that
// moment. If an entity were parked between the read and the routing of the
// same batch, an entry of it in that batch would find no lane, start a new one,
// and be covered by an earlier claim than its predecessors. So the intake loop
// holds the gate from read to route, and parking waits for it.
//
// # Why parking waits for the head
//
// A lane goes on as soon as its head is covered, while the head's settlement is
// on its way to the store. Were the tail parked then and the worker killed, its
// successor would find the head pending and the tail parked, try the tail first,
// and cover the head by a later claim. So whoever parks an entity waits until all
// that was covered of it is settled; and a lane is not set aside before.
//
// The tail itself is parked in pages, first things first. Should the worker be
// killed between two, its successor finds what was moved parked and the rest
// pending. It flags the rest when it takes it over and moves it behind, or, if the
// retry of the first pages is over by then, gives it a lane: in either case the
// rest is covered by a later claim than what stood before it. Moved the other way
// round the tail would be tried first.
//
// # Why log before park-behind
//
// A parked entry keeps no payload; the event's row in the log has it. An entry
// read for a parked entity is therefore logged like any other first, and moved
// behind its entity only then.
//
// # Delayed signals
//
// A refresh of a kind without events, and a second look at a read that may
// have been too early, are signals with a time before which they are not to be
// followed. The worker holds them in a heap without acking them: Redis still
// has them, so a crash forgets nothing, and no script needs to know of them.
//
// # Whose clock
//
// The wall clock is for what is written down. It may be set at any time, by an
// hour or more, and nothing waits by it: a lease goes by the holder's monotonic
// clock; due times, pauses, the turn to probe, since when an entity is said to
// be gone and since when an answer is doubted by Redis' clock; and what is held
// back by the monotonic clock from when it was read, for no longer than its
// sender can have meant.
//
// # Signals without an event
//
// A signal of a sweep or an operator leaves no row and no letter. That of a
// discrepancy tells the discrepancy how its repair ended, in the same breath as
// events are settled: repaired once a fetch after it was written or found
// unchanged (a tombstone is a write too), failed when it was given up or when
// the answer was not taken because it lacked history.
//
// # When we are mistaken ourselves
//
// A panic while an entity is synced is that entity's affair alone: a dead letter
// with the stack. A panic in a loop is nobody's: it is put on record, whatever
// the loop may have had in hand is given up with its shards, and after a pause
// that grows the shards are taken again and their pending lists read anew.
//
// # Who is told
//
// A dead letter is told of by whoever buried it, after it is on record; a
// history that was rewritten by whoever wrote it; a source that is paused and
// wants a human by the worker that holds shard 0, which notes with the pause that
// it did. A worker that dies between the deed and the telling is followed by one
// that does both again: an alert may come twice, and does not fail to come.
//
// # Stopping
//
// On SIGTERM reading stops first, then no further sync starts, those under way
// have a few seconds to finish, their settlements and acks are flushed, and
// only then are leases released, so that successors start at once with nothing
// half-settled. What was read and not begun is in the pending list, where the
// next owner takes it over in order.
package worker
