// Package identity checks that Redis, the database and the processes of a fleet
// belong together.
//
// Only settings tie a fleet together: the address of Redis, a key prefix, a number
// of shards and the URL of a database. One wrong line, and two fleets read each
// other's events, or one half of a fleet waits for what the other half writes
// elsewhere, while every process looks healthy. So both sides hold an id, as the
// nodes of an etcd cluster or the log directories of a Kafka broker do. Every
// process but the api compares them before it begins, and every process every 2 s
// from then on.
//
//	database: fleet  id, shape (prefix, shards), data, turn
//	Redis:    {prefix}:identity  fleet, data
//
// # Comparison
//
// An absent id is not a different id: a side without one is new or was emptied, and
// holds nothing of another fleet.
//
//	database   Redis     result
//	none       none      the fleet is founded, in the database first: its unique
//	                     record decides among several founders. Fleets from before
//	                     there were ids become fleets with one like this
//	X          none      Redis was emptied: it gets X (see below)
//	none       X         refused: a wrong URL looks like this, and so does a
//	                     database that was lost. Option Adopt gives it X
//	X          X         agreed, if the shape and the data agree too
//	X          Y         refused
//
// A database restored from an older copy has the same id, and agrees, unless Redis
// was emptied after the copy was made: then the copy holds an older data id (see
// below), and Adopt is needed. The shape is compared because one database with two
// prefixes means two halves of a fleet; Adopt moves the fleet to the configured
// one.
//
// # Two Redis, one database
//
// The id of the fleet does not distinguish a Redis that was emptied from another
// one that is empty: a worker with a wrong redis.url would give the wrong Redis the
// id, and both would agree with the database. So the contents of Redis have an id
// of their own, the data id. It is drawn each time Redis is found empty, and
// written to the database before it is written to Redis. A Redis with another data
// id than the database's is therefore another Redis.
//
// That alone would let one wrong process take the fleet from all the right ones.
// So the processes that agree raise a counter in the database's record, the turn,
// about once in 2 s among all of them. An empty Redis gets an id only once the
// turn has not changed for 10 s: then no process works with another Redis. While
// the turn rises, a process that sees an empty Redis is refused. The turn is a
// count, not a time, so no two clocks are compared. A Redis that lost everything
// while the fleet runs is empty for all processes: they go on working, and 10 s
// later it has an id again.
//
// An unchanged turn means "no process works elsewhere", so an outage must not look
// like one:
//
//   - Redis does not answer: a process that agreed before, and whose record in the
//     database is still the same, goes on raising the turn.
//   - The database does not answer: no process can raise the turn, and none sees
//     it. A failed look restarts the wait of 10 s, which gives the others time.
//   - Redis answers and refuses to write: each attempt to give it an id changes the
//     data id in the database. Such a rise of the turn is no sign of work elsewhere.
//
// One case remains: the whole fleet is cut off from the database for 10 s while a
// process with an empty Redis is not. That looks like a fleet that was stopped. The
// fleet is refused afterwards, and Adopt is needed. The same holds for a process
// that stalls for all of 10 s between its write to the database and the following
// write to Redis.
//
// # The order of reading
//
// Every change is written to the database first, so every look reads Redis
// first: an id that is found in Redis is in the database by the time that is
// read. A change between the two reads looks like an empty Redis, for which the
// process waits, and never like a mismatch.
//
// # The cost
//
// Every 2 s each process reads one record of each side, and one process of the
// fleet writes one in the database. While Redis does not answer, each writes.
//
// # On a mismatch
//
// A process that disagrees at its start ends with an error that names both sides.
// One that agreed before stops reading and acknowledging at once. It drops what is
// in flight, since finishing it would write to the wrong side; the entries are read
// again later. It is not ready, raises an alert and goes on comparing; it works
// again once both sides agree. A side that does not answer changes nothing.
//
// The api only compares (option ReadOnly): it accepts webhooks with Redis alone,
// before the database answers, and leaves it to the readers to decide whether an
// empty Redis is the right one. Once it disagrees it answers webhooks with 503, so
// that they are sent again. The commands verify and backfill only compare, too: a
// command with a wrong setting must not decide which fleet this is. verify runs
// beside an empty Redis; backfill waits until a worker or reconciler has given
// Redis the id (option Await).
//
// Older programs do not know either record and can run beside newer ones: they
// neither read nor write the records. (A SQLite file is the exception: its tables
// change too, and older programs refuse it once a newer one has opened it.)
package identity
