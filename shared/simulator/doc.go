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
//
// # Controls
//
//	GET    /_sim/truth?kind=&after=     JSON lines: every entity as it is now
//	GET    /_sim/history/{kind}/{id}    its versions, oldest first
//	GET    /_sim/events?after=          JSON lines: events and their delivery
//	POST   /_sim/redeliver              {"events": ["evt_…"]} sends them again
//	GET    /_sim/counters               since the start of the process
//	GET    /_sim/chaos                  what goes wrong
//	PUT    /_sim/chaos                  replaces all of it; see Chaos
//	PATCH  /_sim/chaos                  changes what is named
//	POST   /_sim/load                   starts a load; see Load
//	GET    /_sim/load                   how far it is; see LoadProgress
//	PUT    /_sim/rate                   {"rate": 5} events a second of life
//	POST   /_sim/drift                  changes and deletes a share of what there is,
//	                                    without any event; see Drift
//	DELETE /_sim/entities/{kind}/{id}   takes an entity away, without an event
//
// # What it leaves open
//
// Ids, amounts and which context some event types carry are not documented by
// the provider; they are plausible here. Prices of positions move with trades
// only. Instruments are fixed and no part of the truth.
package simulator
