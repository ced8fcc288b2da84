// Package scale works out on paper what a larger fleet carries, from what one event
// was measured to cost.
//
// Each part of a fleet has a capacity: the time it has in a second, divided by the time
// an event costs it. The part with the least capacity is the bound. Work is not spread
// evenly: shards are placed on workers and on masters of Redis by hash. So each capacity
// is divided by the load of the busiest worker or master, which is found by placing
// the shards as a fleet does.
//
// What it leaves out: networks between machines, which add to latency and not to cost;
// replicas of Redis, which follow a master at no more than its own cost; and waiting,
// so a part should be planned at no more than 70 % of its capacity.
package scale
