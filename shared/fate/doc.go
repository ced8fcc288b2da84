// Package fate decides what becomes of work that failed. Decide is the only
// place where that is decided. The worker carries it out. The reconciler has no work
// to park or bury: it asks again, or gives the call up, and the next sweep asks again.
//
// It takes two steps. First an error gets a Class from the code that understands
// it: the provider client knows a 404 in the provider's own shape, the store knows
// that it is away. OfStatus is the part of that which goes by HTTP status. An
// error without a class is Transient, since trying again loses nothing. Then
// Decide maps the class, and what has been found out since, to a Fate.
//
// Some fates depend on the source: the same 429 means one thing if everything is
// answered 429, and another if only this entity is. Decide does no I/O. It answers
// Ask with a Question, and the caller asks the source and calls Decide again with
// the answer:
//
//	fate := Decide(Failure{Err: err})                  // Ask, Overasked
//	fate = Decide(Failure{Err: err, Answer: No, …})     // Park, until ItsTurn
//
// The provider may say itself that a failure is of one entity alone, as Stripe does
// with the code lock_timeout of a 429: see Error.Alone. Then the answer is No, and the
// source is not asked.
//
// # The table
//
//	what happened                        class        question    yes, it is          no
//	network error, time-out, 408, 425,   Transient    Down        wait                retry
//	  5xx, other statuses, 404 in another
//	  shape, redirect, wrong content type,
//	  answer cut, empty, not JSON, or of
//	  another entity
//	429, or 403 that says when to come   Throttled    Overasked   wait                park; retry the third time
//	  back or that a limit is used up
//	401, any other 403                   Refused      Refusing    wait                bury; park if it
//	                                                                                  is all of the kind
//	                                                                                  or of the scope
//	404, 410 in the provider's shape     Gone                                         confirm
//	  and still after gone_after:
//	    the mirror has the entity,       Gone         Believable  tombstone           wait
//	      not as deleted
//	    it has not                       Gone                                         tombstone
//	400, 422, refused by the store       Permanent                                    bury
//	no such kind in this definition      Undefined                                    park
//	panic                                Panic                                        bury
//	store or Redis away                  Unavailable                                  wait
//	source paused                        ErrPaused                                    wait
//	a newer fetch has begun              ErrOvertaken                                 wait
//	parents disagree about Gone,                                                      retry
//	  Refused or Permanent
//	an attempt could not be counted      Failure.Unfinished                           redo; a panic: bury
//
// Only retry costs an attempt. If it is the source, package condition has paused it
// by the time it answers. It asks the probe path from the third Transient failure in a
// row on; the answer about those before is no.
//
// Other steps that fail while a fate is carried out are not decided here. The worker
// makes the whole sync again.
//
// # Back-off
//
// Backoff is how long work waits between attempts, and how many it gets.
package fate
