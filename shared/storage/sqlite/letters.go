package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	outcomeStatusSQL = `SELECT status FROM outcomes WHERE event = ?1 AND kind = ?2 AND id = ?3`
	formerLetterSQL  = `SELECT status, attempts, claim, at, signal_shard, signal_id, class FROM dead_letters WHERE id = ?1`
	syncedClaimSQL   = `SELECT synced_claim, erased <> '' FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3`

	// buryLetterSQL writes a dead letter; one that was redriven and failed again is
	// the same dead letter, open once more.
	buryLetterSQL = `
INSERT INTO dead_letters (id, source, event_id, kind, entity_id, parents, signal_shard, signal_id, class, attempts, claim, trace_id, at, status, closed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT DO UPDATE SET signal_shard = ?7, signal_id = ?8, class = ?9, attempts = ?10, claim = ?11, at = ?13,
	status = ?14, closed_at = ?15, closed_by = '', reason = ''`

	// moveOutcomeSQL changes an outcome from one status to another.
	moveOutcomeSQL = `
UPDATE outcomes SET status = ?5 WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = ?4`

	// knownSQL makes the document if there is none.
	knownSQL = `
INSERT INTO mirror (source, kind, id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING`

	// recountSQL counts the open dead letters. With some the entity is behind since
	// ?4; with none it no longer is, unless the provider's answers are in doubt
	// or, ?5, other work on it is retrying.
	recountSQL = `
UPDATE mirror SET
	open_letters  = c.letters,
	behind_since  = CASE WHEN c.letters = 0 THEN iif(doubted_at > 0 OR ?5, behind_since, 0)
	                WHEN behind_reason = '' THEN ?4 ELSE behind_since END,
	behind_reason = CASE WHEN c.letters > 0 THEN '` + storage.ReasonDeadLetter + `' WHEN behind_reason = '' THEN ''
	                WHEN doubted_at > 0 THEN '` + storage.ReasonLagging + `'
	                WHEN ?5 THEN '` + storage.ReasonRetrying + `' ELSE '' END
FROM (SELECT count(*) AS letters FROM dead_letters
      WHERE source = ?1 AND kind = ?2 AND entity_id = ?3 AND status = 'open') AS c
WHERE source = ?1 AND kind = ?2 AND id = ?3`

	openLettersSQL = `
SELECT id, event_id, at FROM dead_letters
WHERE source = ?1 AND kind = ?2 AND entity_id = ?3 AND status = 'open' AND claim < ?4`
	supersedeLetterSQL = `UPDATE dead_letters SET status = 'superseded', closed_at = ?2 WHERE id = ?1`
)

// Bury writes a dead letter for each.
func (s *Store) Bury(ctx context.Context, letters []storage.Letter) ([]bool, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	for i := range letters {
		if err := checkKeys(letters[i].Ref.Key); err != nil {
			return nil, fmt.Errorf("bury: %w", err)
		}
	}
	superseded := make([]bool, len(letters))
	err := s.writer.change(ctx, func(t *tx) (err error) {
		for i := range letters {
			if superseded[i], err = t.bury(&letters[i]); err != nil {
				return fmt.Errorf("event %s for %s: %w", letters[i].EventID, letters[i].Ref.Key, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bury: %w", err)
	}
	return superseded, nil
}

func (t *tx) bury(l *storage.Letter) (superseded bool, err error) {
	k := l.Ref.Key
	row, logged, err := t.event(l.Source, l.EventID)
	if err != nil {
		return false, err
	}
	former, there, err := t.formerLetter(l.ID())
	if err != nil {
		return false, err
	}
	if there && logged {
		// This burial was done before, and its later status is kept.
		if settled, err := t.settled(row, k); err != nil || settled {
			return former.status == storage.LetterSuperseded, err
		}
	}
	merged := former.again(l)
	var synced int64
	var erased bool
	err = t.row(syncedClaimSQL, k.Source, k.Kind, k.Local()).Scan(&synced, &erased)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if erased {
		return true, t.buryErased(row, logged, merged)
	}
	superseded = synced > merged.Claim
	status, outcome := storage.LetterOpen, storage.Dead
	if superseded {
		status, outcome = storage.LetterSuperseded, storage.Superseded
	}
	if err := t.putLetter(merged, status, l.At); err != nil {
		return false, err
	}
	if logged {
		if err := t.moveOutcome(row, k, storage.Pending, outcome, millis(l.At)); err != nil {
			return false, err
		}
	}
	if logged && superseded { // an earlier burial may have left it dead
		if err := t.moveOutcome(row, k, storage.Dead, outcome, millis(l.At)); err != nil {
			return false, err
		}
	}
	return superseded, t.recount(k, millis(l.At), false)
}

// buryErased writes a dead letter of an erased entity, whose marker was written while its
// work was under way.
func (t *tx) buryErased(row int64, logged bool, l *storage.Letter) error {
	l.Attempts = withoutErrors(l.Attempts)
	if err := t.putLetter(l, storage.LetterErased, l.At); err != nil || !logged {
		return err
	}
	return t.thoroughly(func() error {
		_, err := t.clearEvent(row, l.Ref.Key, l.At)
		return err
	})
}

// settled reports whether an outcome has ended otherwise than dead.
func (t *tx) settled(row int64, k event.Key) (bool, error) {
	var outcome storage.EventStatus
	err := t.row(outcomeStatusSQL, row, k.Kind, k.Local()).Scan(&outcome)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return outcome.Final() && outcome != storage.Dead, err
}

// formerLetter is what a dead letter held before it was buried again.
type formerLetter struct {
	status   storage.LetterStatus
	attempts []storage.Attempt
	claim    int64
	at       time.Time
	signal   storage.SignalID
	class    string
}

func (t *tx) formerLetter(id string) (f formerLetter, there bool, err error) {
	var attempts string
	var at int64
	err = t.row(formerLetterSQL, id).Scan(&f.status, &attempts, &f.claim, &at, &f.signal.Shard, &f.signal.ID, &f.class)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return f, false, nil
	case err != nil:
		return f, false, err
	}
	f.at = fromMillis(at)
	return f, true, json.Unmarshal([]byte(attempts), &f.attempts)
}

// again returns a dead letter with what it held before. Its class and error are of the
// latest attempt; a late burial only adds its attempts.
func (f formerLetter) again(l *storage.Letter) *storage.Letter {
	out := *l
	out.Attempts, out.Claim = storage.MergeAttempts(f.attempts, l.Attempts), max(f.claim, l.Claim)
	if millis(l.At) < millis(f.at) {
		out.At, out.Signal, out.Class = f.at, f.signal, f.class
	}
	return &out
}

// putLetter writes a dead letter; one that is superseded is closed at a time.
func (t *tx) putLetter(l *storage.Letter, status storage.LetterStatus, at time.Time) error {
	parents, err := object(l.Ref.Parents)
	if err != nil {
		return err
	}
	kept := make([]storage.Attempt, len(l.Attempts))
	for i, a := range l.Attempts {
		kept[i] = storage.Attempt{At: fromMillis(millis(a.At)), Error: a.Error}
	}
	attempts, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	var closed int64
	if status != storage.LetterOpen {
		closed = millis(at)
	}
	k := l.Ref.Key
	_, err = t.exec(buryLetterSQL, l.ID(), l.Source, l.EventID, k.Kind, k.Local(), parents, l.Signal.Shard, l.Signal.ID,
		l.Class, string(attempts), l.Claim, l.TraceID, millis(l.At), string(status), closed)
	return err
}

// moveOutcome changes an outcome if it has the status from, and lets the row
// follow.
func (t *tx) moveOutcome(row int64, k event.Key, from, to storage.EventStatus, at int64) error {
	n, err := t.exec(moveOutcomeSQL, row, k.Kind, k.Local(), string(from), string(to))
	if err != nil || n == 0 {
		return err
	}
	_, err = t.exec(followSQL, row, at)
	return err
}

func (t *tx) recount(k event.Key, since int64, retrying bool) error {
	if _, err := t.exec(knownSQL, k.Source, k.Kind, k.Local()); err != nil {
		return err
	}
	_, err := t.exec(recountSQL, k.Source, k.Kind, k.Local(), since, retrying)
	return err
}

// Supersede marks the entity's open dead letters of a lower claim superseded.
func (s *Store) Supersede(ctx context.Context, k event.Key, claim int64) (n int, err error) {
	err = s.writer.change(ctx, func(t *tx) error {
		letters, err := t.openLetters(k, claim)
		if err != nil {
			return err
		}
		for _, l := range letters {
			if err := t.supersede(k, l, millis(s.now())); err != nil {
				return fmt.Errorf("event %s: %w", l.event, err)
			}
		}
		n = len(letters)
		return t.recount(k, 0, false)
	})
	if err != nil {
		return 0, fmt.Errorf("supersede dead letters of %s: %w", k, err)
	}
	return n, nil
}

type openLetter struct {
	id, event string
	at        int64
}

func (t *tx) openLetters(k event.Key, below int64) ([]openLetter, error) {
	rows, err := t.rows(openLettersSQL, k.Source, k.Kind, k.Local(), below)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []openLetter
	for rows.Next() {
		var l openLetter
		if err := rows.Scan(&l.id, &l.event, &l.at); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

func (t *tx) supersede(k event.Key, l openLetter, now int64) error {
	row, logged, err := t.event(k.Source, l.event)
	if err != nil {
		return err
	}
	if logged {
		if err := t.moveOutcome(row, k, storage.Dead, storage.Superseded, l.at); err != nil {
			return err
		}
	}
	_, err = t.exec(supersedeLetterSQL, l.id, now)
	return err
}
