// Package delivery decides what a subscription of the change feed is sent next, and how far
// it has come. It is a machine without I/O, context or clock: the caller reads the feed,
// sends, and says what came of it.
//
//	      Add                Take               Accepted
//	feed ─────▶ waits in line ─────▶ on its way ─────────▶ done
//	                  ▲  ▲               │ │ Refused
//	                  │  │    Returned   │ └──────────▶ parked, until it is due
//	                  │  └───────────────┘                 │ Take
//	                  └────────────────────────────────────┘
//
// # Order
//
// An entity is on its way once at a time. What the feed has of it meanwhile waits, and
// the sender reads its state after Take. So its versions never decrease. There is no
// order between entities.
//
// # Where a subscription is
//
// Done is the place up to which every item is done: accepted, overtaken by a later version
// that was accepted, or parked. It moves as far as there is no gap. Done and Parked are saved
// together and are all that Restore needs, so an entity that is parked for days holds the
// place back by nothing. What was on its way is sent again.
//
// # Refused, and away
//
// An entity that is refused is parked: others go on. A parked entity is tried again after
// a back-off, with the state that it has then; a change of it brings that forward. At most
// MaxParked are parked. Then nothing but they are tried.
//
// If the receiver is away, asks to be left alone, or has refused Streak messages and accepted
// none in between, everything waits. After a back-off one message is a probe: the next entity
// in line, and the one behind it if that fails, so that one that is never accepted does not
// keep the others waiting. A probe that is accepted ends the wait.
//
// Parked entities have half of the places at most, and take turns with those in line: a
// receiver that is slow for some of them alone is not slow for all.
package delivery
