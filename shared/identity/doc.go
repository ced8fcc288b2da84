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
// A database that was put back to an older copy has the same id, and agrees. The
// shape is there since one database with two prefixes is two halves of a fleet;
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
// right ones. So every process that agrees raises the record's turn, at most
// once in 2 s among all of them, and an empty Redis is given an id only once the
// turn has stood still for 6 s: then no process works with another. If the turn
// goes on, there is another, and the process that looks at the empty one is
// refused. Turns are counted and not timed, so no two clocks are compared. A
// Redis that lost everything while the fleet runs is empty for all of them:
// they go on working, and 6 s later it has an id again.
//
// A process that stalls for all of 6 s between a write to the database and the
// one to Redis behind it can leave the two with different data ids. It is told
// as another Redis would be, and Adopt settles it.
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
// with 503, so that they come again.
//
// Older programs know nothing of all this and run beside newer ones: both
// records stand apart from what they read and write.
package identity
