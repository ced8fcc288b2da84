// Command standalone is all of Tarn in one process, for a first look and for
// development: a simulated provider, the api, two workers and the reconciler,
// with redis-server as a child and SQLite as the store.
//
//	simulator ──webhooks──▶ api ──▶ redis-server (child, append-only file)
//	    ▲                                 │
//	    └────────── fetches ───── worker, worker ──▶ .tarn/tarn.db
//
// The provider is lemon or, with --provider stripe, Stripe.
//
// A few things go wrong at the provider on purpose, unless --troubles=false: see
// trouble.go. The settings are those of a first look: the reconciler looks more often
// than in production.
//
// All its data is in one directory, .tarn or .tarn/stripe: the queue, the mirror and the
// simulator's world, so that a second start continues where the first one ended.
// The parts are those that the separate binaries run.
//
// The api, the workers and the reconciler stop first, while Redis and the provider
// still answer; then the simulator, then Redis.
package main
