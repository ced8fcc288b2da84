// Command chaos breaks everything that can break while events flow, then stops all
// faults, and compares the result with the truth.
//
//	make chaos DURATION=120s SEED=7 [STORE=mongo] [ODD=1] [PROVIDER=stripe]
//
// It runs two apis, three workers, a reconciler and the simulator as processes
// on a real redis-server (append-only file, synced always) and one store; see
// package fleet. From one seed it draws which fault happens when, and prints each
// as it happens. At the end it prints two lines. It exits with 1 unless events were
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
// Consumers follow the change feed meanwhile: one all kinds in a stream, one some kinds in
// pages, and one is sent all kinds by an outgoing webhook. They are killed, lose what they
// had not stored, and keep the greater version of each entity. The first two go on from their
// stored cursor at either api. The third refuses connections until it is back; it answers late,
// not at all, by 500 or by 429 too, and accepts a message only once it has stored it. Now and
// then each begins again with a snapshot. A line says what became of them, of which the
// middle four figures must be 0 too:
//
//	feed: consumers=3 missing=0 backwards=0 holes=0 stuck=0 resyncs=…
//
//	missing        entities of which the copy of a consumer is not what the mirror
//	               holds, once all is calm, and commands that are over or asked of
//	               which a consumer has not the last state, unless they came to that
//	               before it last read a snapshot
//	backwards      times a consumer that asks was sent an older version of an entity after
//	               a newer one, in the same connection or in a later one
//	holes          places where the log of the feed is not a chain
//	stuck          consumers that are not at the end of the feed, or to which something is
//	               still to be sent
//	resyncs        times a cursor was gone, so that a consumer read everything again
//
// With -commands, as make chaos has it, an application asks for changes at the provider meanwhile, by the api and by the
// outbox (on FerretDB a row is inserted by itself, since that has no transactions): it makes orders and withdrawals, confirms and cancels them; of Stripe it makes
// products and prices, changes and deletes them. It repeats a request under the same key
// until it is answered, and takes some back. Some answers are lost after the effect, some are
// errors in spite of it. Once all is calm, an operator who looks at the provider answers
// what is asked. A line says what became of it all, by what the provider knows, of which
// the eight figures from lost on must be 0 too:
//
//	commands: promised=… done=… dead=… cancelled=… asked=… lost=0 doubled=0 denied=0
//	          misordered=0 limbo=0 uncovered=0 rebytes=0 needless=0 attempts=… repeats=…
//
//	promised       wishes that the api answered 2xx, or that the outbox has
//	asked          questions to the operator
//	lost           those that are not in the store, that are done and had no effect, or
//	               that name what another one has made
//	doubled        those with more than one effect, and effects that none asked for
//	denied         those that are dead or cancelled, and had an effect
//	misordered     effects, and numbers, of one entity in another order than that in which
//	               they were asked for
//	limbo          those that are neither over nor asked
//	uncovered      those that are done though no fetch after the answer is in the mirror
//	rebytes        those that were sent with other bytes than the first time
//	needless       those that are asked though every attempt was answered
//	attempts       requests that the provider got
//	repeats        effects that came again, of operations for which twice is as once
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
