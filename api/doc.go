// Package api is the HTTP side of Tarn: it takes webhooks in and answers
// questions about the mirror.
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
// Everything under /v1 is declared as typed operations (entities.go, events.go)
// from which /openapi.json is generated; errors are RFC 9457 problems. States
// are passed on as the provider wrote them and never go through a number type.
//
// # Who may
//
// /v1 wants a bearer token (token.go). Without any configured the server
// listens on loopback only. /webhooks is guarded by signatures; /healthz,
// /readyz and /metrics are open, as orchestrators expect.
//
// The two halves need different things: the receiver needs Redis only, reading
// needs the store only. /readyz follows the receiver, because an api taken out
// of rotation while the database is away would refuse webhooks for nothing.
package api
