// Package simulator stands in for a provider, the lemon.markets Brokerage API or
// Stripe: it is the independent truth that the mirror is compared with. It imports
// nothing of the rest of the project, so that both cannot share a mistake.
//
//	life, load ──▶ world ──▶ journal          every state change is one change:
//	                 │  └──▶ sender ──▶ URL    new versions, their events, written
//	  GET /v1/… ◀────┤                         to the journal before a reader can
//	  /_sim/… ◀──────┘                         see or be sent any of it
//
// The world is a set of entities, each with its versions. A change is made
// under one lock: entities get new versions, events are made, the journal gets all
// of it as one line, and only then can readers and the sender see it. A crash of
// the process therefore never takes back what was served or sent. (Without
// Options.Data there is no journal.)
//
// A dialect (dialect.go) is what one provider has of its own: its kinds, its
// stories, how its API answers, how its events are written and signed. What belongs
// to one alone is in files of its name, lemon_… and stripe_…. All else is shared.
//
// Life, Load and some of the controls below change the world. Life makes plausible
// changes at a steady rate: accounts open, orders run from created to executed,
// trades settle; customers subscribe, are invoiced, pay and are refunded. Load makes an exact number of events over an exact number of
// entities, for proofs. All randomness of the world comes from one seed.
//
// Chaos is between the world and its readers and never touches the world:
// webhooks are doubled, delayed, lost or wrongly signed, answers are late,
// refused or stale. /_sim/truth always shows the world as it is.
//
// # Odd ways
//
// Some settings of Chaos make an honest provider an odd one. HTTP and JSON allow
// each of them, none changes the truth, and none lasts: what is drawn per request
// may be different the next time, what is drawn per spell ends with the spell, and
// what is drawn per event or entity never hides its state for good.
//
//	error_body                   200 with an error object, {}, nothing or HTML
//	cut                          an answer that ends in the middle
//	trickle, trickle_for         an answer in small pieces
//	gone                         410 in place of 404, per entity
//	locked, locked_for           429, 423 or 409 of one entity, for a spell
//	bad_pages, bad_pages_for     later pages: 500, 422, cursor expired; per list and spell
//	endless, endless_for         the last page again and again; per list and spell
//	oversized                    200 events in a row that are 180 KiB each in the list
//	future, future_for           events dated ahead
//	odd_times                    created_at in other ways of RFC 3339, and in none
//	half_pairs                   half a surrogate pair in a field that is not read
//	other_body                   the same event once more with another body
//	doubled_signature            the signature twice, in two headers or in one
//	error_before                 of a write: 500, and no effect
//	lose_answer                  of a write: the effect, and never an answer
//	reset_answer                 of a write: the effect, and the connection is reset
//	error_after                  of a write: the effect, and 500
//	slow_answer, slow_for        of a write: the effect, and a late answer
//	test_mode                    events of Stripe's test mode between those of live mode
//
// Draws per request come from dice that all requests share. The others are derived
// from the seed and the name of what is affected, so that each look gives the same
// result. Orders that move to another account are a part of Load, since a move
// changes the truth: a load with "moves" has events that name the new account and, later
// on, some that still name the old one.
//
// # Stripe
//
// Objects have the members that the specification of version 2026-08-26.dahlia
// requires, and some more. Subscriptions have up to 14 items and invoices up to 25
// lines, of which an object shows ten and the list inside it has the rest; the truth
// has all. A deleted customer leaves a stub, and any other deleted object is
// resource_missing. Unknown parameters are refused, and so is a cursor that is no
// longer in its list. A path that does not exist is a 404 without a code. A 429
// says which rate was exceeded, or that the object is locked, and never when to ask
// again. Events are listed for 30 days. A webhook has three signatures: by a secret
// that ends, by the one in use, and v0. Options.Thin sends thin events, which have ids
// of their own and name their twin. Nothing can be expanded, and of the filters of
// lists those that this package needs exist. Most kinds are lists that stay empty.
//
// POST /_sim/accounts connects an account that has customers and invoices of its own
// (stripe_connect.go). They are found with the header Stripe-Account alone, as are their
// lists and events, and their events have account. After POST
// /_sim/accounts/{id}/deauthorize each request for the account is a 403.
//
// # Writes
//
// Orders and withdrawals of lemon, and products, prices, customers and coupons of Stripe
// can be changed through the API. Such a change makes versions and events as any other
// does, so that it is in lists and webhooks. Options.WriteKey is a key of its own for
// these requests.
//
// Idempotency keys are treated as the provider documents it (lemon_write.go,
// stripe_write.go): a second request with the same key is answered what the first was, one
// with another body is refused, and one that comes before the first was answered is a 409. What is known of
// keys is in the journal, in the same line as the effect, so that a crash takes back
// both or neither. GET /_sim/writes has each request with its key, its body, whether it
// had an effect, and what became of its answer.
//
// # Controls
//
//	GET    /_sim/truth?kind=&after=     JSON lines: every entity as it is now
//	GET    /_sim/history/{kind}/{id}    its versions, oldest first
//	GET    /_sim/events?after=          JSON lines: events and their delivery
//	POST   /_sim/redeliver              {"events": ["evt_…"]} sends them again
//	GET    /_sim/writes?after=          JSON lines: requests to change something
//	GET    /_sim/effects?after=         those of them that had an effect
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
//	POST   /_sim/entities/{kind}/{id}/move   {"parent": "cusa_…"} puts it under
//	                                    another parent, without an event
//	GET    /_sim/troubles               what goes wrong on purpose; see Troubles
//	DELETE /_sim/troubles               repairs it: the API answers again
//
// # Not documented
//
// Of lemon, ids, amounts and which context some event types carry are not documented by
// the provider; they are plausible here. Prices of positions move with trades
// only. Instruments are fixed and no part of the truth.
package simulator
