package sqlite

import (
	"fmt"
	"strings"
)

// schemaVersion is kept in the file's user_version. A file of a later one is
// refused: an older program would not keep what the newer relies on.
const schemaVersion = 21

// steps bring a file from the version that is their index to the next.
var steps = [schemaVersion]string{tables, reconciling, finding, moving, explaining, bounding, marking, dating, ordering, claiming, noting, sparing, failing, auditing,
	erasing, feeding, commanding, outboxing, holding, owing, counting}

// tables makes the tables of version 1. Source and kind are columns rather
// than parts of table names, so that every statement is prepared once.
const tables = `
CREATE TABLE mirror (
	source          TEXT NOT NULL,
	kind            TEXT NOT NULL,
	id              TEXT NOT NULL,
	parents         TEXT NOT NULL DEFAULT '',  -- JSON object, '' for none
	raw             TEXT,
	status          TEXT NOT NULL DEFAULT '',
	terminal        INTEGER NOT NULL DEFAULT 0,
	deleted_at      INTEGER NOT NULL DEFAULT 0,
	claim           INTEGER NOT NULL DEFAULT 0,
	synced_claim    INTEGER NOT NULL DEFAULT 0,
	state_hash      TEXT NOT NULL DEFAULT '',
	synced_at       INTEGER NOT NULL DEFAULT 0,
	verified_at     INTEGER NOT NULL DEFAULT 0,
	last_event_at   INTEGER NOT NULL DEFAULT 0,
	last_event_id   TEXT NOT NULL DEFAULT '',
	last_event_type TEXT NOT NULL DEFAULT '',
	behind_since    INTEGER NOT NULL DEFAULT 0,
	behind_reason   TEXT NOT NULL DEFAULT '',  -- '' when not behind
	doubted_at      INTEGER NOT NULL DEFAULT 0,
	open_letters    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (source, kind, id)
);
CREATE INDEX mirror_status ON mirror (source, kind, status, id);

CREATE TABLE events (
	n               INTEGER PRIMARY KEY,
	source          TEXT NOT NULL,
	id              TEXT NOT NULL,
	type            TEXT NOT NULL,
	created_at      INTEGER NOT NULL,
	received_at     INTEGER NOT NULL,
	processed_at    INTEGER NOT NULL DEFAULT 0,
	status          TEXT NOT NULL,
	attempts        INTEGER NOT NULL DEFAULT 0,
	error           TEXT NOT NULL DEFAULT '',
	duplicates      INTEGER NOT NULL DEFAULT 0,
	out_of_order    INTEGER NOT NULL DEFAULT 0,
	overtaken       INTEGER NOT NULL DEFAULT 0,
	lagging         INTEGER NOT NULL DEFAULT 0,
	payload_differs INTEGER NOT NULL DEFAULT 0,
	signal_shard    INTEGER NOT NULL,          -- the entry that brought it first
	signal_id       TEXT NOT NULL,
	payload         TEXT,
	trace_id        TEXT NOT NULL,
	UNIQUE (source, id)
);
CREATE INDEX events_received ON events (received_at, source, id);
CREATE INDEX events_open ON events (received_at) WHERE status IN ('pending', 'retrying');
CREATE INDEX events_unlucky ON events (status, received_at) WHERE status IN ('dead', 'superseded', 'discarded');

-- The further stream entries an event came with.
CREATE TABLE signals (
	event INTEGER NOT NULL,
	shard INTEGER NOT NULL,
	id    TEXT NOT NULL,
	PRIMARY KEY (event, shard, id)
) WITHOUT ROWID;

CREATE TABLE outcomes (
	event          INTEGER NOT NULL,
	kind           TEXT NOT NULL,
	id             TEXT NOT NULL,
	position       INTEGER NOT NULL,           -- 0: the primary entity
	parents        TEXT NOT NULL,
	status         TEXT NOT NULL,
	signal_shard   INTEGER NOT NULL DEFAULT 0,
	signal_id      TEXT NOT NULL DEFAULT '',
	claim          INTEGER NOT NULL DEFAULT 0, -- covered_by; 0 for none
	fetched_at     INTEGER NOT NULL DEFAULT 0,
	covered_signal TEXT NOT NULL DEFAULT '',
	failed_at      INTEGER NOT NULL DEFAULT 0, -- its latest counted failure
	PRIMARY KEY (event, kind, id)
) WITHOUT ROWID;
CREATE INDEX outcomes_entity ON outcomes (kind, id);

CREATE TABLE dead_letters (
	id           TEXT PRIMARY KEY,
	source       TEXT NOT NULL,
	event_id     TEXT NOT NULL,
	kind         TEXT NOT NULL,
	entity_id    TEXT NOT NULL,
	parents      TEXT NOT NULL,
	signal_shard INTEGER NOT NULL,
	signal_id    TEXT NOT NULL,
	class        TEXT NOT NULL,
	attempts     TEXT NOT NULL,                -- JSON array
	claim        INTEGER NOT NULL,
	trace_id     TEXT NOT NULL,
	at           INTEGER NOT NULL,
	status       TEXT NOT NULL                 -- open, redriven, superseded, discarded
);
CREATE INDEX dead_letters_entity ON dead_letters (source, kind, entity_id, status);

CREATE TABLE discrepancies (
	id        TEXT PRIMARY KEY,
	source    TEXT NOT NULL,
	kind      TEXT NOT NULL,
	entity_id TEXT NOT NULL,
	type      TEXT NOT NULL,
	status    TEXT NOT NULL,
	patch     TEXT,
	found_at  INTEGER NOT NULL
);
CREATE INDEX discrepancies_found ON discrepancies (found_at);

CREATE TABLE audit (
	id       TEXT PRIMARY KEY,
	at       INTEGER NOT NULL,
	source   TEXT NOT NULL,
	kind     TEXT NOT NULL,
	event_id TEXT NOT NULL,
	reason   TEXT NOT NULL,
	count    INTEGER NOT NULL
);
CREATE INDEX audit_at ON audit (at);
`

// reconciling adds what finding and repairing differences needs.
const reconciling = `
ALTER TABLE mirror ADD COLUMN terminal_at INTEGER NOT NULL DEFAULT 0;
UPDATE mirror SET terminal_at = synced_at WHERE terminal;

DROP INDEX events_open;
CREATE INDEX events_unsettled ON events (source, received_at, id) WHERE status IN ('pending', 'retrying');

ALTER TABLE dead_letters ADD COLUMN closed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN closed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN reason TEXT NOT NULL DEFAULT '';
CREATE INDEX dead_letters_at ON dead_letters (at, id);
CREATE INDEX dead_letters_status ON dead_letters (status, at, id);

ALTER TABLE discrepancies ADD COLUMN event_id TEXT NOT NULL DEFAULT '';
ALTER TABLE discrepancies ADD COLUMN sweep_id TEXT NOT NULL DEFAULT '';
ALTER TABLE discrepancies ADD COLUMN judged_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE discrepancies ADD COLUMN repaired_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE discrepancies ADD COLUMN repair TEXT NOT NULL DEFAULT '';  -- repaired, failed, '' for neither yet
UPDATE discrepancies SET judged_at = found_at, repaired_at = found_at, repair = status WHERE status = 'repaired';
DROP INDEX discrepancies_found;
CREATE INDEX discrepancies_found ON discrepancies (found_at, id);
CREATE INDEX discrepancies_status ON discrepancies (status, found_at, id);
CREATE INDEX discrepancies_entity ON discrepancies (source, kind, entity_id, found_at, id);
CREATE INDEX discrepancies_sweep ON discrepancies (sweep_id, found_at, id);

CREATE TABLE tasks (
	id          TEXT PRIMARY KEY,
	kind        TEXT NOT NULL,
	parent      TEXT NOT NULL,
	source      TEXT NOT NULL,
	status      TEXT NOT NULL,
	by          TEXT NOT NULL,
	spec        TEXT,
	state       TEXT,
	counts      TEXT NOT NULL,                 -- JSON object
	error       TEXT NOT NULL DEFAULT '',
	cancel      INTEGER NOT NULL DEFAULT 0,
	epoch       INTEGER NOT NULL DEFAULT 0,
	created_at  INTEGER NOT NULL,
	started_at  INTEGER NOT NULL DEFAULT 0,
	updated_at  INTEGER NOT NULL DEFAULT 0,
	finished_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX tasks_created ON tasks (created_at, id);
CREATE INDEX tasks_parent ON tasks (parent, created_at, id);
`

// finding adds what looking into the log by status needs. Rows that were
// processed, nearly all in the end, are found by time. Rows under way have
// events_unsettled, which is small; a wider one would cost every sync twice,
// once on the way in and once on the way out.
//
// SQLite takes a partial index only for a query whose text implies its
// condition: see conditions.addStatus.
const finding = `
DROP INDEX events_unlucky;
CREATE INDEX events_unlucky ON events (status, received_at, source, id) WHERE status IN ('dead', 'superseded', 'discarded');
`

// moving adds what an event has to say of parents that are not the known ones.
const moving = `
ALTER TABLE events ADD COLUMN parents_differ INTEGER NOT NULL DEFAULT 0;
`

// explaining adds what decides whether an event explains a difference: which state
// its fetch brought, which the provider showed, and after which claim.
const explaining = `
ALTER TABLE outcomes ADD COLUMN state_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE discrepancies ADD COLUMN state_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE discrepancies ADD COLUMN synced_claim INTEGER NOT NULL DEFAULT 0;
`

// bounding adds an index for each query that read a whole table: however
// large the file grows, a query reads what it answers. Partial ones hold little,
// and cost only what enters and leaves them.
//
// mirror_parents holds the parents of a document as rows. Triggers keep it, so
// that no write of parents has to set it. The one for new documents is gone again:
// see claiming.
const bounding = `
CREATE INDEX mirror_unfetched ON mirror (source, kind) WHERE synced_claim = 0;
CREATE INDEX mirror_living ON mirror (source, kind, verified_at) WHERE synced_claim > 0 AND terminal_at = 0 AND deleted_at = 0;
CREATE INDEX mirror_ended ON mirror (source, kind, terminal_at) WHERE terminal_at > 0 AND deleted_at = 0;

CREATE TABLE mirror_parents (
	of_source TEXT NOT NULL,
	of_kind   TEXT NOT NULL,
	parent    TEXT NOT NULL,                   -- the parent's kind
	parent_id TEXT NOT NULL,
	of_id     TEXT NOT NULL,
	PRIMARY KEY (of_source, of_kind, parent, parent_id, of_id)
) WITHOUT ROWID;
INSERT INTO mirror_parents SELECT source, kind, p.key, p.value, m.id FROM mirror AS m, json_each(m.parents) AS p WHERE m.parents <> '';
CREATE TRIGGER mirror_parents_insert AFTER INSERT ON mirror WHEN new.parents <> '' BEGIN
	INSERT OR IGNORE INTO mirror_parents SELECT new.source, new.kind, p.key, p.value, new.id FROM json_each(new.parents) AS p;
END;
CREATE TRIGGER mirror_parents_update AFTER UPDATE OF parents ON mirror WHEN new.parents <> old.parents BEGIN
	DELETE FROM mirror_parents WHERE (of_source, of_kind, parent, parent_id, of_id) IN
		(SELECT old.source, old.kind, p.key, p.value, old.id FROM json_each(iif(old.parents = '', '{}', old.parents)) AS p);
	INSERT OR IGNORE INTO mirror_parents
		SELECT new.source, new.kind, p.key, p.value, new.id FROM json_each(iif(new.parents = '', '{}', new.parents)) AS p;
END;
CREATE TRIGGER mirror_parents_delete AFTER DELETE ON mirror WHEN old.parents <> '' BEGIN
	DELETE FROM mirror_parents WHERE (of_source, of_kind, parent, parent_id, of_id) IN
		(SELECT old.source, old.kind, p.key, p.value, old.id FROM json_each(old.parents) AS p);
END;

CREATE INDEX events_source ON events (source, received_at, id);
CREATE INDEX events_type ON events (type, received_at, source, id);
CREATE INDEX outcomes_failed ON outcomes (kind, id) WHERE status = 'pending' AND failed_at > 0;
CREATE INDEX dead_letters_open ON dead_letters (source) WHERE status = 'open';
CREATE INDEX tasks_status ON tasks (status, created_at, id);
CREATE INDEX tasks_kind ON tasks (kind, created_at, id);
CREATE INDEX tasks_parent_status ON tasks (parent, status);
CREATE INDEX tasks_finished ON tasks (parent, finished_at);
`

// marking adds flags for what an event lacks.
const marking = `
ALTER TABLE events ADD COLUMN unnamed INTEGER NOT NULL DEFAULT 0;  -- not the entity its type is about
ALTER TABLE events ADD COLUMN undated INTEGER NOT NULL DEFAULT 0;  -- no time that can be read
`

// dating adds how old the mirror's side of a difference was.
const dating = `
ALTER TABLE discrepancies ADD COLUMN synced_at INTEGER NOT NULL DEFAULT 0;
`

// ordering has the events of an entity found in the order of their list, however
// many there are.
const ordering = `
ALTER TABLE outcomes ADD COLUMN received_at INTEGER NOT NULL DEFAULT 0;  -- the event's
UPDATE outcomes SET received_at = ifnull((SELECT e.received_at FROM events AS e WHERE e.n = event), 0);
DROP INDEX outcomes_entity;
CREATE INDEX outcomes_entity ON outcomes (kind, id, received_at);
`

// claiming drops the trigger that read the parents of each new document as JSON: the
// claim that makes a document knows them. Changed ones are few and keep theirs.
const claiming = `
DROP TRIGGER mirror_parents_insert;
`

// noting adds what was read outside a payload, and why an event leads to nothing. Few
// events have a note, so the index holds little.
const noting = `
ALTER TABLE events ADD COLUMN given TEXT NOT NULL DEFAULT '';  -- JSON object, '' for nothing
ALTER TABLE events ADD COLUMN note TEXT NOT NULL DEFAULT '';
CREATE INDEX events_noted ON events (note, received_at, source, id) WHERE note <> '';
`

// sparing makes two indexes cheaper for every event. SQLite answers IN with more than two
// values by a table that it makes for each row, of an index' condition too: for an event
// three times, each as dear as a statement. And a document that was claimed and not
// fetched yet has no status to be found by: it left the index again with its first write.
const sparing = `
DROP INDEX events_unlucky;
CREATE INDEX events_unlucky ON events (status, received_at, source, id) WHERE ` + unluckyStatus + `;
DROP INDEX mirror_status;
CREATE INDEX mirror_status ON mirror (source, kind, status, id) WHERE status <> '';
`

// unluckyStatus is the condition of events_unlucky, which its queries repeat word for word.
const unluckyStatus = `(status = 'dead' OR status = 'superseded' OR status = 'discarded')`

// failing adds why the work on an entity failed, and when it is tried again.
const failing = `
ALTER TABLE outcomes ADD COLUMN error TEXT NOT NULL DEFAULT '';
ALTER TABLE outcomes ADD COLUMN next_at INTEGER NOT NULL DEFAULT 0;
`

// auditing adds what an operator changed, and finds operators' actions among the notes.
const auditing = `
ALTER TABLE audit ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN did TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN target TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN why TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN state_before TEXT NOT NULL DEFAULT '';  -- JSON
ALTER TABLE audit ADD COLUMN state_after TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_acts ON audit (at, id) WHERE kind = 'operator';
`

// erasing adds markers of erased entities, and the list of what was erased by itself or
// with all that is under it.
const erasing = `
ALTER TABLE mirror ADD COLUMN erased TEXT NOT NULL DEFAULT '';  -- JSON object, '' for nearly all
CREATE INDEX events_erased ON events (received_at, source, id) WHERE status = 'erased';

CREATE TABLE erasures (
	source    TEXT NOT NULL,
	kind      TEXT NOT NULL,
	id        TEXT NOT NULL,
	at        INTEGER NOT NULL,
	by        TEXT NOT NULL,
	with_kind TEXT NOT NULL DEFAULT '',       -- what it was erased with
	with_id   TEXT NOT NULL DEFAULT '',
	below     INTEGER NOT NULL,
	PRIMARY KEY (source, kind, id)
) WITHOUT ROWID;
CREATE TABLE erasures_version (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	version INTEGER NOT NULL                  -- counts the changes of erasures
);
`

// feeding adds the change feed: the version of each document, the highest one that is in
// the feed, the log, and how far its consumers are. Documents that have not changed since owe nothing. mirror_owed
// holds only what the feed lacks, which is hardly ever more than the changes of a second. It
// is as narrow as can be, for each change enters and leaves it: rows of one source are in
// the order of their numbers.
const feeding = `
ALTER TABLE mirror ADD COLUMN version INTEGER NOT NULL DEFAULT 0;  -- claim of the last change
ALTER TABLE mirror ADD COLUMN fed INTEGER NOT NULL DEFAULT 0;      -- highest version in the feed
CREATE INDEX mirror_owed ON mirror (source) WHERE version > fed;

CREATE TABLE feed (
	source TEXT NOT NULL,
	first  INTEGER NOT NULL,                   -- position
	len    INTEGER NOT NULL,                   -- positions it takes
	gen    TEXT NOT NULL,
	reason TEXT NOT NULL,                      -- why it begins a generation, '' if it does not
	tag    TEXT NOT NULL,
	prev   TEXT NOT NULL,                      -- tag of the batch before
	at     INTEGER NOT NULL,
	items  TEXT NOT NULL,                      -- JSON array of [kind, id, version]
	PRIMARY KEY (source, first)
);

CREATE TABLE subscriptions (
	source   TEXT NOT NULL,
	consumer TEXT NOT NULL,
	form     TEXT NOT NULL,
	kinds    TEXT NOT NULL,                    -- with commas between, '' for all
	after    TEXT NOT NULL,                    -- cursor
	position INTEGER NOT NULL,
	at       INTEGER NOT NULL,
	by       TEXT NOT NULL,                    -- name of the token
	PRIMARY KEY (source, consumer)
);
CREATE INDEX subscriptions_at ON subscriptions (at DESC, source, consumer);
`

// commanding adds commands, which are changes to be made at the provider, and refs. Indexes
// that serve the work hold only what is open: nearly all commands are over.
const commanding = `
CREATE TABLE commands (
	id          TEXT PRIMARY KEY,
	source      TEXT NOT NULL,
	key         TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	kind        TEXT NOT NULL,
	op          TEXT NOT NULL,
	ref         TEXT NOT NULL,                 -- '' for none
	parents     TEXT NOT NULL,                 -- JSON object, '' for none
	body        TEXT,
	bulk        INTEGER NOT NULL,
	by          TEXT NOT NULL,
	at          INTEGER NOT NULL,
	trace       TEXT NOT NULL,
	lane        TEXT NOT NULL,                 -- entity id, or ~ref
	n           INTEGER NOT NULL,
	state       TEXT NOT NULL,
	open        INTEGER NOT NULL,              -- 0 once it is final
	rev         INTEGER NOT NULL,
	due_at      INTEGER NOT NULL,
	held        INTEGER NOT NULL,
	owed        INTEGER NOT NULL,              -- to the change feed
	waits_on    TEXT NOT NULL,                 -- kind/ref, '' for none
	request     TEXT,                          -- JSON, NULL until it is first sent
	sent        TEXT,                          -- body of the request
	answer      TEXT,                          -- body of the answer
	progress    TEXT NOT NULL,                 -- JSON
	reason      TEXT NOT NULL,
	ended_at    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX commands_lane ON commands (source, kind, lane, n) WHERE open = 1;
CREATE INDEX commands_due ON commands (source, due_at, id) WHERE open = 1 AND held = 0;
CREATE INDEX commands_waits ON commands (source, waits_on) WHERE open = 1 AND waits_on <> '';
CREATE INDEX commands_held ON commands (source, held, state) WHERE open = 1;
CREATE INDEX commands_counted ON commands (state, source, kind, op) WHERE ` + countedCommands + `;
CREATE INDEX commands_at ON commands (at, id);
CREATE INDEX commands_source ON commands (source, at, id);
CREATE INDEX commands_state ON commands (state, at, id);
CREATE INDEX commands_entity ON commands (source, kind, lane, at, id);
CREATE INDEX commands_ref ON commands (ref, at, id) WHERE ref <> '';

CREATE TABLE refs (
	source   TEXT NOT NULL,
	kind     TEXT NOT NULL,
	address  TEXT NOT NULL,                    -- entity id, or ~ref
	n        INTEGER NOT NULL,                 -- of its newest command
	entity   TEXT NOT NULL DEFAULT '',         -- id that a ref names, '' for none yet
	parents  TEXT NOT NULL DEFAULT '',
	bound_by TEXT NOT NULL DEFAULT '',
	bound_at INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (source, kind, address)
) WITHOUT ROWID;
CREATE INDEX refs_entity ON refs (source, kind, entity) WHERE entity <> '';
`

// outboxing adds the table that applications insert into. Nothing of a row is checked here
// but that it is whole: what is wrong with one is told by the command that it becomes.
const outboxing = `
CREATE TABLE outbox (
	key     TEXT NOT NULL PRIMARY KEY,
	source  TEXT NOT NULL,
	kind    TEXT NOT NULL,
	op      TEXT NOT NULL,
	ref     TEXT,
	id      TEXT,
	parents TEXT,                              -- JSON object
	body    TEXT,                              -- JSON object
	bulk    INTEGER NOT NULL DEFAULT 0,
	seq     INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX outbox_order ON outbox (source, seq, key);
`

// holding adds the sources whose commands are held, in the place of a mark on each command,
// and an index of those that may be removed once they are old.
const holding = `
CREATE TABLE command_holds (
	source TEXT PRIMARY KEY,
	since  INTEGER NOT NULL,
	reason TEXT NOT NULL
) WITHOUT ROWID;
DROP INDEX commands_held;
DROP INDEX commands_due;
ALTER TABLE commands DROP COLUMN held;
CREATE INDEX commands_due ON commands (source, due_at, id) WHERE open = 1;
CREATE INDEX commands_ended ON commands (ended_at) WHERE open = 0 AND owed = 0;
`

// owing adds the index of the commands that the feed lacks: hardly ever more than those that
// came to rest within the last second.
const owing = `
CREATE INDEX commands_owed ON commands (source, id, kind, rev) WHERE owed = 1;
`

// countedCommands is the condition of commands_counted, which its query repeats word for word.
const countedCommands = `(open = 1 OR state = 'dead')`

// counting has the index hold all that its condition asks for, so that counting reads no rows.
const counting = `
DROP INDEX commands_counted;
CREATE INDEX commands_counted ON commands (state, source, kind, op, open) WHERE ` + countedCommands + `;
`

// migrate brings the file to schemaVersion. It is called in the writer's turn,
// so two processes starting at once do not both make the tables.
func migrate(c *conn, path string) error {
	var version int
	if err := c.row("PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("read schema version of %s: %w", path, err)
	}
	switch {
	case version == schemaVersion:
		return nil
	case version > schemaVersion:
		return fmt.Errorf("%s has schema version %d, this program knows up to %d: use the newer program that wrote it",
			path, version, schemaVersion)
	}
	script := fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT",
		strings.Join(steps[version:], ""), schemaVersion)
	if err := c.script(script); err != nil {
		return fmt.Errorf("make tables in %s: %w", path, err)
	}
	return nil
}
