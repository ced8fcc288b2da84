// Command standalone is all of Tarn in one process, for a first look and for
// development: a simulated provider, the api, two workers and the reconciler,
// with redis-server as a child and SQLite as the store.
//
//	simulator ──webhooks──▶ api ──▶ redis-server (child, append-only file)
//	    ▲                                 │
//	    └────────── fetches ───── worker, worker ──▶ .tarn/tarn.db
//
// Everything it keeps is below one directory, .tarn: the queue, the mirror and
// the simulator's world, so a second start goes on where the first one ended.
// The parts are the same ones the separate binaries run.
//
// What ends first matters: the api and the workers go while Redis and the
// provider are still there, then the simulator, then Redis.
package main
