// Package persist repeats calls of the store while it is away: the one place
// where workers and the reconciler wait for it.
//
// Waiting is free, so there is no last try. But a store that is away comes back,
// and a call that takes longer than its time-out may never end: one that has
// timed out three times in a row is told to people, by a log line, an alert, a
// metric and the loop's state in /healthz, and is tried less and less often,
// since each try costs the database its whole time-out.
package persist
