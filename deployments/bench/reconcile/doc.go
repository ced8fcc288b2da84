// Package reconcile measures the reconciler against its limits, on a fleet of
// processes with a real Redis, SQLite and the simulator as provider. Each command
// prints one line, and with -check fails if a limit is missed.
//
//	backfill  an empty mirror of 100,000 entities is filled by `reconciler
//	          backfill` and two workers, from a provider whose token bucket has
//	          the source's rate. At least 95 % of the rate is used: requests
//	          answered between the first and the last, over rate × time. No
//	          answer is 429. The command's memory when everything is listed is
//	          within 20 MB of what it was at 10,000 entities
//	sweep     a sweep over N entities in sync asks for no more than the pages of
//	          the lists, which are counted from the simulator's truth, and 2 %.
//	          Nothing of the mirror is written but verified_at: a trigger in the
//	          file counts
//	gap       events whose webhooks are lost are in the mirror at most one
//	          interval and 2 s after they were made
//	live      the 99th percentile of event to mirror (received_at to
//	          processed_at in the event log) rises by at most 20 % while sweeps
//	          use all of the rate that events leave: medians of interleaved
//	          rounds with and without
//
// Requests a second depend on the machine as much as on the code, so the limits are
// of shares and ratios.
package reconcile
