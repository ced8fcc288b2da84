package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// clearPage is how many events one call of Clear handles.
const clearPage = 100

const (
	markerSQL = `SELECT erased FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3`

	// eraseSQL removes all of a document but its key, parents and claim, which it raises.
	eraseSQL = `
UPDATE mirror SET erased = ?4, claim = claim + ?5, version = version + 1, synced_claim = -1, raw = NULL, status = '', terminal = 0, terminal_at = 0,
	deleted_at = 0, state_hash = '', synced_at = 0, verified_at = 0, last_event_at = 0, last_event_id = '', last_event_type = '',
	behind_since = 0, behind_reason = '', doubted_at = 0, open_letters = 0
WHERE source = ?1 AND kind = ?2 AND id = ?3`

	uneraseSQL = `UPDATE mirror SET erased = '', claim = claim + 1, synced_claim = 0 WHERE source = ?1 AND kind = ?2 AND id = ?3`

	documentSQL = `SELECT ` + documentColumns + ` FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3`

	namingSQL = `
SELECT o.event, o.received_at, e.source FROM outcomes AS o INDEXED BY outcomes_entity CROSS JOIN events AS e ON e.n = o.event
WHERE o.kind = ?1 AND o.id = ?2 AND (o.received_at, o.event) > (?3, ?4) ORDER BY o.received_at, o.event LIMIT ?5`

	// emptySQL replaces the content of an event, if there is any.
	emptySQL = `
UPDATE events SET payload = '` + storage.ErasedText + `', given = '', error = iif(error = '', '', '` + storage.ErasedText + `')
WHERE n = ?1 AND (payload IS NOT '` + storage.ErasedText + `' OR given <> '' OR error NOT IN ('', '` + storage.ErasedText + `'))`

	emptyOutcomeSQL = `
UPDATE outcomes SET error = iif(error = '', '', '` + storage.ErasedText + `'), state_hash = ''
WHERE event = ?1 AND kind = ?2 AND id = ?3`

	// emptyBodiesSQL replaces other bodies of an event, by the ids of their notes: see
	// NoteDiffering and NoteRefused.
	emptyBodiesSQL = `
UPDATE audit SET reason = '` + storage.ErasedText + `' WHERE id IN (
	SELECT k.column1 || '/' || s.shard || '/' || s.id FROM (VALUES ('differing'), ('refused')) AS k, (
		SELECT signal_shard AS shard, signal_id AS id FROM events WHERE n = ?1 UNION ALL SELECT shard, id FROM signals WHERE event = ?1) AS s)`

	eraseOutcomeSQL = `UPDATE outcomes SET status = 'erased' WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status IN ('pending', 'dead')`

	settleErasedSQL = `
UPDATE outcomes SET status = 'erased', signal_shard = ?4, signal_id = ?5, claim = ?6, covered_signal = ?7
WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = 'pending'`

	lettersOfSQL    = `SELECT id, attempts FROM dead_letters WHERE source = ?1 AND kind = ?2 AND entity_id = ?3`
	emptyLetterSQL  = `UPDATE dead_letters SET attempts = ?2 WHERE id = ?1`
	eraseLettersSQL = `
UPDATE dead_letters SET status = 'erased', closed_at = ?4
WHERE source = ?1 AND kind = ?2 AND entity_id = ?3 AND status = 'open'`

	emptyPatchesSQL = `
UPDATE discrepancies SET patch = iif(patch IS NULL, NULL, '` + storage.ErasedText + `'), state_hash = '',
	judged_at = iif(status = 'suspected', ?4, judged_at), status = iif(status = 'suspected', 'dropped', status)
WHERE source = ?1 AND kind = ?2 AND entity_id = ?3`

	emptyGivenUpSQL = `
UPDATE audit SET reason = '` + storage.ErasedText + `' WHERE id IN (
	SELECT 'given_up/' || substr(a.id, length('operator/') + 1) FROM audit AS a INDEXED BY audit_acts WHERE a.kind = 'operator' AND a.target = ?1)`

	enlistSQL = `
INSERT INTO erasures (source, kind, id, at, by, with_kind, with_id, below) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT DO UPDATE SET at = min(at, ?4), by = iif(at <= ?4, by, ?5), with_kind = iif(with_kind = '', '', ?6), with_id = iif(with_kind = '', '', ?7), below = max(below, ?8)`
	unlistSQL   = `DELETE FROM erasures WHERE source = ?1 AND (kind = ?2 AND id = ?3 OR with_kind = ?2 AND with_id = ?3)`
	enlistedSQL = `
INSERT INTO erasures_version (one, version) VALUES (1, 1) ON CONFLICT DO UPDATE SET version = version + 1`

	versionSQL  = `SELECT coalesce(max(version), 0) FROM erasures_version`
	erasuresSQL = `SELECT source, kind, id, at, by, with_kind, with_id, below FROM erasures`

	belowSQL = `
SELECT ` + documentColumns + ` FROM mirror_parents CROSS JOIN mirror ON source = of_source AND kind = of_kind AND id = of_id
WHERE of_source = ?1 AND of_kind = ?2 AND parent = ?3 AND parent_id = ?4 AND of_id > ?5 ORDER BY of_id LIMIT ?6`
)

// storedMarker is a marker as the column erased has it.
type storedMarker struct {
	At   int64  `json:"at"`
	By   string `json:"by,omitempty"`
	With string `json:"with,omitempty"` // the key's text
}

func markerText(m storage.Marker) string {
	s := storedMarker{At: millis(m.At), By: m.By}
	if !m.With.IsZero() {
		s.With = m.With.String()
	}
	b, _ := json.Marshal(s) // plain fields always encode
	return string(b)
}

// parseMarker reads the column erased. What cannot be read is a marker all the same: only
// Unerase removes one.
func parseMarker(text string) *storage.Marker {
	if text == "" {
		return nil
	}
	var s storedMarker
	_ = json.Unmarshal([]byte(text), &s)
	m := &storage.Marker{At: fromMillis(s.At), By: s.By}
	if s.With != "" {
		m.With, _ = event.ParseKey(s.With)
	}
	return m
}

// thoroughly has SQLite overwrite what do removes, also in pages that become free. The
// transaction is shared with other calls, which need not pay for it.
func (t *tx) thoroughly(do func() error) error {
	if err := t.script("PRAGMA secure_delete = ON"); err != nil {
		return err
	}
	err := do()
	return errors.Join(err, t.script("PRAGMA secure_delete = "+secureDelete))
}

// Erase writes the entity's marker.
func (s *Store) Erase(ctx context.Context, ref event.Ref, m storage.Marker) (doc *storage.Document, err error) {
	if err := checkKeys(ref.Key); err != nil {
		return nil, err
	}
	parents, err := object(ref.Parents)
	if err != nil {
		return nil, fmt.Errorf("erase %s: parents: %w", ref.Key, err)
	}
	err = s.writer.change(ctx, func(t *tx) error {
		return t.thoroughly(func() error {
			doc, err = t.erase(ref.Key, parents, m)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("erase %s: %w", ref.Key, err)
	}
	return doc, nil
}

func (t *tx) erase(k event.Key, parents string, m storage.Marker) (*storage.Document, error) {
	was, there, err := t.marker(k)
	if err != nil {
		return nil, err
	}
	raise := 1
	if !there {
		raise = 0 // its claim is 1
		if _, err := t.newDocument(k, parents); err != nil {
			return nil, err
		}
	}
	if was == nil || !was.With.IsZero() && m.With.IsZero() {
		if _, err := t.exec(eraseSQL, k.Source, k.Kind, k.Local(), markerText(m), raise); err != nil {
			return nil, err
		}
	}
	return scanDocument(t.row(documentSQL, k.Source, k.Kind, k.Local()))
}

// marker returns the marker of an entity, nil if it has none, and whether there is a
// document at all.
func (t *tx) marker(k event.Key) (m *storage.Marker, there bool, err error) {
	var text string
	err = t.row(markerSQL, k.Source, k.Kind, k.Local()).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return parseMarker(text), err == nil, err
}

// Unerase removes a marker.
func (s *Store) Unerase(ctx context.Context, k, with event.Key) (done bool, err error) {
	err = s.writer.change(ctx, func(t *tx) error {
		done = false
		was, _, err := t.marker(k)
		if err != nil || was == nil || was.With != with {
			return err
		}
		n, err := t.exec(uneraseSQL, k.Source, k.Kind, k.Local())
		done = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("restore %s: %w", k, err)
	}
	return done, nil
}

// Clear replaces what records hold of an entity's content.
func (s *Store) Clear(ctx context.Context, k event.Key, after string, at time.Time) (out storage.Cleared, err error) {
	received, n, err := parsePlace(after)
	if err == nil && after == "" {
		err = storage.EmptyCommands(ctx, s.Commands(), k)
	}
	if err != nil {
		return out, err
	}
	err = s.writer.change(ctx, func(t *tx) error {
		return t.thoroughly(func() error {
			out = storage.Cleared{}
			if after == "" {
				if err := t.clearRecords(k, at); err != nil {
					return err
				}
			}
			out, err = t.clearEvents(k, received, n, at)
			return err
		})
	})
	if err != nil {
		return storage.Cleared{}, fmt.Errorf("clear %s: %w", k, err)
	}
	return out, nil
}

// parsePlace reads where a page of Clear begins: the time and the number of the last event
// of the page before.
func parsePlace(after string) (received, n int64, err error) {
	if after == "" {
		return -1 << 62, 0, nil
	}
	left, right, _ := strings.Cut(after, "/")
	received, err1 := strconv.ParseInt(left, 10, 64)
	n, err2 := strconv.ParseInt(right, 10, 64)
	if err1 != nil || err2 != nil {
		return 0, 0, storage.ErrCursor
	}
	return received, n, nil
}

// clearRecords clears what is not in the event log: dead letters, discrepancies, and why
// syncs by hand were given up.
func (t *tx) clearRecords(k event.Key, at time.Time) error {
	if err := t.emptyLetters(k); err != nil {
		return err
	}
	if _, err := t.exec(eraseLettersSQL, k.Source, k.Kind, k.Local(), millis(at)); err != nil {
		return err
	}
	if _, err := t.exec(emptyPatchesSQL, k.Source, k.Kind, k.Local(), millis(at)); err != nil {
		return err
	}
	_, err := t.exec(emptyGivenUpSQL, k.String())
	return err
}

// emptyLetters replaces the errors of an entity's dead letters.
func (t *tx) emptyLetters(k event.Key) error {
	rows, err := t.rows(lettersOfSQL, k.Source, k.Kind, k.Local())
	if err != nil {
		return err
	}
	attempts := map[string]string{}
	for rows.Next() {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return errors.Join(err, rows.Close())
		}
		attempts[id] = text
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for id, text := range attempts {
		var list []storage.Attempt
		_ = json.Unmarshal([]byte(text), &list) // what cannot be read goes
		emptied, err := json.Marshal(withoutErrors(list))
		if err != nil {
			return err
		}
		if _, err := t.exec(emptyLetterSQL, id, string(emptied)); err != nil {
			return err
		}
	}
	return nil
}

// withoutErrors returns attempts whose errors are erased.
func withoutErrors(list []storage.Attempt) []storage.Attempt {
	out := make([]storage.Attempt, len(list))
	for i, a := range list {
		out[i] = storage.Attempt{At: a.At, Error: storage.ErasedText}
	}
	return out
}

// clearEvents clears one page of the events that name an entity.
func (t *tx) clearEvents(k event.Key, received, n int64, at time.Time) (out storage.Cleared, err error) {
	rows, err := t.rows(namingSQL, k.Kind, k.Local(), received, n, clearPage)
	if err != nil {
		return out, err
	}
	var events []int64
	seen := 0
	for rows.Next() {
		var source string
		if err := rows.Scan(&n, &received, &source); err != nil {
			return out, errors.Join(err, rows.Close())
		}
		seen++
		if source == k.Source { // the index is of all sources
			events = append(events, n)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return out, err
	}
	for _, row := range events {
		had, err := t.clearEvent(row, k, at)
		if err != nil {
			return out, err
		}
		if had {
			out.Events++
		}
	}
	if seen == clearPage {
		out.Next = fmt.Sprintf("%d/%d", received, n)
	}
	return out, nil
}

// clearEvent replaces the content of one event and settles its open work on an entity. It
// reports whether there was content.
func (t *tx) clearEvent(row int64, k event.Key, at time.Time) (had bool, err error) {
	n, err := t.exec(emptySQL, row)
	if err != nil {
		return false, err
	}
	if _, err := t.exec(emptyOutcomeSQL, row, k.Kind, k.Local()); err != nil {
		return false, err
	}
	if _, err := t.exec(emptyBodiesSQL, row); err != nil {
		return false, err
	}
	closed, err := t.exec(eraseOutcomeSQL, row, k.Kind, k.Local())
	if err == nil && closed > 0 {
		_, err = t.exec(followSQL, row, millis(at))
	}
	return n > 0, err
}

// settleErased settles the work of an event on an erased entity, and replaces the content
// of the event, which a worker may have logged before it knew.
func (t *tx) settleErased(row int64, d *storage.Settlement) (changed bool, err error) {
	err = t.thoroughly(func() error {
		k := d.Entity
		n, err := t.exec(settleErasedSQL, row, k.Kind, k.Local(), d.Signal.Shard, d.Signal.ID, d.CoveredBy.Claim, d.CoveredBy.Signal)
		if err != nil {
			return err
		}
		changed = n > 0
		_, err = t.clearEvent(row, k, d.At)
		return err
	})
	return changed, err
}

// Enlist puts an act of erasing into the list.
func (s *Store) Enlist(ctx context.Context, e storage.Erasure) error {
	k := e.Key
	if err := checkKeys(k); err != nil {
		return err
	}
	return s.batch(ctx, "enlist the erasure of "+k.String(), 1, func(t *tx) error {
		_, err := t.exec(enlistSQL, k.Source, k.Kind, k.Local(), millis(e.At), e.By, e.With.Kind, e.With.Local(), e.Below)
		if err == nil {
			_, err = t.exec(enlistedSQL)
		}
		return err
	})
}

// Unlist removes the act of an entity, and those of what was erased with it.
func (s *Store) Unlist(ctx context.Context, k event.Key) error {
	return s.batch(ctx, "unlist the erasure of "+k.String(), 1, func(t *tx) error {
		_, err := t.exec(unlistSQL, k.Source, k.Kind, k.Local())
		if err == nil {
			_, err = t.exec(enlistedSQL)
		}
		return err
	})
}

// Erasures returns the list of the acts of erasing.
func (s *Store) Erasures(ctx context.Context, seen int64) (list []storage.Erasure, version int64, err error) {
	if err := s.reads.QueryRowContext(ctx, versionSQL).Scan(&version); err != nil {
		return nil, 0, fmt.Errorf("read the version of the erasures: %w", readError(ctx, err))
	}
	if version == seen {
		return nil, version, nil
	}
	rows, err := s.reads.QueryContext(ctx, erasuresSQL)
	if err == nil {
		list, err = collect(rows, scanErasure)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list erasures: %w", readError(ctx, err))
	}
	return list, version, nil
}

func scanErasure(row scanner) (e storage.Erasure, err error) {
	var at int64
	with := event.Key{}
	if err = row.Scan(&e.Key.Source, &e.Key.Kind, local{&e.Key}, &at, &e.By, &with.Kind, local{&with}, &e.Below); err != nil {
		return e, err
	}
	e.At = fromMillis(at)
	if with.Kind != "" {
		with.Source = e.Key.Source
		e.With = with
	}
	return e, nil
}

// Below returns documents under a parent.
func (s *Store) Below(ctx context.Context, f storage.BelowFilter) (docs []*storage.Document, err error) {
	rows, err := s.reads.QueryContext(ctx, belowSQL, f.Source, f.Kind, f.Parent, f.ID, f.After, max(f.Limit, 1))
	if err == nil {
		docs, err = collect(rows, scanDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("list %s/%s under %s %s: %w", f.Source, f.Kind, f.Parent, f.ID, readError(ctx, err))
	}
	return docs, nil
}
