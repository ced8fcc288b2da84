// Package limits measures what failures cost, on a whole fleet of processes:
//
//	takeover  kills of a worker: until an entity that was in flight settles
//	outage    a provider that was down: how fast the backlog drains, and with
//	          how many requests
//	parked    what entities that fail cost the others
//
// Each prints one line that says whether its limit was kept. Times depend on the
// machine, but the limits do not: they are of leases, of the provider's rate, and
// of ratios between interleaved rounds.
package limits
