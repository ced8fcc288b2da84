// Package condition knows in what condition a source is: whether it is paused and
// why, whether its probe path answers, how fast it may be asked, and whether its
// answers are those of the right account. The worker and the reconciler act by it,
// the api shows it, and package stream keeps it in Redis for the whole fleet.
//
//	pause.go     what kinds of pauses there are, and how long they last
//	state.go     what the fleet knows of a source
//	source.go    one source, as one process sees it: pause, probe, resume
//	prober.go    the probe path, asked one at a time for all who want to know
//	streak.go    failures in a row, which make a source suspect
//	throttle.go  a source that is asked too often, or one thing that always says so
//	pace.go      how much of the configured rate is asked for
//	window.go    the last answers for known entities: how many were not found
//
// # From a failure to a pause and back
//
// Package fate asks whether a failure is the source's. Source.IsIll and
// Source.Overasked answer that by the probe path, which depends on no entity. A
// Transient failure is counted in a Streak first, and the probe path is asked from
// the third failure in a row on. Each failure before that counts as the entity's own,
// and costs an attempt.
//
//	failure ──▶ IsIll ── probe path is well ──▶ the entity's own failure
//	              │
//	              └── probe path fails ──▶ paused ──── its time is over ───┐
//	                                         ▲                             ▼
//	                                         └── still ill, a strike ── TryResume ──▶ resumed
//
// Many failures at once share one probe: see Prober. One process of the fleet at a
// time tries to resume; Redis says which, and when, by its own clock.
//
// While a source is paused no sync and no sweep asks it for anything, and waiting
// costs no attempt. Requests under way are not cut off. One process at a time asks
// the probe path and the witnesses. A pause without a length ends only when an
// operator resumes the source. The pauses that operators make have none.
//
// A strike is a pause in a row, without a good answer in between. Each lasts longer:
// see Pauses. A pause with Witnesses ends only once a known entity is found as well:
// see package witness.
//
// What follows from a pause follows from its PauseKind. Its reason is for people.
//
// The types here hold no connection and start no goroutine. Source does its I/O
// through the interface Fleet and the functions it is given.
package condition
