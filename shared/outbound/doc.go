// Package outbound is what commands are: changes that an application asks for and that
// Tarn makes at the provider. It decides and does not act: what it needs of the store,
// of Redis or of a provider is given to it. Package worker runs it.
//
// # The row is the queue, Redis is the bell
//
// A command is a row of the store before it is promised. Redis holds no part of it. A
// hint, which is a signal of cause "command" on the shard of the command's lane, says
// "look now". It carries no data, may come any number of times, and may be lost: a
// worker reads the rows that are due twice a second and hints again.
//
//	Desk.Admit ─▶ row ─▶ hint ─▶ lane:  lock ─ [begin ─ send ─ record]* ─ claim ─ fetch ─ write ─ covered
//
// # States
//
//	                      known not done: 429, not connected, key in progress
//	          ┌──────────────────────────────────────────────┐
//	queued ───┴─▶ sending ──2xx──▶ answered ──covered──▶ done │   4xx ▶ dead   cancelled while queued
//	   ▲            │ time-out, reset, 5xx, a dead owner      │
//	   │            ▼            strategy says                │
//	   ├──absent── unclear ──there──▶ answered                │
//	   │            │ nothing can tell                        │
//	   └──absent── asked ──operator: done(id)──▶ answered     │   or discarded
//
// Each arrow is a compare-and-set of the row. Only the worker that moved a command to
// sending may send it.
//
//	lane.go     what is to be done next in a lane
//	move.go     what an answer, or the lack of one, makes of a command
//	doubt.go    how it is found out what became of one without an answer
//	refs.go     commands that name what has no id yet
//	desk.go     what applications and operators ask for
//	hint.go     the signal that says "look now"
//
// # Lanes
//
// The commands of an entity are performed one after the other, in the order in which
// they were asked for. A command is begun only when every earlier one of its lane is
// final or answered. One that is refused does not hold up those behind it; one of which
// it is not known what became of it does.
//
// What has no id yet has a lane by its ref. Only its create is performed there. Once the
// id is known, the create and all that waits behind it are forwarded to the lane of the
// entity, in their order. The create goes too, answered, so that whatever covers an
// entity covers all commands of one lane. The api never looks up what a ref names: a
// command that is asked for by ref joins the lane of the ref, so none overtakes another.
//
// # What followers are told
//
// The step that brings a command to rest (done, dead, cancelled, discarded or asked), or takes
// it out of asked or dead again, marks the row as owed to the change feed. Package feed says
// how the debt is paid, and who gets it.
//
// # Two clocks
//
// When a command is due, when it was begun, and how long it has been in doubt goes by
// the clock of Redis. Whether a request may still be sent goes by the worker's own
// monotonic clock: at most two seconds after it asked whether the lease is still its own.
// A command that was never begun is due whatever the clocks say.
//
// # Where this differs from the design
//
//   - A provider that refuses the write key (401, 403, also at the probe) makes that
//     command wait. The source is not paused, since it is read with another key.
//   - A refusal after an attempt that is in doubt does not make a command dead: it says
//     nothing of that attempt. The next strategy tells.
//   - A new key is another key with the same bytes.
//   - A hint for a parked entity is not put behind it. It makes the entity due at once and
//     leaves Redis, since the row remains. That look costs no attempt.
//   - The feed tells more than done, dead and asked: also that a command was cancelled or
//     discarded, or is under way again, so that no follower keeps a question that was answered.
//   - The poll is the worker's that holds shard 0: any other may take that over.
//
// # How it is called
//
// The api and the admission of an outbox make a Desk and call Admit. Operators call
// Cancel, Retry, Discard, Resolve and Link of the same Desk. Each returns the command as
// it is stored; a *StateError says that it is in a state in which that cannot be done, a
// *provider.InvalidError what is wrong with it, and storage.ErrKeyReused that its key is
// another's.
//
// # After a restore
//
// In an older copy of the database, commands that are done are queued again, and rows of
// an outbox that were admitted are there again. The sequencer of the change feed finds that
// the database was restored, since Redis knows how far the feed had come. It holds the
// commands of the source (storage.Commands.Hold) before it begins a generation of the feed.
// A worker performs nothing while it finds a hold, or a feed that lacks what Redis knows
// of: so it begins nothing between the restore and the hold either. It looks for both twice a
// second, and always after a start. An operator releases the commands.
//
// What this does not see: a restore while Redis was lost too, a restore to a copy that
// lacks commands and no change at all, and anything where the change feed is off. There
// the keys of the provider protect, for as long as it keeps them.
package outbound
