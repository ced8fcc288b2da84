// Command chaos breaks everything that can break while events flow, then stops all
// faults, and compares the result with the truth.
//
//	make chaos DURATION=120s SEED=7 [STORE=mongo] [ODD=1] [PROVIDER=stripe]
//
// It runs two apis, three workers, a reconciler and the simulator as processes
// on a real redis-server (append-only file, synced always) and one store; see
// package fleet. From one seed it draws which fault happens when, and prints each
// as it happens. At the end it prints one line. It exits with 1 unless events were
// accepted, the next five figures are 0, and no process ended by itself:
//
//	chaos: accepted=… lost=0 wrong=0 regressed=0 inversions=0 unsettled=0 dead=… …
//
//	accepted       events that were answered 2xx at least once
//	lost           those that are not in the event log
//	wrong          entities whose mirror is not the provider's truth, those with
//	               open dead letters too, and entities that the mirror has not
//	regressed      times the mirror showed an older version of an entity after a
//	               newer one, or one that never was; seen in the database's own
//	               order. Lists inside an entity of Stripe that its GET does not
//	               show whole are left out, since they come with later requests
//	inversions     times a covering claim decreases along an entity's stream
//	unsettled      events that are open, and entries and parked entities that
//	               are left in Redis, when the time to drain is over
//	dead           dead letters that are open
//	superseded     dead letters that a later good sync made pointless
//	duplicates     deliveries of events that the log had already
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
// until all is calm, in every way of package simulator: answers that are not the
// entity, are cut or trickle; entities that are locked, move or are gone by 410;
// pages that fail, never end or are too long; events with unusual times. -odd=cut,gone
// means those two, -odd=-future all but that one. None of them lasts, so the figures
// must be the same, and a dead letter fails the run: oddities may not cost any.
//
// With PROVIDER=stripe the provider never shows an entity as it was some time ago, which
// Stripe does not: a GET reads what has been written. Its objects have no history that
// would prove them to be old, so the mirror would show that too, until its second look.
//
// fault.go has a function for each fault, schedule.go decides when. A seed repeats
// the schedule; processes and the network are not deterministic.
//
// # Calm
//
// When the time is over all stopped processes run again, the provider answers
// normally, and parked entities are made due, as operators do after an outage. No
// webhook is lost for good here: the simulator repeats each until it is accepted.
// Command drift loses webhooks.
//
// # Controls
//
// A check that cannot fail proves nothing. With -off, one guarantee is switched
// off in a build with the tag "fault", and the run must fail: see the tests.
package main
