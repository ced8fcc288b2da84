-- A file as the first version left it.
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

INSERT INTO mirror (source, kind, id, raw, status, terminal, claim, synced_claim, state_hash, synced_at, verified_at, open_letters, behind_since, behind_reason) VALUES
	('lemon', 'order', 'bord_done', '{}', 'executed', 1, 3, 3, 'h', 1000, 2000, 0, 0, ''),
	('lemon', 'order', 'bord_dead', '{}', 'open', 0, 2, 1, 'h', 1000, 1000, 1, 1500, 'dead letter');
INSERT INTO events (n, source, id, type, created_at, received_at, status, signal_shard, signal_id, payload, trace_id) VALUES
	(1, 'lemon', 'evt_open', 'order.executed', 900, 1000, 'pending', 3, '1-0', '{"id":"evt_open"}', ''),
	(2, 'lemon', 'evt_dead', 'order.rejected', 900, 1000, 'dead', 3, '2-0', '{"id":"evt_dead"}', 'trace');
INSERT INTO outcomes (event, kind, id, position, parents, status, signal_shard, signal_id) VALUES
	(1, 'order', 'bord_done', 0, '{"account":"cusa_1"}', 'pending', 3, '1-0'),
	(2, 'order', 'bord_dead', 0, '', 'dead', 3, '2-0');
INSERT INTO dead_letters (id, source, event_id, kind, entity_id, parents, signal_shard, signal_id, class, attempts, claim, trace_id, at, status) VALUES
	('dl_c371bd57794397e62dee974272a415c9', 'lemon', 'evt_dead', 'order', 'bord_dead', '', 3, '2-0', 'permanent', '[{"at":"1970-01-01T00:00:01.5Z","error":"422"}]', 2, 'trace', 1500, 'open');
INSERT INTO discrepancies (id, source, kind, entity_id, type, status, patch, found_at) VALUES
	('rewritten/1', 'lemon', 'order', 'bord_done', 'rewritten', 'repaired', NULL, 1000);
INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES ('n1', 1000, 'lemon', 'rejected', '', 'mismatch', 2);
PRAGMA user_version = 1;
