package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// documentColumns are the columns of a document, in the order scanDocument
// reads them.
const (
	documentColumns = beforeClaim + "claim" + afterClaim

	beforeClaim = `source, kind, id, parents, raw, status, terminal, terminal_at, deleted_at,
	`
	afterClaim = `, synced_claim, state_hash, synced_at, verified_at,
	last_event_at, last_event_id, last_event_type,
	behind_since, behind_reason, doubted_at, open_letters, erased, version, fed`
)

// The statements of Claim. RETURNING would copy each row once more, and a trigger
// that reads the parents as JSON costs more than the document they are of.
const (
	claimedSQL = `SELECT ` + beforeClaim + `claim + 1` + afterClaim + `, rowid FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3`
	raiseSQL   = `UPDATE mirror SET claim = claim + 1 WHERE rowid = ?1`
	newSQL     = `INSERT INTO mirror (source, kind, id, parents, claim) VALUES (?1, ?2, ?3, ?4, 1)`
	parentSQL  = `INSERT OR IGNORE INTO mirror_parents (of_source, of_kind, parent, parent_id, of_id) VALUES (?1, ?2, ?3, ?4, ?5)`
)

// Claim raises the entity's claim and returns its document.
func (s *Store) Claim(ctx context.Context, ref event.Ref) (doc *storage.Document, err error) {
	if err := checkKeys(ref.Key); err != nil {
		return nil, err
	}
	parents, err := object(ref.Parents)
	if err != nil {
		return nil, fmt.Errorf("claim %s: parents: %w", ref.Key, err)
	}
	err = s.writer.change(ctx, func(t *tx) error {
		doc, err = t.claim(ref.Key, parents)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", ref.Key, err)
	}
	return doc, nil
}

func (t *tx) claim(k event.Key, parents string) (*storage.Document, error) {
	found, err := t.find(claimedSQL, k.Source, k.Kind, k.Local())
	if err != nil {
		return nil, err
	}
	if found == nil {
		return t.newDocument(k, parents)
	}
	row := numberedRow{scanner: found}
	doc, err := scanDocument(&row)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec(raiseSQL, row.n); err != nil {
		return nil, err
	}
	if len(doc.Damaged) > 0 {
		err = removeDamaged(t, doc)
	}
	return doc, err
}

// newDocument makes a document, and the rows of its parents.
func (t *tx) newDocument(k event.Key, parents string) (*storage.Document, error) {
	if _, err := t.exec(newSQL, k.Source, k.Kind, k.Local(), parents); err != nil {
		return nil, err
	}
	doc := &storage.Document{Key: k, Claim: 1}
	var err error
	if doc.Parents, err = fromObject(parents); err != nil {
		return nil, err
	}
	for kind, id := range doc.Parents {
		if _, err := t.exec(parentSQL, k.Source, k.Kind, kind, id, k.Local()); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// numberedRow is a row whose last column is its number.
type numberedRow struct {
	scanner
	n int64
}

// Scan reads the columns and the number.
func (r *numberedRow) Scan(dest ...any) error { return r.scanner.Scan(append(dest, &r.n)...) }

// The statements of Write. All are fenced by the claim; ?1 to ?4 are the key
// and the claim, ?5 the time the request was sent, ?6 to ?8 the last event, ?9
// the parents that answered.
const (
	fence = ` WHERE source = ?1 AND kind = ?2 AND id = ?3 AND claim = ?4` + latest + unmarked

	// unmarked refuses a write on an erased entity. The claim that the marker raised refuses
	// it as well, unless the file was replaced by an older copy and the numbers are given
	// out again.
	unmarked = ` AND erased = ''`

	// latest decides between two fetches with one claim. Claims never go back,
	// unless the file is replaced by an older copy: then a fetch that is still
	// under way from before may hold a number that is given out again.
	latest = ` AND (synced_claim < ?4 OR synced_at <= ?5)`

	// synced has the fields that every good fetch sets. A later event replaces the last
	// one; of the same time, the one with the greater id.
	synced = `
	synced_claim    = claim,
	synced_at       = ?5,
	last_event_at   = iif((?6, ?7) > (last_event_at, last_event_id), ?6, last_event_at),
	last_event_id   = iif((?6, ?7) > (last_event_at, last_event_id), ?7, last_event_id),
	last_event_type = iif((?6, ?7) > (last_event_at, last_event_id), ?8, last_event_type)`

	// under is for an answer with the entity: its parents are those it was found under.
	under = `
	parents = iif(?9 = '', parents, ?9),`

	// stays is for a document whose parents are those already. A statement that sets
	// them starts their trigger.
	stays = ` AND (?9 = '' OR parents = ?9)`

	// changes is for an answer that changes what the document says of the entity.
	changes = `
	version = ?4,`

	// believed is for an answer that was taken: doubts end, and so does being
	// behind, unless dead letters say otherwise.
	believed = `,
	verified_at   = max(verified_at, ?5),
	doubted_at    = 0,
	behind_since  = iif(open_letters > 0, behind_since, 0),
	behind_reason = iif(open_letters > 0, behind_reason, '')`

	writeUnchangedSQL = `UPDATE mirror SET` + under + synced + believed + fence
	writeStateSQL     = `UPDATE mirror SET` + under + synced + believed + `,
	raw = ?10, state_hash = ?11, status = ?12, terminal = ?13, deleted_at = 0,
	terminal_at = CASE WHEN NOT ?13 THEN 0 WHEN terminal THEN terminal_at ELSE ?5 END` + fence
	writeDeletedSQL = `UPDATE mirror SET` + synced + believed + `,
	deleted_at = iif(deleted_at = 0, ?5, deleted_at)` + fence
	writeKeptSQL = `UPDATE mirror SET` + under + synced + `,
	doubted_at    = iif(doubted_at = 0, ?10, doubted_at),
	behind_since  = iif(behind_reason = '', iif(doubted_at = 0, ?10, doubted_at), behind_since),
	behind_reason = '` + storage.ReasonLagging + `'` + fence
)

// Write applies the outcome of a fetch if its claim is still the newest.
func (s *Store) Write(ctx context.Context, w *storage.Write) (done storage.Written, err error) {
	k := w.Ref.Key
	parents, err := object(w.Ref.Parents)
	if err != nil {
		return done, fmt.Errorf("write %s: parents: %w", k, err)
	}
	args := []any{
		k.Source, k.Kind, k.Local(), w.Claim, millis(w.SentAt),
		millis(w.LastEvent.CreatedAt), w.LastEvent.ID, w.LastEvent.Type, parents,
	}
	queries := &writeUnchanged
	switch {
	case w.Kept:
		queries = &writeKept
		args = append(args, millis(w.DoubtedAt))
	case w.Deleted:
		queries, args = &writeDeleted, args[:8]
	case w.Raw != nil:
		queries = &writeState
		args = append(args, text(w.Raw), w.StateHash, w.Status, w.Terminal)
	}
	query := &queries.same
	if w.Changes() {
		query = &queries.changed
	}
	if fault.Off("claims") {
		query = query.replace(" AND claim = ?4"+latest, "")
	}
	if fault.Off("markers") {
		query = query.replace(unmarked, "")
	}
	if w.ForgetLastEvent && !w.LastEvent.CreatedAt.IsZero() {
		query = query.replace("(last_event_at, last_event_id),", "(-1, ''),")
	}
	err = s.writer.change(ctx, func(t *tx) (err error) {
		done, err = t.write(query, args)
		done.OpenLetters = done.OpenLetters && !w.Kept
		return err
	})
	if err != nil {
		return storage.Written{}, fmt.Errorf("write %s: %w", k, err)
	}
	return done, nil
}

// writeQueries are the statements of one kind of answer: one that leaves the version as it
// is, and one that changes it.
type writeQueries struct{ same, changed writeQuery }

var (
	writeUnchanged = newWriteQueries(writeUnchangedSQL)
	writeState     = newWriteQueries(writeStateSQL)
	writeDeleted   = newWriteQueries(writeDeletedSQL)
	writeKept      = newWriteQueries(writeKeptSQL)
)

func newWriteQueries(query string) writeQueries {
	changing := strings.Replace(query, synced, changes+synced, 1)
	return writeQueries{same: newWriteQuery(query), changed: newWriteQuery(changing)}
}

// writeQuery is a statement of Write, for a document that stays where it is and has no
// open dead letters, and for any.
type writeQuery struct{ usual, any string }

func newWriteQuery(query string) writeQuery {
	usual, moves := strings.Replace(query, under, "", 1), strings.Contains(query, under)
	if moves {
		usual += stays
	}
	return writeQuery{usual: usual + " AND open_letters = 0", any: query + " RETURNING open_letters"}
}

func (q *writeQuery) replace(old, with string) *writeQuery {
	return &writeQuery{strings.ReplaceAll(q.usual, old, with), strings.ReplaceAll(q.any, old, with)}
}

// write tries the statement for the usual document first, as nearly all are: RETURNING
// copies the row.
func (t *tx) write(q *writeQuery, args []any) (done storage.Written, err error) {
	n, err := t.exec(q.usual, args...)
	if err != nil || n > 0 {
		return storage.Written{Applied: n > 0}, err
	}
	var letters int64
	err = t.row(q.any, args...).Scan(&letters)
	if errors.Is(err, sql.ErrNoRows) {
		return storage.Written{}, nil
	}
	return storage.Written{Applied: err == nil, OpenLetters: letters > 0}, err
}

// removeDamaged gives the columns of a document that could not be read the values
// they have in a new one, so that a write can set them.
func removeDamaged(t *tx, doc *storage.Document) error {
	columns := make([]string, 0, len(doc.Damaged))
	for _, name := range doc.Damaged {
		value := " = 0"
		if name == "parents" {
			value = " = ''"
		}
		columns = append(columns, name+value)
		if name == "terminal_at" { // which is set as a document becomes terminal
			columns = append(columns, "terminal = 0")
			doc.Terminal = false
		}
	}
	_, err := t.exec("UPDATE mirror SET "+strings.Join(columns, ", ")+" WHERE source = ?1 AND kind = ?2 AND id = ?3",
		doc.Key.Source, doc.Key.Kind, doc.Key.Local())
	return err
}

func scanDocument(row scanner) (*storage.Document, error) {
	var d storage.Document
	var b storage.Behind
	var parents, erased string
	var isTerminal, terminal, deleted, claim, syncedClaim, synced, verified, eventAt, since, doubted, letters, version, fed number
	err := row.Scan(&d.Key.Source, &d.Key.Kind, local{&d.Key}, &parents, &d.Raw, &d.Status, &isTerminal, &terminal, &deleted,
		&claim, &syncedClaim, &d.StateHash, &synced, &verified,
		&eventAt, &d.LastEvent.ID, &d.LastEvent.Type,
		&since, &b.Reason, &doubted, &letters, &erased, &version, &fed)
	if err != nil {
		return nil, err
	}
	d.Erased = parseMarker(erased)
	if claim.bad { // it would never be written
		return nil, fate.Errorf(fate.Permanent, "document %s: its claim cannot be read", d.Key)
	}
	if d.Parents, err = fromObject(parents); err != nil {
		d.Damaged = append(d.Damaged, "parents")
	}
	for _, c := range [...]struct {
		name string
		*number
	}{
		{"terminal", &isTerminal}, {"terminal_at", &terminal}, {"deleted_at", &deleted}, {"synced_claim", &syncedClaim},
		{"synced_at", &synced}, {"verified_at", &verified}, {"last_event_at", &eventAt}, {"behind_since", &since},
		{"doubted_at", &doubted}, {"open_letters", &letters}, {"version", &version}, {"fed", &fed},
	} {
		if c.bad {
			d.Damaged = append(d.Damaged, c.name)
		}
	}
	d.Terminal, d.TerminalAt, d.DeletedAt = isTerminal.int64 != 0, terminal.time(), deleted.time()
	d.Claim, d.SyncedClaim, d.SyncedAt, d.VerifiedAt = claim.int64, syncedClaim.int64, synced.time(), verified.time()
	d.LastEvent.CreatedAt, d.DoubtedAt, d.OpenLetters = eventAt.time(), doubted.time(), int(letters.int64)
	d.Version, d.Fed = version.int64, fed.int64
	if b.Reason != "" {
		b.Since = since.time()
		d.Behind = &b
	}
	return &d, nil
}
