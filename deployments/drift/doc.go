// Command drift proves that the mirror becomes true where events are missing.
//
//	go run ./deployments/drift -seed 7
//	make drift SEED=7
//	make drift DELAY=50ms     # a slow store: writes overlap with what sweeps read
//	make drift ENTITIES=20    # a small mirror
//	make drift ODD=1          # an odd provider
//	make drift PROVIDER=stripe
//
// It runs a fleet of processes (package fleet): the simulator, an api, two
// workers, a real redis-server, SQLite. Five phases:
//
//	fill    a backfill reads what is there before any event
//	whole   a load over accounts and orders of whose webhooks none is lost
//	lossy   a second load, with the simulator's life beside it. 30 % of their
//	        webhooks are lost, some come late or twice, and the api is killed and
//	        away for longer than the sender tries.
//	silent  once all that came is in the mirror, 5 % of accounts, persons and
//	        orders (of Stripe, of nearly everything) are changed and 1 % of the
//	        orders (of Stripe, products) the mirror has are deleted, without any
//	        event. Of Stripe this waits until no second look at an entity, which
//	        explains a difference, is to come.
//	sweeps  two reconcilers start. Life goes on meanwhile, with late and doubled
//	        webhooks of which none is lost. In the middle of a sweep one of the
//	        two, drawn by the seed, is killed for good.
//
// With -odd the provider is odd as well, in every way of package simulator: while
// events come, and while the sweeps run until the world stops changing, but not
// while it is compared. Orders move to other accounts meanwhile, with events that
// say so, and 1 % of those the mirror has move without an event. None of the
// oddities lasts, so the figures must be the same. -odd=cut,gone means those two
// ways, -odd=-future all but that one.
//
// The run ends when the sweep that was cut off and one begun after it are done,
// all discrepancies are judged, and no work waits. Then the mirror is compared with
// the simulator's truth, and the store's discrepancies with what was injected. The
// last line is
//
//	drift: injected=… found=… false=… repaired=… remaining=… event_gaps=… deletes=… api_calls=… wrong=…
//
//	injected    webhooks that never came, entities changed silently, entities
//	            deleted silently, orders moved silently
//	found       discrepancies confirmed, whether repaired or not. Mostly fewer
//	            than injected: an entity that a missed event names is repaired by
//	            that event, often before a sweep sees that it was changed too
//	false       discrepancies confirmed without a difference: an event that came
//	            by itself, an entity whose mirror was true before the sweeps began,
//	            or that was made since. The balances of settlement accounts, and
//	            Stripe's balance, move without any event: a discrepancy of
//	            those is never false
//	repaired    discrepancies confirmed whose entity a worker has made true
//	remaining   injected differences that are still there: events without a row
//	            in the log, entities that differed before the sweeps and still do
//	event_gaps  missed events among the found
//	deletes     tombstones in the mirror
//	api_calls   answers of the provider's API while sweeps ran, to any process
//	wrong       entities whose mirror is not the truth in the end, tombstones and
//	            entities that are missing included, except those that differ in
//	            volatile fields alone
//
// The exit status is 1 unless false, remaining and wrong are 0.
//
// Files, top to bottom:
//
//	main.go     flags
//	run.go      the phases
//	inject.go   makes differences and records them
//	sweeps.go   two reconcilers, one killed
//	compare.go  mirror and truth
//	verdict.go  the figures
package main
