// Package alert raises alerts for humans: a dead letter, a source that is down or
// refuses the key, a rewritten history, a discrepancy that no event explains, and the
// other kinds that Kind lists.
//
// Every alert is at once logged, at level error or as its Warning, and counted in a
// metric, by the process that raises it. With a webhook it is posted too: JSON in batches,
//
//	{"alerts": [{"at", "kind", "source", "id", "event", "entity", "reason", "class", "trace_id"}],
//	 "dropped": [{"source", "kind", "count"}]}
//
// where empty fields are absent. Raising never blocks: alerts to post wait in a
// bounded queue, and those that do not fit are counted in "dropped" of the next
// batch. A batch answered with anything but 2xx is posted again with back-off
// until it is accepted; at the end of the process it gets one more try. So an
// alert may be posted twice, and the webhook may miss one if it is away until the
// process ends. The log has all of them.
package alert
