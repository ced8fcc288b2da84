// Package speed measures what an event costs: events a second, and, since those say
// more about the machine than about the code, CPU time, memory and Redis commands.
//
//	fleet    a backlog is settled by one worker
//
// Everything that is measured is a process: redis-server with the append-only file
// synced every second, one worker as it ships, and a provider that answers from
// memory and is counted apart. The store is a SQLite file, synchronous FULL. The
// streams are filled before the worker starts, so that what is measured is the worker
// and not what feeds it.
package speed
