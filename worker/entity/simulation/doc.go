// Package simulation runs a whole fleet on the entities' state machine: workers
// with leases, Redis, the store, the api, the reconciler's recovery and a provider,
// all simulated, on one clock and in one goroutine. A run takes milliseconds and is
// decided by its Plan alone.
//
//	make explore DURATION=60s [SEED=7]
//
// Only package entity and the definition of the provider are real. What package
// worker does around the machine is done here as well, with the same steps in the
// same order: compare intake.go with worker's, shard.go with machine.go, run.go and
// sync.go. The methods of type redis do what the scripts of package stream do, those
// of type store what a storage.Store does.
//
// # What goes wrong
//
// Every message takes a random time. On a bad network, requests and answers are
// lost, come late or come twice. Workers are killed, stopped for a while, ended in
// good order, and their clocks are set. Redis and the store are away or lose
// everything. The provider shows old states, is down, slow, throttles, refuses, or
// does so for one entity alone. It takes back history, moves and deletes entities.
// Operators erase entities, and restore them.
//
// # What must hold
//
//	early      an entry leaves Redis only when its work is done or stands elsewhere
//	order      along an entity's live entries the covering claim never decreases
//	coverage   the covering claim was taken after the entry came, and written
//	backwards  an answer does not replace one that was asked for later, nor a
//	           state with more history
//	erased     from its erasure on nothing is asked of an entity, but under a claim
//	           that was taken before, and no state is written, until it is restored
//	charged    an attempt is counted, and work is buried, only for failures of
//	           the provider with the entity since the entry came
//	lost       every accepted event is in the log, once all is calm
//	unsettled  no work is open, and nothing is left in Redis, once all is calm
//	wrong      the mirror is the provider's truth, once all is calm
//	untold     the change feed has the last change of every entity, once all is
//	           calm, by hints alone unless Redis has lost them
//
// The first six are checked at each step. "Once all is calm" means that nothing
// goes wrong any more, and operators have made due what is parked (as in command
// chaos), redriven what is dead, and synced what a signal was given up for.
//
// # What is left out
//
// A settlement is not fenced by the lease. One that arrives when the next owner has
// settled a part of the same batch is covered by a lower claim than what came
// before it. Nothing is lost or wrong then, but order is broken on record. Here
// settlements arrive within the margin that a lease leaves.
//
// Some errors only a sweep finds, and there are no sweeps here. So plans do not
// combine what needs one: reads that lag with widgets that enter a status again,
// are deleted or lose history; reads that lag with clocks that are set or parts
// that move; a Redis that loses everything with histories that are rewritten; the
// restoring of what was erased with either, or with parts that move.
package simulation
