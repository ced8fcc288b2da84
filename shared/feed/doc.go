// Package feed is the change feed of a source: a log of "this entity, or this command, has
// this version", which consumers follow at their own pace, and what makes it complete.
//
//	worker                      Redis                    sequencer              consumers
//	guarded write, version ┐
//	settle                 │
//	ack, with a hint ──────┼──▶ {tarn:7}:feed:lemon ──▶ next batch at head + 1 ──▶ Read
//	                       │         ▲ rings                 │
//	                       └─ debt: version > fed ───────────┴─▶ raises fed
//	                          (the document itself)
//
// The version of a document is the claim of its last change, set by the guarded write
// that makes the change. fed is the highest version known to be in the log. A document
// whose version is higher is a debt: the outbox is the document, and a debt is made in the
// atomic step that makes it necessary. Everything else only makes payment quick.
//
// Items carry no state. Who delivers an item reads the document then, which has that
// version or a later one. So states between may be skipped, a state is written once, and
// no log keeps what was erased.
//
// # Positions
//
// The log is a chain of batches. The first position of a batch is its _id, which is
// unique. A batch is inserted at the position behind the head, which only those know who
// have read the head. So a position exists once, and a batch becomes visible after the one
// before it: the order in which batches can be seen is the order of their positions. No
// clock, lease or watermark is in this argument; a lease only keeps two sequencers from
// working in vain.
//
// Each batch names the tag of the one before it. A reader takes a batch only if it begins
// where the last one ended and names its tag. A hole, wherever it comes from, is seen by
// every reader that reaches it, and the answer is Gone: never a silent gap.
//
// # When a process dies in between
//
//	dies after                 then
//	write, before settle       the entries are pending. The next owner syncs; even if
//	                           nothing has changed since, the claimed document shows the debt
//	settle, before ack         the next owner finds the event settled, and acks it without
//	                           a sync. So it asks the store for debts first
//	ack                        the hint was left by the script that acked
//	a zombie's write           its ack is fenced, so the entries are the next owner's; a write
//	                           after the next owner's claim is refused
//	insert, before the hints   the item comes twice, with the same version
//	are removed, or fed is
//	raised
//	insert, its outcome is     the hints are still there; the next try may add the items again
//	unknown
//	two sequencers             one insert finds its position taken, reads the head and goes on
//	Redis loses everything     hints are lost, debts are not: the sequencer looks through the
//	                           store now and then, by an index that holds debts alone
//	Redis loses its last       hint and ack went together, so the entries are pending again
//	second
//	no sequencer runs          hinting stops at 100,000 a shard and source; the look through
//	                           the store finds the rest
//	an insert is rolled back   readers read what a majority has; a reader that was wrong
//	                           sees a tag that does not fit
//
// A worker that lost its lease with all of Redis may still write and settle, and has no
// entry left whose ack could carry a hint. Only the look through the store finds such a
// debt: it is not only for the time after a loss.
//
// fed is raised only where the document still has the version of the item. A document
// that has changed since stays a debt, and so does one of a database that was restored: its
// claims are issued again, and a version that was fed before the restore must not pay for
// the change that gets its number.
//
// # Commands
//
// A change asked for at the provider is in the feed as well, with a key that storage.CommandItem
// makes and its rev as the version. It owes the feed an item from the step that brings it to
// rest, as done, dead, cancelled, discarded or asked, or takes it out of asked or dead again;
// the mark is in its row. No hint names it: the sequencer asks the store for what is owed,
// which is one read of an index that is nearly always empty, each time the worker rings for
// commands, and every 2 s for what operators and the outbox do. It inserts, and then pays
// each debt if the row still has the item's version:
//
//	dies after                 then
//	the row is moved           the row is owed: the next look finds it, whether it rang or not
//	insert, before it is paid  the item comes twice, with the same version
//	a Move between insert and  rev is another, so the debt stays and a later item follows;
//	payment                    the mark that the mover had read is written again at worst
//
// Rev grows with every change of a row and never decreases. So a consumer keeps the
// greater version per subject, as it does of entities, and holds what the row says in the end.
// States in which a command is under way are told only after one in which it rested.
//
// A Filter says who gets them: those who ask for everything; those who ask for kinds only if
// they ask for commands too. A snapshot has none. It is of what is, and commands that are
// over are the past; those that are asked are a list that GET /v1/commands gives. Read
// after the snapshot's position was noted, that list and the feed leave no gap.
//
// # A database that was restored
//
// Redis is told how far the log has come. If the log does not have that batch, the
// database is a copy from before it. The sequencer then begins a generation, with a batch
// that has no items. Cursors of another generation are Gone, and consumers read
// everything again: versions they hold may exist no more.
//
// # What is delivered
//
// Read gives items. The process that delivers them reads the documents and commands then, and
// makes a Change of each, which is the same whichever way it goes. One that is older than
// its item (ErrOlder) is of a database that was restored.
//
// # Trimming
//
// The oldest batches go first, the newest never. A sequencer that was stopped for longer
// than batches are kept could insert where they were, before all that is read. So a batch
// counts as added only once the head, read after the insert, is that batch or lies behind
// it in the chain; hints stay and fed is not raised until then.
package feed
