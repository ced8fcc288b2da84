// Package sqlitetest watches and disturbs the file of a SQLite store while
// other processes use it, for tests and programs that prove something.
//
// The journal is a trigger inside the file: it sees what the mirror showed in
// the database's own order, whatever process wrote it and however that process
// died. A journal the writers kept themselves would miss what was committed
// just before a kill, and two writers could note in another order than they
// wrote.
package sqlitetest
