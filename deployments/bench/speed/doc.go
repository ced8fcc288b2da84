// Package speed measures what an event costs: events a second, and, since those say
// more about the machine than about the code, CPU time, memory and Redis commands.
//
//	fleet    a backlog that one worker settles, alone or in turn with peers
//	steps    each step of an event's way by itself
//	idle     a worker that has nothing to do
//	memory   a worker that is far behind
//	latency  from an event's being sent until its document can be read
//	size     the same with a short and a long log
//
// What is measured is a process of its own (but for steps, which run in this one):
// redis-server with the append-only file synced every second, the worker's binary as it
// ships, and a provider that answers from memory and is counted apart. The store is a
// SQLite file, synchronous FULL, or a MongoDB by its URI, write concern majority.
// Backlogs are in the streams before the worker starts, so that what feeds it is not
// measured.
package speed
