// Package identity sees to it that Redis, the database and the processes of a
// fleet belong together.
//
// A fleet is tied together by nothing but settings: an address of Redis, a key
// prefix, a number of shards and the URL of a database. One wrong line, and two
// fleets share out each other's events, or one half of a fleet waits for what
// the other half writes elsewhere; every process is well, and nothing is right.
// So both sides hold an id, as the nodes of an etcd cluster or the log
// directories of a Kafka broker do, and every process compares them: before it
// begins, and every 2 s from then on.
//
//	database: fleet  id, shape (prefix, shards), data, turn
//	Redis:    {prefix}:identity  fleet, data
//
// # What they say
//
// Absent and different are two things: what is empty was emptied or is new,
// and nothing in it can be mistaken for another's.
//
//	database   Redis     what is done
//	none       none      the fleet is founded, in the database first: its unique
//	                     record decides among several founders. Fleets from before
//	                     there were ids become fleets with one like this
//	X          none      Redis was emptied: it gets X (see below)
//	none       X         refused: a wrong URL looks like this, and so does a
//	                     database that was lost. Option Adopt gives it X
//	X          X         agreed, if the shape and the data agree too
//	X          Y         refused
//
// A database that was put back to an older copy has the same id, and agrees,
// unless Redis was emptied after the copy was made: then the copy knows an older
// data id (see below), which Adopt settles. The shape is there since one database with two prefixes is two halves of a fleet;
// Adopt moves the fleet to the configured one.
//
// # Two Redis, one database
//
// The id of the fleet does not tell a Redis that was emptied from another one
// that is empty: a worker with a wrong redis.url would give it the id, and both
// would agree with the database. So what is in Redis has an id of its own, the
// data id, which the database knows and which is new whenever Redis was found
// empty. Whoever gives it to Redis has written it to the database before, so a
// Redis with another data id than the database's is another Redis.
//
// That alone would let the one wrong process take the fleet away from all the
// right ones. So every process that agrees raises the record's turn, about once
// in 2 s among all of them, and an empty Redis is given an id only once the turn
// has stood still for 10 s: then no process works with another. If the turn goes
// on, there is another, and the process that looks at the empty one is refused,
// for as long as the turn goes on. Turns are counted and not timed, so no two
// clocks are compared. A Redis that lost everything while the fleet runs is empty
// for all of them: they go on working, and 10 s later it has an id again.
//
// Stillness is read as "no process works elsewhere", so an outage must not look
// like it:
//
//   - Redis does not answer: a process that agreed before, and whose record in the
//     database is still the same, goes on raising the turn.
//   - The database does not answer: no process can raise the turn, and none sees
//     it. A look that failed begins the wait again, which leaves the others time.
//   - Redis answers and refuses to write: the data id in the database changes with
//     every attempt to name it. Such a rise is no sign of work elsewhere.
//
// What is left: the whole fleet is cut off from the database for 10 s while a
// process with an empty Redis is not. That cannot be told from a fleet that was
// stopped; the fleet is refused afterwards, and Adopt settles it. The same holds
// for a process that stalls for all of 10 s between a write to the database and
// the one to Redis behind it.
//
// # The order of reading
//
// Every change is written to the database first, so every look reads Redis
// first: an id that is found in Redis is in the database by the time that is
// read. A change between the two reads is seen as an empty Redis, which is waited
// for, and never as a mismatch.
//
// # The cost
//
// Every 2 s each process reads one record of each side, and one process of the
// fleet writes one in the database. While Redis does not answer, each writes.
//
// # What follows
//
// A process that does not agree at its start ends, with an error that names
// both sides. One that agreed before stops reading and acknowledging at once:
// what it has in hand is dropped and taken up again later, since finishing it
// would write it to the wrong side. It is not ready, raises an alert and goes on
// looking; it works again once both sides agree. A side that does not answer says
// nothing, and changes nothing.
//
// The api compares and changes nothing (option ReadOnly): it takes webhooks with
// Redis alone, before the database answers, and whether an empty Redis is the
// right one is for those to say who read it. Once it disagrees it refuses webhooks,
// with 503, so that they come again. The commands verify and backfill change
// nothing either: a command started by hand with a wrong setting must not become
// the fleet. verify compares beside an empty Redis; backfill waits until a worker or
// reconciler has given it the id (option Await).
//
// Older programs know nothing of all this and run beside newer ones: both
// records stand apart from what they read and write. (A SQLite file is the
// exception: its tables change too, and older programs refuse it once a newer one
// has opened it.)
package identity
