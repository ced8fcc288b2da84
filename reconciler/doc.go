// Package reconciler makes the mirror true even when webhooks never came: it
// looks for what events missed, and has it repaired. Any number of replicas
// divide the work among them without a leader.
//
// # The way of a difference
//
// Files in the order of the story:
//
//	reconciler.go    what a reconciler is made of, and what it starts
//	loop.go          a loop that is started again when it dies
//	schedule.go      sweeps are started when they are due
//	member.go        tasks are taken: standing ones, and those of a desk
//	work.go          one task under its lease: begun, saved, ended
//	runners.go       which runner does what
//	engine.go        the tasks that look for differences
//	ask.go           asking the provider within the fleet's budget
//	gaps.go          events that never came
//	gapsrepair.go    what is missing is appended, and put on record
//	gapsmark.go      how far that search is, and what keeps it
//	gapsorder.go     what that rests on: times and an order that are checked
//	pages.go         the bounds of a list
//	sweep.go         a sweep from planning to its sums
//	fill.go          waiting for workers, and what they could not have
//	outcome.go       what a sweep could not have, and telling of it
//	swept.go         which kinds, but for which lists, a sweep has been finished of
//	partition.go     one part of a sweep
//	survey.go        walking lists and comparing pages
//	lists.go         lists that are begun again, or did not come whole
//	emptied.go       root lists, and one that went from something to nothing
//	check.go         checking by id what no list shows
//	due.go           when an entity must be there, and when it is asked for whole
//	compare.go       what an answer means for a document
//	patch.go         a difference as an RFC 6902 patch
//	repair.go        recording differences, signalling workers
//	derived.go       differences that a refresh held back explains
//	judge.go         which differences were none, and telling of the rest
//	recover.go       what Redis has lost
//	jobs.go          dead letters, redriven or discarded by filter
//	subscription.go  what the provider sends webhooks of
//	freshness.go     how old the mirror is
//	queue.go         what waits for the workers, and whether there are any
//	backfill.go, verify.go, progress.go   the two commands
//
// # What it may write
//
// Signals, to Redis. To the store: discrepancies, tasks, verified_at of
// documents found true, and what became of dead letters it redrove. Never a
// document's state: an entity has one writer, the worker that holds its shard,
// so it has one order and one audit trail, however many sweep it.
//
// # Repair does not wait for judgement
//
// What differs is signalled as soon as it is seen; a needless fetch costs a
// call, a late one leaves the mirror wrong. Whether an event was missed is decided
// when grace has passed, since one may have been on its way. A difference that an
// event explains is dropped. The others are confirmed, and alerted on.
//
// An event explains a difference if its work is not done, or if its fetch was
// written under a higher claim than the mirror had when it was compared, and brought
// the state that the provider showed then. If it brought another state, the provider
// is asked once more: the event explains the difference if the mirror still has that
// state and the provider has it too. Clocks of two hosts are not compared.
//
//	             an event explains it
//	suspected ─────────────────────────▶ dropped
//	    │ grace has passed                          repaired
//	    └────────────────────▶ confirmed ──worker──▶ or failed
//
// One difference no fetch repairs: the provider has two entities with one id
// under two parents, though the definition says that ids are unique (shared_id).
// The mirror keeps the one it has. The difference is recorded under one id however
// many sweeps find it, so people are told once.
//
// # Tasks
//
// All work is tasks in the store, each with a lease in Redis under its name. A
// standing task (gaps/lemon, recover/lemon, judge/lemon, subscription/lemon,
// staleness/lemon) never ends: each replica tries for its lease, the one that has
// it works, and when it dies another goes on. All others are taken from desks:
//
//	          lease                       nil
//	waiting ─────────▶ running ───────────────────▶ done
//	    │                │ ▲ │   error
//	    │                │ │ ├────────────────────▶ failed
//	    │         errLater │ │   save: somebody asked for it to end
//	    │   errLostLease │ │ └────────────────────▶ cancelled
//	    │       SIGTERM, │ │ lease, by whoever          ▲
//	    │        kill -9 ▼ │ is free                    │
//	    │              nobody's                         │
//	    └───────────────────────────────────────────────┘
//
// How far a task has come is saved with the epoch of the lease. The epoch grows
// at each hand-over and the store refuses a smaller one than it has, so a
// replica that was stopped for a minute and does not know yet that it lost its
// lease can not set back what its successor has noted. Progress is noted after
// the work it stands for: killing a replica skips nothing and repeats at most
// what was not noted, and all that is done may be done twice.
//
// A sweep is done when it has had all it asked for. One that could not read a list
// whole, or whose workers did not have an entity, has failed: what it compared
// stands, its outcome names what is missing, and the next sweep asks again. A
// cursor of the provider's is kept to go on quickly, and nothing rests on it: one
// that is refused begins its list again.
//
// A sweep is a task that makes other tasks, its partitions, and looks now and
// then whether they are over. It never waits for them, so even one replica with
// one free hand finishes it. Desks are kept apart by source and by kind of
// work: a source that is down holds up its own sweeps, and nobody's jobs.
package reconciler
