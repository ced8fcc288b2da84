// Package stream is the durable queue: Redis Streams, one pair per shard and
// source, read by one leaseholder at a time. No other package of the product speaks
// to Redis.
//
// # Keys
//
// Every key of shard 7 begins with {tarn:7}:, every key of the fleet with
// {tarn}:. The braces are Redis Cluster's hash tag: all keys of one shard lie
// on one node, so one script may touch them. Keys are built in keys.go alone.
//
//	{tarn:7}:live:lemon          stream: classes command, live and redrive
//	{tarn:7}:background:lemon    stream: classes reconcile and backfill
//	{tarn:7}:lease               hash: owner, token, epoch, read sequence of each stream
//	{tarn:7}:epoch               last epoch, outlives the lease
//	{tarn:7}:mark:lemon:evt_1    "queued:<stream id>" or "processed"; of an event with
//	                             hashes of its bodies, a space before each
//	{tarn:7}:once:sweep:lemon/…  the same for a signal without an event, with how long
//	                             it keeps others out (ms, hex) in place of a hash
//	{tarn:7}:due:lemon           zset: parked entity → when it is due
//	{tarn:7}:due:lemon@seen      when the due times were last looked at
//	{tarn:7}:earliest:lemon      zset: parked entity → when a live signal may make it due
//	{tarn:7}:parked:lemon/order/bord_1   list: what waits for it
//	{tarn:7}:record:lemon/order/bord_1   hash: attempt, state, kind (spilled or failed), last command
//	{tarn:7}:lock:lemon/order/bord_1     entity lock
//	{tarn:7}:generation          changes when Redis lost the shard
//	{tarn:7}:recovered:evt_1:lemon/…     entry that was appended again a moment ago
//	{tarn:7}:feed:lemon          zset: "version entity", a hint that the change feed may
//	                             lack it → when it was left
//	{tarn:task:gaps/lemon}:lease, :epoch lease of a task of the fleet
//	{tarn:task:feed/lemon}:bell  zset: shards with hints → when that was first said
//	{tarn:task:feed/lemon}:head  hash: how far the log of the feed has come
//	{tarn}:workers  {tarn}:shards  {tarn}:source:lemon  {tarn}:probe:lemon
//	{tarn}:joined:w1             token of the heartbeat that found none of w1 before it
//	{tarn}:budget:lemon  {tarn}:notes
//	{tarn}:retried               hash: source → a text that RetryParked changes
//	{tarn}:sources               set: every source there has been
//	{tarn}:identity              hash: whose the keys are; see package identity
//
// # Why order holds
//
// A lock per entity gives exclusion, not order: two readers of one consumer
// group overtake each other before they come to the lock. So a shard has one
// reader at a time, and four rules keep it so.
//
// First, a lease with an epoch. Every script that reads, acks or moves begins
// with fence.lua, which compares owner and epoch inside Redis; no clock of
// ours is asked. A new holder raises the epoch, and from then on everything
// the old one has under way fails with ErrFenced.
//
//	          Acquire: epoch = max(last+1, clock)
//	free ───────────────────────────────────────▶ held ─┐ RenewAll, each 2/5 TTL
//	  ▲                                             │ ▲─┘
//	  │ Release, or TTL without Renew,              │
//	  └──────── or Redis lost it ───────────────────┘
//	             (old epoch: ErrFenced)
//
// Second, reads are inside the fenced script (XREADGROUP without BLOCK), so
// nothing is delivered to a worker that lost its lease while it waited. A Waiter
// blocks in a plain XREAD, which delivers nothing and only wakes up.
//
// Third, reads carry a sequence number kept in the lease. A reply that was lost
// on the way has raised it, so the next Read fails with ErrResync instead of
// delivering what comes after entries that were lost on the way. Clients do repeat
// commands silently. TakeOver then claims the pending entries again, in stream order,
// and sets a new number. A new lease begins out of step for the same reason:
// what the former holder left comes first.
//
// Fourth, a failing entity takes its later entries with it. Park moves all of them
// from the stream to the entity's parked list, in pages, head first. If the worker
// dies before the last page, its successor moves the rest behind the head, like
// entries that come later. Read does not move entries that come later for a parked
// entity; it flags them. A parked entry keeps ids and no payload, so the caller
// writes the event's log row before the entry leaves the stream, and only then calls
// ParkBehind.
//
// # How an idle shard waits
//
// One blocking read waits for minutes on all streams of a shard that were read empty,
// each from the last entry delivered. Only its leaseholder reads them, so nothing else
// can have changed that. It has a connection of its own, and closing that ends it: at
// a handover, at the end of the lease, when further streams are to be waited for, and
// when a renewal was not confirmed. The last is how a wait at a server that is
// cut off ends: the leases are there too, and are renewed on other connections. A
// master that is demoted ends the waits of its clients itself.
//
// After such trouble what was delivered last may be later than what comes next: a
// promoted replica may lack the last entries, and its clock may be behind. So all
// streams are read again after 1, 2, 4 … s, for two minutes.
//
// Due times are not polled either. A Lease knows when the next parked entity of a
// source is due, since its own commands alone make one due sooner; each says so, also
// when its answer was lost. RetryParked is the exception. It is done with all shards
// before it changes a text that every worker reads with the states of the sources, four
// times a second. Should it end in between, or be of an older version, the due times
// are looked at within 15 s all the same.
//
// Renewals are each 2/5 of the TTL, in one pipeline for all shards of a worker. One
// that is not confirmed within 1/5 is sent again. Both times count from the sending, so
// there are two tries until the lease counts as lost at 4/5. Lost and late renewals are as harmless as others: the
// TTL counts from when a confirmed one was sent, and a fenced one changes nothing.
//
// # Pipelines of several callers
//
// Locks and short scripts of concurrent callers share pipelines. Each command has its
// own answer, and Redis runs others between them, so all is as if it came by itself. A
// caller that gives up while its command waits to be sent leaves a command that is yet
// to run, like one that timed out. A lock that is set so is released by the
// command behind it, or expires.
//
// # Why scripts may run twice
//
// The cluster client repeats commands after network errors even when configured
// not to, and a timeout leaves it open whether a command ran, or is yet to run.
// So each script says in its header what a second run does. Removals name the
// ids they remove. A parked entity's record remembers epoch and step of the
// last command that changed it, so an old command that comes late does nothing.
//
// # Parking
//
//	       Park (first entries)                Unpark (last entries)
//	read ─────────────────────▶ parked, waits ───────────────────────▶ gone
//	                             │  ▲   ▲ │
//	                   Due, Defer│  │   └─┘ ParkBehind: one more entry
//	                             ▼  │ Park (failed, no entries), Unpark (some)
//	                            parked, tried
//
// Trying takes nothing out of Redis: Defer moves the due time past the try, so
// that a worker that dies in it costs no more than that delay. Attempts are not
// counted per entry, which would rewrite the list at each failure. An entry keeps the
// entity's count from when it came; the difference is its own count.
//
// The record says why an entity is parked: it failed, or it was spilled, which means
// that its worker had too much in flight. Spilled entries are backlog.
//
// # Hints for the change feed
//
// A document whose last change the feed lacks is a debt, which the document itself
// shows. Whatever takes the entries of an entity out (Ack, Unpark) leaves a hint in the
// same script, if its caller knows of a debt: so either the entries are pending, and the
// next owner of the shard sees the debt, or the hint is there. Hints lie in the shard, and
// the sequencer of the source is woken by a bell, which is elsewhere on a cluster. A ring
// may be lost, and so may hints with all of Redis: the sequencer looks for debts in the
// store now and then. While no sequencer takes them, hinting stops at 100,000 a shard.
//
// # Budgets
//
// One bucket per source for the whole fleet, filled by Redis' clock. Each class
// below live has a floor of its own, so that live traffic that never ends does
// not end reconciliation. Changes at the provider go before live traffic, but take no more
// than their share, for which they have a bucket as well. An unused floor flows over to the other classes. Which class
// goes first depends on which went short in the last 200 ms: takers poll, so there is
// no queue to look at.
//
// # When Redis' clock is set back
//
// Waits are stored as the time of their end, by Redis' clock, and Redis stores its
// expiries in the same way. A clock that goes back by two hours would add two hours to
// each. So a pause stores when it was set and for how long, and begins again if it was
// set later than now. Due times go back as far as the clock did; the time of the last
// look at them is stored beside them and shows how far. A heartbeat counts for one TTL
// from now at most. A script that meets a lease, lock, probe or mark that would last
// longer than the longest it is ever given cuts it to that (clock.lua). What an older
// version wrote counts as set when it is first seen. A clock that goes forward ends
// waits early, which costs an attempt and breaks nothing.
//
// Ids of entries have the same clock's time. Redis keeps them growing; their
// ages are taken from when they were first seen where that is longer.
//
// # When replicas are lost
//
// WaitReplicas is a promise to those whose only copy is in Redis: a provider that was
// answered 200, an operator, a sweep. They wait, and are refused without replicas. A
// worker that waited too would stop all work for the loss of a spare, and it need not:
//
//	signal                             should the master be lost unconfirmed
//	further entity of a logged event   its row is open: Recover appends it again
//	what Recover appends               the same
//	refresh, second look               no row: the worker appends it again until it is
//	                                   confirmed, on whatever is the master by then
//	hint of a command                  the same, and its row hints it again
//	lease, ack, park                   nothing is lost: work is done twice at most
//
// So AppendFurther does not wait for signals that are Recorded, and answers ErrReplicas of
// others although they are in; see doubts.go of package worker. Waiting and other appends
// never share a pipeline, since WAIT takes 50 ms when a replica does not answer.
//
// # When Redis is full, or has forgotten
//
// All scripts but append run beyond the memory limit (allow-oom); otherwise a
// full Redis would refuse the acks that empty it. Append is refused from 80 %
// of maxmemory (ErrFull); AppendFurther is not, since an entry cannot leave
// before the signals it leads to are in. Nothing here is ever trimmed but the
// notes.
//
// After FLUSHALL, leases are fenced, Acquire makes the consumer groups again
// from id 0, and epochs go on growing since they follow the clock. The reconciler
// appends what was in Redis again from the log. A group that was made again delivers
// all entries of the stream again: the caller must skip by stream id what it has in
// flight, in Read as in TakeOver.
//
// A lease that Redis lost looks free and may not be. Its holder learns of the loss from
// its next fenced script, a renewal at the latest; if Redis does not answer it, it
// trusts the lease until 0.8 TTL after the last confirmed renewal. A successor that
// began meanwhile could claim a later event before the holder claims an earlier one.
// Epochs do not prevent that, since claims are taken in the store. So a worker that
// knows of a loss waits (Member). Its own heartbeat shows it:
//
//	former heartbeat                       free leases it takes
//	still counts in Redis                  any
//	none: the worker has just started      any, so that a new fleet begins at once
//	gone, answered a TTL ago or longer     any: it has run out
//	gone, answered since                   for one TTL those it held and still trusts
//
// The last row is FLUSHALL, a start with old data, a failover to an empty replica, or a
// clock set forward by more than a TTL. The TTL is taken by the worker's own monotonic
// clock, from the answer that showed the loss. A failover that loses the last second
// loses no heartbeat and no lease that was there before. A process that starts in those
// seconds knows of no loss; package identity has it wait while Redis is empty. The
// leases of tasks are taken at once: tasks have no order to keep.
package stream
