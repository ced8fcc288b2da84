// Package worker turns signals into a true mirror. A worker holds leases on
// its fair share of shards; any number of workers, up to the number of
// shards, form a fleet without a leader.
//
// # The way of one signal
//
// Files in the order of the story:
//
//	worker.go   what a worker is made of, and how it starts and stops
//	member.go   heartbeat, fair share, taking and handing over shards
//	shard.go    one held shard: renewing, reading, handing over
//	intake.go   a batch as read: log ─ fan out ─ route
//	lane.go     the FIFO of one entity
//	ready.go    lanes that could sync now, by priority, waiting for budget
//	sync.go     lock ─ take ─ claim ─ fetch ─ compare ─ write
//	verdict.go  what a fetched state says about the events it covers
//	settle.go   settlements, many at a time
//	ack.go      acks, many at a time
//	fail.go     what becomes of a sync that failed
//	retry.go    parked entities whose time has come
//	source.go   one source's budget, its failures in a row, pause and probe
//	window.go   how many known entities were suddenly gone
//	delay.go    signals that are not to be looked at yet
//	notes.go    duplicates and rejections, on their way to the audit
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
// Redis, and what comes later is moved behind it while the batch is routed.
//
// # Why parking takes the shard's gate
//
// The read script says of each entry whether its entity is parked at that
// moment. If an entity were parked between the read and the routing of the
// same batch, an entry of it in that batch would find no lane, start a new one,
// and be covered by an earlier claim than its predecessors. So the intake loop
// holds the gate from read to route, and parking waits for it.
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
// # Stopping
//
// On SIGTERM reading stops first, then no further sync starts, those under way
// have a few seconds to finish, their settlements and acks are flushed, and
// only then are leases released, so that successors start at once with nothing
// half-settled. What was read and not begun is in the pending list, where the
// next owner takes it over in order.
package worker
