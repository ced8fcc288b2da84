// Package erased knows, without a question to the database, what was erased.
//
// An erased entity has a marker in its own document, and the claim before a fetch shows it.
// Two things it cannot show. An order that is heard of for the first time has no document
// yet, and it is erased all the same if its account was erased with all that is under it.
// And the log of events is written before the claim, so that the payload of an event would
// get into it. For both, processes keep the list of what operators have erased in memory.
// It is short: it holds what was erased by itself or with all that is under it, and of the
// latter only what has others under it. Watch reads its version every second and the list
// when that has changed. A sync costs no call of the database for it.
//
// # Why a copy that is old does no harm
//
// A payload that was logged by an old copy is replaced when the entity's work is settled:
// the claim shows the marker.
//
// A child without a document needs more. A worker asks for the list after its claim, and
// Watch answers with a copy that was read at most Bound ago, by the monotonic clock, or
// reads it again. The job that erases an account with all that is under it puts the account
// into the list at a time T, and makes its last search for children later than T + Bound.
// A claim makes the document of a child. Either it was made before that search, which then
// finds the document, writes a marker and so raises the claim, and the write of the worker is
// refused. Or it was made after the search, and the list that the worker asked for
// afterwards was read later than T, and has the account.
//
// A process that stood still, in whatever place, is covered by this: what counts is when the
// claim was made and when the list was read. A clock that stops while a machine is
// suspended is not: the copy may then be older than it seems. The job therefore waits much
// longer than Bound before its last search, which also finds what processes wrote that had
// read a document before it was erased: see package reconciler.
package erased
