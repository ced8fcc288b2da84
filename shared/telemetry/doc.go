// Package telemetry makes Tarn observable: traces, metrics, logs and health.
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
// # No payloads, no secrets
//
// Spans, metrics and logs hold identifiers, types, counts and durations, never
// payloads, secrets or personal data. Labels come from closed sets (sources,
// classes, reasons), never from request contents.
//
// # Metrics are declared
//
// NewMetrics names each metric with its labels, what bounds their values, and the
// binaries that export it. The reference of metrics, the checks of alert rules and of
// the dashboard, and package telemetrytest, which holds tests of the binaries against
// it, all read that declaration: Families.
//
// # Stalled loops
//
// A process that answers HTTP but no longer works is worse than a dead one, since
// the orchestrator does not restart it. Every loop reports each turn to Health. A
// loop that has not turned for 30 s and has not said what it waits for makes
// /healthz fail, and the orchestrator restarts the process. Waiting is healthy: a
// restart does not bring a database back.
package telemetry
