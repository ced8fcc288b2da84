// Package entity is the state machine behind a worker: what becomes of the
// signals of each entity in one shard. It decides everything and does nothing.
// It has no context, Redis, database, HTTP or clock, and writes nothing but log
// lines. The time of day is given to it.
//
// A Shard takes an Input and returns Effects. Its owner runs the effects and
// feeds their results back as further inputs:
//
//	effects := shard.Step(now, entity.Route{Entries: batch})
//	                  │
//	                  ▼   Ready, Claim, Fetch, Write, Settle, Ack, Park, …
//	              the worker
//	                  │
//	shard.Step(now, entity.Done{…}) ◀── what Redis, the store and the provider said
//
// A Shard is for one goroutine at a time. If Config.Random is set, equal inputs lead
// to equal effects, so a schedule of crashes and delays can be run from a seed: see
// package simulation. Each file in testdata is one readable transcript.
//
// # The way of one signal
//
// Files are in the order of the story, and call those below them. The few calls that go
// up return to a phase: a page or the rest is dealt with like the first, a failure is
// decided again, a sync that waited for its lane goes on.
//
//	shard.go    inputs, and the entities of a shard
//	sync.go     one sync: load ─ lock ─ take ─ perform commands, if hinted ─ claim
//	ask.go      the provider is asked, under one parent set or several
//	verdict.go  does the answer show what is known?
//	write.go    believe ─ record ─ write ─ look again
//	outcome.go  what the log says of each event
//	failure.go  the fate of a sync that failed
//	park.go     head settled ─ counted ─ gate ─ parked
//	bury.go     dead letters
//	retry.go    what was parked, page by page
//
// What all of them use:
//
//	lane.go     the queue of one entity
//	gate.go     reading and parking take turns
//	batch.go    what the signals of a sync say
//	facts.go    what is known by now
//	parents.go  the parents an entity may be under
//	state.go    what is kept with a parked entity
//	step.go     from one effect to the next, and how a sync ends
//	effect.go   everything that the machine may ask for
//
// # Lanes and batches
//
// A lane is the queue of one entity, in stream order. One sync at a time works
// on it. A sync takes as its batch what waits at the moment before its claim, up
// to the first signal that names more parents than one sync asks. The answer that
// it gets after the claim covers the whole batch. It may take one request for each
// set of parents:
//
//	      batch                     rest
//	lane  [ e1 e2 e3 | e4 e5 ]            e4 and e5 came after the claim:
//	        covered by claim 7   waiting  they wait for claim 8
//
//	             Route                      Start
//	(nothing) ───────────▶ ready ─────────────────────▶ syncing
//	    ▲                  │ ▲ ▲                           │
//	    │                  │ │ │         more came         │
//	    │                  │ │ ├───────────────────────────┤
//	    │                  │ │ │ Woke                      │
//	    │                  │ │ └─────────── resting ◀──────┤
//	    │                  │ │ Due                         │
//	    │                  │ └───────────── parked ◀───────┤
//	    │                  │ Spill            ▲            │
//	    │                  └──────────────────┘            │
//	    └──────────────── lane empty ──────────────────────┘
//
// What costs no attempt and ends soon waits in its lane, which rests: a claim that
// was lost, a read that lags, a source that is paused, a store or Redis that is
// away. What takes longer is parked.
//
// # Covered, settled, acked
//
// A batch is covered once the answer is written. It is settled once the log
// holds its outcome, and acked once Redis has forgotten it. The lane goes on as
// soon as its batch is covered, while the settlement is on its way. Until then
// the lane has an unsettled head.
//
// # What the change feed may lack
//
// The claimed document says whether the change feed has its version, and a write that
// changes what the document says makes a new one. Ack and Unpark carry a version that the
// feed may lack, so that its hint is left in the step that removes the entries: either
// they are pending, and the next sync sees the same, or the hint is there.
//
// # Why parking waits for the head
//
// Suppose the worker parks the rest of a lane and dies before the head is
// settled. Its successor finds the head pending and the rest parked. It tries
// parked entities first, so it covers the rest by a lower claim than the head:
// out of order. So a sync that has to park waits until the head is settled. A
// lane with an unsettled head is not spilled either.
//
// # Why parking takes the gate
//
// The read script says of each entry whether its entity is parked at that
// moment. Suppose an entity is parked between the read and the routing of the
// same batch. An entry of it in that batch finds no lane, starts a new one, and
// is covered by an earlier claim than its predecessors. So the reader holds the
// gate from before the read until the batch is routed, and a Park is emitted
// only while no reader holds it.
//
// # Why the parts are cut here
//
// One machine for each sync, with its lane, is small enough to be read from top
// to bottom: each step names the effect it waits for and the step that comes
// next. Budgets, concurrency and the condition of a source are shared by
// entities of many shards. They stay with the worker. The machine learns
// of them by Start and by the answers to Consult.
package entity
