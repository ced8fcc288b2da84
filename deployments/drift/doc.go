// Command drift proves that the mirror becomes true where events failed.
//
//	go run ./deployments/drift -seed 7
//	make drift SEED=7
//	make drift DELAY=50ms     # a slow store: writes overlap with what sweeps read
//	make drift ENTITIES=20    # a small mirror
//	make drift ODD=1          # an odd provider
//
// It runs a fleet of processes (package fleet): the simulator, an api, two
// workers, a real redis-server, SQLite. Five phases:
//
//	fill    a backfill reads what is there before any event
//	whole   a load over accounts and orders of whose webhooks none is lost
//	lossy   a second load, and a living world beside it. Of their webhooks 30 %
//	        are lost, some come late or twice, and the api is killed and away for
//	        longer than the sender tries.
//	silent  when all that came is in the mirror, 5 % of accounts, persons and
//	        orders are changed and 1 % of the orders the mirror has are deleted,
//	        without any event.
//	sweeps  two reconcilers start. The world goes on meanwhile, with late and
//	        doubled webhooks of which none is lost. When a sweep is in the
//	        middle, one of the two, drawn by lot, is killed for good.
//
// With -odd the provider is odd as well, in every way of package simulator, but
// for the moments in which something is compared with it: while events come, and
// while the sweeps run until the world stands still. Orders move to other accounts
// meanwhile, with events that say so, and 1 % of those the mirror has move in
// silence. Nothing of it is for good, so the figures are the same. -odd=cut,gone
// is those two ways, -odd=-future all but that one.
//
// The end is when the sweep that was cut off and one begun after it are done,
// all findings are judged, and nothing waits. Then the mirror is compared with
// the simulator's truth, and what the store says was found with what was
// injected. The last line is
//
//	drift: injected=… found=… false=… repaired=… remaining=… event_gaps=… deletes=… api_calls=… wrong=…
//
//	injected    webhooks that never came, entities changed silently, entities
//	            deleted silently, orders moved silently
//	found       discrepancies confirmed, whether repaired or not. Mostly fewer
//	            than injected: an entity that a missed event names is repaired by
//	            that event, often before a sweep sees that it was changed too
//	false       discrepancies confirmed about what never differed: an event that
//	            came by itself, an entity whose mirror was true before the sweeps
//	            began, or that was made since. The balances of settlement accounts
//	            move without any event: a finding about those is never false
//	repaired    discrepancies confirmed whose entity a worker has made true
//	remaining   injected differences that are still there: events without a row
//	            in the log, entities that differed before the sweeps and still do
//	event_gaps  missed events among the found
//	deletes     tombstones in the mirror
//	api_calls   answers of the provider's API while sweeps ran, to any process
//	wrong       entities whose mirror is not the truth in the end, tombstones and
//	            entities that are missing included
//
// The exit status is 1 unless false, remaining and wrong are 0.
//
// Files in the order of the story:
//
//	main.go     what is asked for
//	run.go      the phases
//	inject.go   making differences, and remembering which
//	sweeps.go   two reconcilers, one killed
//	compare.go  mirror and truth
//	verdict.go  the figures
package main
