// Package limits measures what failures cost, on a whole fleet of processes:
//
//	takeover  kills of a worker: until an entity that was in flight settles
//	outage    a provider that was down: how fast the backlog drains, and with
//	          how many requests
//	parked    what entities that fail cost the others
//
// Each prints one line that says whether its limit was held. Times are those of
// this machine, but what limits bound does not depend on its speed: leases, the
// provider's rate, and ratios of interleaved rounds.
package limits
