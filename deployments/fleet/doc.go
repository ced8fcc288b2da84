// Package fleet runs Tarn as its users do, in separate processes on a real Redis
// and a real store, against the simulator, and compares the result with the
// simulator's truth. The end-to-end tests and the commands chaos, drift and most of
// bench are built on it; it does not import package testing.
//
//	simulator ──webhooks──▶ balancer ──▶ api, api ──┐
//	     ▲                                          ├─▶ link ─▶ redis-server
//	     └──── GET ◀── worker, worker, worker ──────┤
//	     │                                 reconciler
//	     │                                          └─▶ store: one SQLite file, or
//	     └─ truth, events, history ── compare ──▶        a MongoDB server (mongotest)
//
// The link is a TCP proxy that loses replies, cuts and refuses connections. Every
// process can be killed, frozen, stopped and started again. Its output goes to a
// file, and its metrics are read each second so that they outlive it.
//
// Files, top to bottom:
//
//	program.go    the binaries, built once
//	plan.go       the parts of a fleet, and its settings file
//	fleet.go      starting it, ending it, adding members
//	attach.go     looking at one that something else runs
//	member.go     one process that can die and come back
//	process.go    a running program
//	address.go    addresses that stay free
//	balancer.go   one address before several apis
//	network.go    hosts of their own for members
//	database.go   the store they share
//	restore.go    copying it, and putting an older copy in its place
//	simulator.go  controlling the provider
//	odd.go        the ways in which the provider may be odd
//	consumer.go   following the change feed
//	receiver.go   being sent it, by an outgoing webhook
//	told.go       which states of commands they were given
//	operate.go    acting as an operator
//	metrics.go    sums of the members' metrics
//	log.go        the event log, and the work that is left
//	lines.go      lines that no log of a member should have
//	truth.go      comparing the mirror with the truth
//	order.go      the order that the log shows
//	application.go  a program that asks for changes at the provider
//	promise.go    comparing what became of them with what the provider did
//	recovery.go   how long shards were without a reader
//
// Members may be added, listed and used by several goroutines at a time. Start and Close
// are for one.
package fleet
