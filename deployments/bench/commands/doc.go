// Package commands measures what commands take: the measurement "commands" of bench.
//
// One api, one worker and one reconciler run on SQLite against a simulated Stripe that
// answers at once. The figures of a command asked for by the api begin with the api's
// answer, those of one left in the outbox with the end of its transaction. Both end with the
// effect, by the simulator's clock, which is this machine's. The limits are those of the
// design; how many commands one worker performs has none, since it is the machine's.
//
// Two more fleets have a provider with a rate. At one of them, events could use one and a half
// times the rate while single commands are asked for. At the other, bulk commands have the
// rate to themselves: how much of it they use, and what those that wait cost the worker.
package commands
