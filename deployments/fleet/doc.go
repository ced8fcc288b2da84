// Package fleet runs Tarn as its users do, as processes of their own on a real
// Redis and a real store, against the simulator, and compares what it did with
// the simulator's own truth. Programs and tests that prove something are built
// on it; it knows nothing of testing.
//
//	simulator ──webhooks──▶ balancer ──▶ api, api ──┐
//	     ▲                                          ├─▶ link ─▶ redis-server
//	     └──── GET ◀── worker, worker, worker ──────┤
//	     │                                 reconciler
//	     │                                          └─▶ store: one SQLite file, or
//	     └─ truth, events, history ── compare ──▶        a MongoDB server (mongotest)
//
// The link is a TCP proxy that loses replies, cuts and refuses. Every process
// can be killed, frozen, stopped and started again; what it prints is in a
// file, and its metrics are read each second so that they outlive it.
//
// Files in the order of the story:
//
//	program.go    the binaries, built once
//	plan.go       what a fleet is made of, and its settings file
//	fleet.go      starting it, ending it, adding members
//	member.go     one process that can die and come back
//	process.go    a running program
//	balancer.go   one address before several apis
//	database.go   the store they share
//	simulator.go  telling the provider what to do
//	odd.go        the ways in which it may be odd
//	operate.go    acting as an operator
//	metrics.go    sums of the members' metrics
//	log.go        reading the event log, and what is left to do
//	truth.go      comparing the mirror with the truth
//	order.go      what order the log shows
//	recovery.go   how long shards were without a reader
//
// A Fleet is for one goroutine, but for its Members, which have a lock each.
package fleet
