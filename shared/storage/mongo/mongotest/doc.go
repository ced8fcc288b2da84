// Package mongotest is a MongoDB server for tests: FerretDB, which speaks
// MongoDB's wire protocol, with its data in a directory. No MongoDB needs to be
// installed.
//
// FerretDB reads, then updates, outside a transaction: of concurrent updates
// of one document some are lost, and a compare-and-set can have two winners.
// So a proxy lets one command through at a time:
//
//	driver ──┐                                          ┌ a process of its own
//	driver ──┤▶ proxy: lock ─ command ─▶ FerretDB ─ reply ─ unlock
//	driver ──┘      └ recorder: the commands, for tests to assert on
//
// Any process may use the proxy's address; the lock holds for all. This is for
// tests only. It is slow: a filter on anything but the _id alone scans the
// collection, so tests keep theirs to some hundreds of documents. And it hangs
// at about a hundred updates in one command: give the store a BulkSize of at
// most BulkSize.
//
// FerretDB is a program of the module deployments/standins, so that what it
// depends on stays out of Tarn's own module. The go command builds it when the
// first test asks for it and keeps the binary in its build cache. FerretDB ends
// with the process that started it, however that ends.
package mongotest
