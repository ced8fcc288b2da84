// Package sqlite is the store in one file: the embedded default, with the
// same answers as the MongoDB store and no server. It uses a SQLite written in
// Go, so no C compiler is needed.
//
// # One writer, many callers
//
// SQLite has one writer at a time, and with synchronous=FULL each transaction
// waits for the disk. So the calls of all goroutines go to one writer, which
// makes one transaction of the calls that wait when it is free:
//
//	Claim ─┐
//	Write ─┤ calls ──▶ turn ── BEGIN ── call, call, call … ── COMMIT (one fsync) ──▶ answers
//	Log   ─┘
//
// While the disk works, the next calls gather: under load the batches grow by
// themselves, and a lone caller does not wait. Before it gathers them, the writer lets
// other goroutines run that can. No answer is given before the
// commit. If a call fails, the transaction is rolled back and each of its
// calls is run again in one of its own, so one caller's bad document costs the
// others time, not their work. That is cheaper than a savepoint per call,
// since failures are rare. A caller whose context ends before its call was
// started leaves the queue; after that it waits for the outcome, which is
// milliseconds away.
//
// # Several processes, one file
//
// SQLite's own busy handler polls, and with several busy processes one of them
// can wait for seconds. So every transaction is made under a file lock beside
// the database, for which the kernel keeps the waiters (package-private type
// turn). Readers use connections of their own and, thanks to the write-ahead
// log, never wait for the writer.
//
// # Whose file it is
//
// The file may be removed, replaced or overlaid by an older copy while it is
// open or between two starts; see type file. README.md beside this file says how
// to back up and restore.
//
// # What is in it
//
// Plain tables: mirror, events, outcomes (one row per event and entity),
// signals, dead_letters, discrepancies, tasks, audit, feed, subscriptions. The file has
// the version of its tables; opening a file of an earlier version upgrades it. Times are Unix
// milliseconds, 0 for none. mirror.raw is the provider's JSON as text, so SQLite's JSON
// functions query it: SELECT raw ->> '$.status' FROM mirror.
package sqlite
