// Package reconciler finds what webhooks did not bring into the mirror, and has
// the workers repair it. Any number of replicas share the work without a leader.
//
// # What runs when
//
//	every            what          finds
//	gaps.every       gaps          events that never came, in the provider's event list
//	recover.every    recover       work that Redis has lost, in the event log
//	sweep.every      sweep         entities that differ, in the provider's lists
//	at most 5 s      judge         which differences are reported
//	24 h             subscription  event types that the provider does not send; every
//	                               hour while there are some
//	1 min            staleness     the age of the mirror, as a metric
//	on a ring        feed          changes that the change feed lacks, see package feed
//	at most 5 s      queue         the work that waits for workers, as metrics
//	on request       sweep, backfill, verify, gaps, redrive, discard, discard of a source
//
// A source whose provider does not list its events has no gaps.
//
// The first sweep of a source is a backfill: what the mirror lacks then is
// fetched, and is no discrepancy.
//
// # One difference, from finding to verdict
//
//	        record             grace             worker
//	compare ──────▶ suspected ───────▶ confirmed ───────▶ repaired or failed
//	                  │  └───────────▶ dropped, if an event explains it
//	                  └ signal ▶ a worker fetches the entity and writes it
//
// A sweep starts when it is due (schedule.go). It makes partitions (sweep.go), and any
// replica takes one (member.go, partition.go). A partition walks a list, page by page
// (survey.go), within the source's rate (ask.go). It compares each element with the
// document in the mirror (compare.go). If they differ, it asks for the entity by id,
// since a list may be older than a GET (check.go); an entity that the mirror lacks needs
// no second question. What no list showed is checked by id in the end.
//
// A difference is recorded as suspected, and then a signal is appended, so the worker
// that owns the entity fetches it (repair.go). Repair does not wait for the verdict: a
// needless fetch costs one call, a late one leaves the mirror wrong.
//
// The judge decides once grace has passed and workers have read every event that was
// accepted by then (judge.go). If an event explains the difference, it is dropped.
// Otherwise it is confirmed and counted. One alert is raised for each type of
// difference among those confirmed together. The worker that made the repair notes how
// it ended.
//
// # When an event explains a difference
//
// A claim is the fencing token of a fetch: a counter on the document that a worker
// raises before it asks the provider. Claims order fetches and comparisons without
// comparing the clocks of two hosts. An event explains a difference if
//
//   - its work is not done yet, or
//   - its fetch was written under a higher claim than the mirror had when it was
//     compared, and brought the state that the provider showed then, or
//   - it brought another state, the mirror still has that state, and the provider,
//     asked once more, has it too.
//
// A kind without events of its own is refreshed after the events that make it stale.
// A refresh that is on its way explains a difference; one that is overdue does not.
//
// No fetch repairs a shared id: the provider has two entities with one id under two
// parents, though the definition says that ids are unique. The mirror keeps the one
// it has. Every sweep records this difference under the same id, so one alert is
// raised.
//
// # Missed events
//
// The search for missed events has a mark: every event created before it has a row
// in the log. A reading begins an overlap before the mark. An event without a row is
// looked up again a second later, then appended as its webhook would have been, and
// recorded as missed. The mark moves as far as every listed event has a row. If it
// stays where it is for too long, an alert is raised.
//
// # What it may write
//
// In Redis it appends signals, removes hints of the change feed, takes leases and budget, and pauses and resumes
// sources. In the store it writes tasks, discrepancies, the log of the change feed and
// fed of documents that are in it, verified_at of documents that are true, what becomes of dead letters, and which entries carry work that was
// appended again. Closing dead letters changes open_letters and behind of documents.
// A discard of a source also removes its streams, logs its events, buries its work, and
// notes events that the store refuses. It never writes a document's state: an entity
// has one writer, the worker that holds its shard.
//
// # Tasks
//
// All work but the schedule and the figures of the queue is tasks in the store. Each
// has a lease in Redis under its name, and only the holder of the lease works on it. A
// standing task (gaps/lemon, recover/lemon, judge/lemon, subscription/lemon,
// staleness/lemon, feed/lemon) never ends: every replica tries for its lease, and one of them has
// it. Replicas take all other tasks from queues. Sweeps and partitions have a queue for
// each source, so a paused source delays its own only. Jobs on dead letters share one
// queue. They do not ask the provider.
//
//	          lease                    no error
//	waiting ─────────▶ running ───────────────────▶ done
//	    │                │ ▲ │   error
//	    │                │ │ ├────────────────────▶ failed
//	    │  not over yet, │ │ │   a cancel was requested
//	    │    lease lost, │ │ └────────────────────▶ cancelled
//	    │       SIGTERM, │ │ lease, by any              ▲
//	    │        kill -9 ▼ │ replica                    │
//	    │               unheld                          │
//	    └───────────────────────────────────────────────┘
//
// A task that is unheld is stored as running.
//
// A task saves its progress under the epoch of its lease. Each holder has a higher
// epoch, and the store refuses a lower one than it has. So a replica that was stopped
// for a minute, and does not know that it lost the lease, cannot undo the progress of
// its successor.
//
// Progress is saved after the work it stands for. Killing a replica skips nothing and
// repeats at most the work since the last save, so all work can be done twice.
//
// A sweep makes its partitions and looks now and then whether they are over. It never
// waits for them, so one replica with one free place finishes it.
//
// A sweep is done if it got all it asked for. If a list could not be read whole, or
// workers did not get an entity, the sweep has failed: its outcome names what is
// missing, its other findings are valid, and the next sweep asks again. Entities that
// could not be checked are named too; they fail only a verification. A cursor of
// the provider is kept to resume quickly. If the provider refuses it, the list begins
// again.
//
// # Files in the order of the story
//
//	reconciler.go     options; starts every loop
//	loop.go           a loop that is restarted when it fails
//	schedule.go       starts sweeps that are due
//	member.go         takes tasks: standing ones, and those of a queue
//	work.go           one task under its lease: begin, save, end
//	runners.go        the runner of each kind of task
//	engine.go         the tasks that look for differences
//	ask.go            asks the provider within the source's rate
//
//	sweep.go          a sweep: plan, phases, sums
//	  partition.go      one part of a sweep
//	  survey.go         walks lists, compares pages
//	  pages.go          the bounds of a list
//	  lists.go          lists that begin again or cannot be read whole
//	  emptied.go        root lists, and one that is suddenly empty
//	  check.go          asks by id for what no list shows
//	  due.go            when an entity must be there, and when all of it is checked
//	  compare.go        what an answer means for a document
//	  patch.go          a difference as an RFC 6902 patch
//	  repair.go         records differences, signals workers
//	  fill.go           waits for workers; what they did not get
//	  swept.go          the kinds and lists of which a sweep is finished
//	  outcome.go        what a sweep did not get, and its alerts
//
//	gaps.go           events that never came
//	  gapsrepair.go     appends and records them
//	  gapslong.go       events too long for the log
//	  gapsmark.go       the mark, and what keeps it
//	  gapsorder.go      times and order of the provider's list, checked
//	scopes.go         the accounts that a platform sees: their lists of events, and those that refuse us
//
//	judge.go          the verdict
//	  derived.go        differences that a refresh on its way explains
//
//	recover.go        work that Redis has lost
//	jobs.go           dead letters, redriven or discarded by filter
//	discardsource.go  the work of an unconfigured source, discarded
//	subscription.go   the event types that the provider sends
//	freshness.go      the age of the mirror
//	outbox.go         commands of what applications insert
//	feed.go           the sequencer of the change feed
//	  fuse.go           commands are held once the database was restored
//	queue.go          the work that waits for workers, and whether there are any
//
//	deliver.go        sends changes to the receiver of an outgoing webhook; package
//	                  delivery says what is next, package outgoing sends
//	  deliverread.go    reads the feed, and snapshots
//	  deliversend.go    makes messages of what is true
//	  steer.go          does what operators ask of it
//
//	backfill.go, verify.go   the two commands
//	  progress.go, waits.go    what they show, and what they wait for
package reconciler
