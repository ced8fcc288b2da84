// Package sqlitetest watches and disturbs the file of a SQLite store while
// other processes use it, for tests and programs that prove something.
//
// The journal is a trigger inside the file. It records every state of the mirror
// in the database's own order, for every process and across kills. A journal kept
// by the writers would miss commits just before a kill, and two writers could note
// their writes in another order than they made them.
package sqlitetest
