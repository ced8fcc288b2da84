// Package loops sleeps, keeps loops running, and repeats calls of a server that is
// away.
//
//	Sleep       waits for a time or for the end of a context
//	Tick        does so until a time that loops have in common
//	Supervisor  starts a loop again that panicked or failed
//	Retry       repeats a call until the server it needs is back
//	Safely      turns a panic into an error
//
// # Waiting is free
//
// Neither a Supervisor nor a Retry has a last try. Work is safe in Redis or in the
// store, so a process that gave up would only need a person to start it again. Both
// end with their context. A Retry also ends with an error that is not of a server
// that is away.
//
// # What is reported
//
// A server that is away comes back, so the first failure of a call is one line in
// the log and one count, and its further failures are silent. A call that takes
// longer than its time-out may never end. After three time-outs in a row it is
// reported: as an error in the log, a count, an alert, and the state of the loop in
// /healthz. It is reported again every thirty time-outs. Each try costs the server a
// whole time-out, so the pause doubles with each, to a minute at most.
//
// The state of a loop for /healthz is that of package telemetry: a *telemetry.Loop
// is a Health. The package imports only the standard library, so that every other
// package may use it.
//
// # Time
//
// The package waits by package time alone. A test runs it in a testing/synctest
// bubble, whose clock stops until all goroutines wait.
package loops
