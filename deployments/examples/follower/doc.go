// Follower keeps a copy of the entities of a source in a SQLite file of its own. It follows
// the change feed of Tarn, GET /v1/changes, in pages that wait for a change.
//
//	make run
//	go run ./deployments/examples/follower -source lemon -db copy.db
//	sqlite3 copy.db "SELECT subject, version, state ->> '$.status' FROM entities WHERE NOT deleted LIMIT 10"
//
// It is an example: copy the directory, and make your own tables of what comes. Where the api
// wants a token, a viewer's is taken from the variable TARN_TOKEN.
//
// # What makes the copy right
//
// The cursor is stored in the transaction that stores the items before it. Whenever the
// program dies, the next one goes on behind what is stored: nothing is left out, and
// what comes twice has the same version. See [Copy.Store].
//
// Of each subject the greater version is kept, whatever comes in which order.
//
// A cursor that is gone, answered with 410, never becomes good again. The program begins with
// a snapshot, which is all that the mirror holds, and forgets what the snapshot did not name.
// If the feed was only trimmed, for the reason "retention", it keeps what it has until then.
// For any other reason the database of Tarn may have been restored from an older copy, which
// gives out versions again: everything is dropped first. See [Copy.Restart].
//
// Types of items that the program does not know are ignored: later versions of Tarn may have
// more of them.
//
// While a snapshot is read, the copy may lack what the mirror holds.
//
// # Files
//
//	main.go      flags and signals
//	follower.go  asking for pages, and what to do with the answers
//	copy.go      the database
package main
