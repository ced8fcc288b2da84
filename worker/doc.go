// Package worker keeps the mirror true. A worker holds leases on its share of the
// shards, reads their streams, fetches the entities that signals name, and writes
// what the provider answers. Any number of workers, up to the number of shards,
// form a fleet without a leader.
//
// What becomes of a signal is decided by package entity, a state machine without
// I/O. This package runs it: it reads, fetches, writes and waits, and feeds the
// results back to the machine.
//
// # The way of one signal
//
//	              worker.go    starts and stops everything
//	              renew.go     renews all leases
//	              look.go      what others have changed about the sources
//	              member.go    heartbeat, fair share, taking and releasing shards
//	shard.go      one held shard: its lease and what it has in flight
//	  intake.go     reads a batch: log ─ fan out ─ route
//	    room.go       bounds what all shards read at a time
//	    wait.go       waits until there is something to do
//	    flags.go      events that are incomplete or odd
//	    refused.go    events the store refuses
//	    delay.go      signals that are not to be looked at yet
//	  retry.go      parked entities that are due
//	  spill.go      entries that go behind their parked entity, and lanes parked
//	                since too much is in flight
//	    turnover.go   or waited for, since there is room soon
//	    gate.go       reading and parking take turns
//	  machine.go    gives what has come to entity/, which decides, and passes on
//	                what that decides
//	  source.go     one source: whose turn it is, by budget and slots
//	    ready.go      lanes that wait for their turn
//	  run.go        does what was decided: one run for each sync
//	    sync.go       lock ─ claim ─ fetch ─ write ─ park or bury
//	    perform.go    commands: what is to be changed at the provider, before the claim
//	      send.go       begin ─ send ─ record, or find out what became of it
//	      fuse.go       whether commands wait for an operator, after a restore
//	    remind.go     commands that are due are hinted
//	    parked.go     what waits in Redis for parked entities
//	    unreadable.go entries that cannot be decoded
//	    settle.go     outcomes to the log, many at a time
//	    ack.go        entries out of Redis, many at a time
//	    feed.go       what the change feed may lack of them
//	believe.go    404s: are known entities gone, or is the address wrong?
//	witness.go    is this the account that the mirror is of?
//	budget.go     how fast the fleet may ask a source
//	pause.go      a source that is down, refuses us, or is misconfigured
//	keep.go       loops that panic are started again
//	measure.go    what only Redis and the store know, as metrics
//	notes.go, unconfigured.go
//	undefined.go  kinds that only a newer definition has
//	refusedkind.go
//	              kinds that our key may not read
//	refusedscope.go
//	              connected accounts that took back their permission
//	erased.go     entities whose data an operator has erased
//
// What many of them use:
//
//	trace.go      the spans of a sync
//	further.go    signals that a signal leads to
//	doubts.go     those that too few replicas have confirmed
//	inflight.go   what was read and has not left Redis
//	lean.go       what entries in flight have in common, once for all
//	repeat.go     calls of Redis and the store, repeated while these are away
//	ours.go       is the lease still ours?
//	errors.go     the classes of errors, and what is kept of their texts
//
// A file calls the files below it. The few calls that go up are to the shard's machine,
// which is given results and told whose turn has come, to the list of held shards in
// member.go, and at the end of a pause to believe.go, which forgets the answers before it.
//
// # Why log before park-behind
//
// A parked entry keeps no payload; the event's row in the log has it. So an entry
// read for a parked entity is logged like any other, and only then moved behind
// its entity.
//
// # More than fits in memory
//
// After an outage a backlog may be larger than a worker's memory should be. If
// reading stopped when enough is in flight, each entity would be fetched once for
// every portion it is in, and a drain lives on its budget. So live entries go on
// being read, and live lanes that wait for budget are parked, due at once and
// uncharged. The live backlog is then sorted by entity in Redis, and one fetch covers
// all that waits for one. A source whose requests are not limited needs no such
// sorting: it waits for room, unless that is long in coming. A shard begins few parked
// entities at a time, and those of lower classes get half of these places at most.
//
// An entry that is being read and logged takes several times the memory of one that
// waits in its lane: there are the reply of Redis, the decoded signal, the payload and
// the row of the log. So what all shards of a worker have read and not yet logged has
// one bound, a fifth of InFlight or 3,000 entries. A shard takes room before it reads,
// gives back what it does not need once it knows how much there was, and the rest when
// the batch is in its lanes. It waits for room without its gate. Once an entry is logged
// it keeps neither payload nor the list of what its event names, and shares names, types
// and parents with others. Of a parked entity, one page is in memory at a time.
//
// Background lanes are not parked: the background is not read while live and
// background entries, without delayed ones, reach half of InFlight. The streams of a
// paused source are not read.
//
// The lane that has waited longest goes first, by the ids in the streams. Entities
// that failed before take turns with the others, and hold half of the source's
// slots at most: what made them fail may hold a slot for long. An account gets a
// signal from each event of its orders when that event is read, so it comes after
// the orders, and is fetched once for all of them.
//
// # Commits of one event
//
// From its stream to the mirror an event waits for three commits of the store, one
// after the other: log row, claim, write. The fourth settles it, once its document can be
// read. Calls of different entities share commits. Those of one entity cannot:
//
// The answer to the log row says whether there is anything to sync, and a claim that
// was raised before its signal waits in the lane would void the fetch that is under way
// for earlier signals.
//
// The fetch is between claim and write. It begins when the claim is durable: a claim
// that is lost with its worker would be given again, and until then nothing else tells
// the two fetches apart.
//
// Write and settlement could be one transaction of SQLite, and not of MongoDB, where
// each document is written by itself. No document would be readable sooner.
//
// # Delayed signals
//
// The refresh of a kind without events, and a second look at a read that may have
// been too early, are signals with a time before which they are not to be followed.
// The worker keeps them in a heap and does not ack them. Redis still has them, so a
// crash loses nothing, and no script needs to know of them.
//
// # Clocks
//
// The wall clock is for what is written down. It may be set at any time, so no wait
// ends by it. A lease goes by the holder's monotonic clock. Due times, pauses, the
// turn to probe, since when an entity is said to be gone and since when an answer
// is doubted go by Redis' clock.
//
// Two lengths are taken from the wall clock. How long a signal is delayed is its
// NotBefore less the wall clock when it is read, and at most the longest delay that
// such a signal is given. From then on the monotonic clock counts. A date in
// Retry-After is read in the same way, as an hour at most.
//
// # Signals without an event
//
// Only a signal of an event has a row and can have a dead letter. When another is
// given up, the process log says so. A signal of a discrepancy records on the
// discrepancy how its repair ended, together with the settlements of events. It is
// repaired once a later fetch was written or found unchanged (a tombstone is a write
// too). It has failed when the signal was given up, or when the answer lacked history
// and was not written.
//
// # Commands
//
// A command is a change at the provider, a row of the store; see package outbound. A
// signal of cause "command" is only a hint that a lane has some. A sync whose batch has
// one performs them after the lock and before the claim; any other sync asks for none, so
// that it costs no call more than it did without commands. Those that were answered before
// the claim are done once the state is written.
//
// What becomes of a command does not touch its entity. It waits by its own due time, and
// the lane goes on with what its events ask for. A hint for a parked entity makes that due
// at once, uncharged, and leaves Redis.
//
// The right to send is asked for twice. The move of the row to sending, a compare-and-set,
// lets one worker through. Then a script that is fenced by the shard's lease answers
// whether it is still this one. The request goes out within two seconds of that, by the
// monotonic clock, and early enough to have ended when the attempt counts as lost, or is
// given back. An attempt that this worker surely has not sent is remembered in unsent, so
// that a call of the store whose answer was lost leaves no doubt.
//
// The answer is recorded also if the shard was lost meanwhile. If another has found out
// what became of the command by then, the row has changed and the record is dropped.
//
// A create is performed in the lane of its ref. When the id is known, it and all that
// waits behind it are forwarded to the entity's lane, one after the other, in their order.
// A fetched state with a ref that the mirror's state did not have binds it too, whatever
// has become of the answer to the create.
//
// # Panics
//
// A panic while an entity is fetched, judged or written ends that entity's work alone:
// it becomes a dead letter with the stack. A panic while the entity is buried, parked
// or un-parked gives the shard up, since the machine would answer it by the same step
// again. A panic in a loop, or in the machine, is logged and counted, and the shards
// whose work the loop may have had are given up. Shards given up are acquired again
// after a pause that grows, and their pending lists are read again.
//
// # Alerts
//
// The worker that buried a dead letter raises its alert, once it is stored. The
// worker that wrote a rewritten history alerts of it. The worker that holds shard 0
// alerts of a paused source that needs a person, and notes it with the pause. If a
// worker dies between the deed and the alert, its successor does both again: an
// alert may come twice, and is never missing.
//
// # Stopping
//
// On SIGTERM reading stops first. No further sync begins, those under way have a
// few seconds to finish, and their settlements and acks are flushed. Only then are
// the leases released, so a successor starts at once with nothing half settled.
// What was read and not begun is in the pending list, where the next owner takes it
// over in order.
package worker
