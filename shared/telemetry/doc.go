// Package telemetry is how Tarn is seen from outside: traces, metrics, logs
// and health.
//
// # One event, one tree
//
// The span of the webhook ends long before its event takes effect, in another
// process. Its context therefore travels as a W3C traceparent inside the
// stream entry: Traceparent writes it, Remote reads it back, and the first
// attempt becomes a child of the webhook's span. A retry, hours later, is a
// root of its own that links to it (SpanContext), so that no trace stays open
// for a day.
//
// # What never gets in
//
// Spans, metrics and logs hold identifiers, types, counts and durations.
// Payloads, secrets and personal data are not put into them anywhere; labels
// are drawn from closed sets (sources, classes, reasons), never from what a
// stranger sent.
//
// # A loop that stands still
//
// A process that answers HTTP but no longer works is worse than a dead one,
// since nobody restarts it. Every loop tells Health when it turns; one that has
// not for 30 s, without saying what it waits for, makes /healthz fail and the
// orchestrator start the process anew. Waiting is healthy: a database that is
// away is not cured by a restart.
package telemetry
