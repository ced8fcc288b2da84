// Command chaos breaks everything that can break while events flow, then lets
// it calm down, and compares what is left with the truth.
//
//	make chaos DURATION=120s SEED=7 [STORE=mongo] [ODD=1]
//
// It runs two apis, three workers, a reconciler and the simulator as processes
// on a real redis-server (append-only file, synced always) and one store; see
// package fleet. From one seed it draws what goes wrong when, says so as it
// happens, and at the end prints one line and exits with 1 unless the first
// five figures after accepted are 0:
//
//	chaos: accepted=… lost=0 wrong=0 regressed=0 inversions=0 unsettled=0 dead=… …
//
//	accepted       events that were answered 2xx at least once
//	lost           those that are not in the event log
//	wrong          entities whose mirror is not the provider's truth, both ways,
//	               those with open dead letters too
//	regressed      times the mirror showed a state with less history after one
//	               with more, or one that never was; seen in the database's own
//	               order, for the kinds that carry their history
//	inversions     times a covering claim decreases along an entity's stream
//	unsettled      events that are open, and entries and parked entities that
//	               are left in Redis, when the time to drain is over
//	dead           dead letters that are open
//	superseded     dead letters that a later good sync made pointless
//	duplicates     deliveries of events that were there already, by the log
//	handovers      leases taken; stale_refused: writes that came too late and
//	               were refused. Both from the metrics, so that what a process
//	               counted in the second before a kill may be missing
//	recovery_p99_ms  for every shard that lost its reader to a kill or a stop of
//	               a worker, of Redis or of what Redis held: the time from then
//	               until the first event settled that had come before. The 99th
//	               percentile, with other faults of the same time
//	               included
//
// With -odd (make chaos ODD=1) the provider is odd as well, from the first event
// until all is calm, in every way of package simulator: answers that are none,
// cut or trickle, entities that are locked, move or are gone by 410, pages that
// fail, never end or are too long, events with times of their own. -odd=cut,gone
// is those two, -odd=-future all but that one. Nothing of it is for good, so the
// figures are the same, and a dead letter is one fault more: it may not cost any.
//
// What goes wrong is in fault.go, a function each; when, in schedule.go. A seed
// repeats the schedule; processes and the network have a will of their own.
//
// # Calm
//
// When the time is over everything that was stopped goes on, the provider is at
// its best, and what is parked is made due, as operators do after an outage.
// Webhooks are never lost for good here: the simulator repeats each until it is
// accepted. Those that are lost are the matter of package drift.
//
// # Controls
//
// A check that cannot fail proves nothing. With -off, one guarantee is switched
// off in a build made for it, and the line must turn red: see the tests.
package main
