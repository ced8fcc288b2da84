// Package api is the HTTP side of Tarn: it receives webhooks, answers questions about
// the mirror, and carries out the requests of operators.
//
// # The way of a webhook
//
//	POST /webhooks/{source}
//	  source known?            404  webhook.go
//	  body within bounds?      413  body.go
//	  signature and time good? 401  webhook.go (package provider verifies)
//	  a readable event?        400  webhook.go (package provider reads)
//	  appended and confirmed?  503  webhook.go (package stream appends)
//	  a duplicate?                  noted in Redis, or 503
//	  200 {"status":"accepted","id":"evt_1"}, or "duplicate"
//
// The codes of both answers are settings: see Ack. A request may hold several events
// (batch.go): these are appended in one pipeline, and the answer is a success only when all
// are confirmed. The repeat of a request that was confirmed in part finds the marks of
// the events that are in, and appends the others.
//
// No webhook is answered with success before Redis has confirmed the append. Nothing
// on this way calls the database: a sender's deadline must not depend on it. Refused
// webhooks are counted in memory (tally.go) and recorded as sums, so that a stranger
// can fill neither Redis nor the log.
//
// # Reading
//
// Everything under /v1 is declared as typed operations, a file for each noun,
// from which /openapi.json is generated; errors are RFC 9457 problems. States
// are passed on as the provider wrote them and never go through a number type.
//
//	entities.go       mirrored states; waiting for a fresh one
//	events.go         the log
//	redrive.go        events with a note, read again
//	letters.go        dead letters, one or by filter: read, redrive, discard
//	jobs.go           work on many of them: progress, cancel
//	sweeps.go         comparisons with the provider: start, progress, cancel
//	discrepancies.go  what they found
//	sources.go        pause, resume, retry parked work, discard
//	changes.go        what changes, for consumers that follow it; how far they are
//	commands.go       changes asked for at the provider: read
//	commandholds.go   held after a restore, and released
//	commandacts.go    asked for, taken back, and what operators do with them
//	refs.go           applications' names for entities
//	audit.go          what operators did
//	parked.go         what waits, and why; retry it now
//	fleet.go          workers, shards and waiting work, read once a second
//	live.go           a stream of summaries, one computation for all who listen
//	summary.go        what a summary has
//	verdict.go        whether the mirror is right
//	sync.go           fetch one entity now
//
// # Acting
//
// The api does little itself. A sync, and the redrive of one dead letter, is an append
// to the entity's stream, so it takes effect in the entity's order. A pause is the
// source's state in Redis. Long work, such as many dead letters or a sweep, becomes a
// task in the store that the reconciler runs, so restarting the api stops none.
//
// A redrive appends the work first and then closes the dead letter. If the api dies in
// between, the dead letter stays open, and its own work supersedes it or buries it
// again. In the reverse order the work would be lost until recovery finds it. The work
// may be done before the dead letter is to be closed; then there is nothing to close.
// A job by filter covers dead letters buried before it began, so that it does not repeat
// those that its own work buries again.
//
// A claim is the fencing token of a fetch: a counter on the document that a worker
// raises before it asks the provider. A client that waits for a sync waits for a claim,
// not for a time: the api reads the claim before it appends the signal, and a state with
// a higher claim was fetched after the request came.
//
// Each act is recorded (operator.go): a line at info, and a note in the audit with the
// name of the token.
//
// # Changing
//
// A change at the provider is a command (package outbound). It is in the database when it
// is answered, whether or not Redis could be told: a worker finds it. A client names each
// wish, so that it can repeat a request without an answer. What the definition does not
// have is refused before anything is stored, with the path of what is wrong. The api never
// looks up what a ref names: a command that is asked for by ref joins the lane of the ref.
//
// # Access
//
// /v1 needs a bearer token (token.go): a viewer reads, a writer asks for changes at the
// provider, an operator acts. Without
// configured tokens the server listens on loopback only (an address that names another
// host is an error), and refuses requests that a browser sends for another site's page.
// Signatures guard /webhooks, or, where a provider does not sign, a secret in the path.
// /healthz, /readyz and /metrics are open, as orchestrators expect. Profiles below
// /debug/pprof/ are off unless configured, and for operators' tokens alone.
//
// Receiving and pausing need Redis only. A sync needs the store too, unless the caller
// gives the parents and does not wait. Reading documents, events, dead letters and tasks
// needs the store only. The fleet, the state of a source and what is parked are read from
// Redis; a document is shown without what it waits for while Redis is away. /readyz
// follows the receiver: an api taken out of rotation while the database is away would
// refuse webhooks for nothing.
package api
