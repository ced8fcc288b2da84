// Package alert tells people that one of them is needed: a dead letter, a
// source that is down or refuses us, a history taken back, a difference nobody
// can explain.
//
// Every alert is a line in the log at error and counts in a metric, at once and
// by whoever raised it. With a webhook it is posted too: JSON in batches,
//
//	{"alerts": [{"at", "kind", "source", "id", "event", "entity", "reason", "class", "trace_id"}],
//	 "dropped": [{"source", "kind", "count"}]}
//
// where fields that say nothing are absent. Raising never waits: what is to be
// posted stands in a queue of bounded length, and what does not fit is summed
// and told in the next batch. A batch that is not taken (any answer but 2xx) is
// posted again with back-off until it is, or until the process ends, which
// gives it one more try. So an alert may be posted twice, and is lost to the
// webhook, never to the log, when the other side is away for so long.
package alert
