// Package api is the HTTP side of Tarn: it takes webhooks in, answers questions
// about the mirror, and does what operators ask for.
//
// # The way of a webhook
//
//	POST /webhooks/{source}
//	  source known?            404  webhook.go
//	  body within bounds?      413  body.go
//	  signature and time good? 401  webhook.go (package provider verifies)
//	  a readable event?        400  webhook.go (package provider reads)
//	  appended and confirmed?  503  webhook.go (package stream appends)
//	  200 {"status":"accepted","id":"evt_1"}
//
// Nothing answers success before Redis has confirmed the append, and nothing
// on this way calls the database: a sender's deadline must not depend on it.
// What the checks refuse is counted in process (tally.go) and put on record as
// sums, so that a stranger can fill neither Redis nor the log.
//
// # Reading
//
// Everything under /v1 is declared as typed operations, a file for each noun,
// from which /openapi.json is generated; errors are RFC 9457 problems. States
// are passed on as the provider wrote them and never go through a number type.
//
//	entities.go       mirrored states; waiting for a fresh one
//	events.go         the log
//	letters.go        dead letters, one or by filter: read, redrive, discard
//	jobs.go           what goes through many of them: progress, cancel
//	sweeps.go         comparisons with the provider: start, progress, cancel
//	discrepancies.go  what they found
//	sources.go        pause, resume, retry what is parked
//	fleet.go          what works and what waits, looked at once a second
//	sync.go           fetch one entity now
//
// # Acting
//
// The api does little by itself. A sync and the redrive of one letter are an
// append to the entity's stream, where they take effect in its order like
// everything else; a pause is the source's state in Redis. What takes long,
// many letters or a sweep, becomes a task in the store that the reconciler
// works on: an api that is restarted stops none.
//
// A letter is redriven by appending its work first and closing it then. If the
// api dies in between, the letter is open still and its own work supersedes it,
// or buries it again; the other way round the work would hang until recovery
// found it. By the time it is to be closed the work may be done: then nothing is
// left to close. A job by filter takes letters buried before it began, so that
// it does not chase those it sends to die again.
//
// A sync that is waited for is told by claims, not by clocks: the claim is read
// before the signal is appended, and a state synced by a higher one was asked
// for after the request came.
//
// Each act is on record (operator.go): a line at info, and a note in the audit
// with the name of the token.
//
// # Who may
//
// /v1 wants a bearer token (token.go): a viewer reads, an operator acts. Without
// any configured the server listens on loopback only (an address that names
// another host is an error), and refuses what a browser sends on behalf of
// another site's page. /webhooks is guarded by signatures;
// /healthz, /readyz and /metrics are open, as orchestrators expect.
//
// The halves need different things: the receiver, pausing and a sync need Redis
// only, reading needs the store only. /readyz follows the receiver, because an
// api taken out of rotation while the database is away would refuse webhooks
// for nothing.
package api
