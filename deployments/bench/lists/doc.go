// Package lists measures what a page of 100 rows takes, of every list of the API and by
// every one of its filters, out of a log of a million events in a SQLite file.
//
// An api in this process answers over a connection, with a real Redis beside it. The log
// is made by copying rows inside the file, and has rare events among the many: other
// types, kinds and sources, events with a note, dead ones. Dead letters, differences,
// entities and acts of operators are some thousands each.
package lists
