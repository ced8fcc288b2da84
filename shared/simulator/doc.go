// Package simulator is a stand-in for the lemon.markets Brokerage API: the
// independent truth a copy can be measured against. It imports nothing of the
// rest of the project, so a mistake there cannot hide here.
//
//	life, load ──▶ world ──▶ journal          every state change is one change:
//	                 │  └──▶ sender ──▶ URL    new versions, their events, written
//	  GET /v1/… ◀────┤                         to the journal before anybody can
//	  /_sim/… ◀──────┘                         see or be sent any of it
//
// The world is a set of entities, each with its versions. A change is made
// under one lock: entities move, events are made of it, the journal takes the
// whole as one line, and only then do readers and the sender learn of it. What
// was served or sent is therefore never taken back by a crash of the process.
//
// Two things move the world. Life makes a plausible one at a steady rate:
// accounts open, orders run from created to executed, trades settle. Load
// makes an exact number of events over an exact number of entities, for
// proofs. All randomness of the world comes from one seed.
//
// Chaos stands between the world and its readers and never touches the world:
// webhooks are doubled, delayed, lost or wrongly signed, answers are late,
// refused or stale, but /_sim/truth says what is so.
package simulator
