package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
)

const (
	outcomeStatusSQL  = `SELECT status FROM outcomes WHERE event = ?1 AND kind = ?2 AND id = ?3`
	letterStatusSQL   = `SELECT status FROM dead_letters WHERE id = ?1`
	letterAttemptsSQL = `SELECT attempts FROM dead_letters WHERE id = ?1`
	syncedClaimSQL    = `SELECT synced_claim FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3`

	// buryLetterSQL writes a letter; one that was redriven and failed again is
	// the same letter, open once more.
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

	// recountSQL counts the open letters. With some the entity is behind since
	// ?4; with none it no longer is, unless the provider's answers are in doubt.
	recountSQL = `
UPDATE mirror SET
	open_letters  = c.letters,
	behind_since  = CASE WHEN c.letters = 0 THEN iif(doubted_at > 0, behind_since, 0)
	                WHEN behind_reason = '' THEN ?4 ELSE behind_since END,
	behind_reason = CASE WHEN c.letters = 0 THEN iif(doubted_at > 0, behind_reason, '')
	                ELSE '` + mirror.ReasonDeadLetter + `' END
FROM (SELECT count(*) AS letters FROM dead_letters
      WHERE source = ?1 AND kind = ?2 AND entity_id = ?3 AND status = 'open') AS c
WHERE source = ?1 AND kind = ?2 AND id = ?3`

	openLettersSQL = `
SELECT id, event_id, at FROM dead_letters
WHERE source = ?1 AND kind = ?2 AND entity_id = ?3 AND status = 'open' AND claim < ?4`
	supersedeLetterSQL = `UPDATE dead_letters SET status = 'superseded', closed_at = ?2 WHERE id = ?1`
)

// Bury writes a dead letter for each.
func (s *Store) Bury(ctx context.Context, letters []mirror.Letter) ([]bool, error) {
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

func (t *tx) bury(l *mirror.Letter) (superseded bool, err error) {
	k := l.Ref.Key
	row, logged, err := t.event(l.Source, l.EventID)
	if err != nil {
		return false, err
	}
	if logged {
		status, settled, err := t.settledLetter(row, l)
		if err != nil || settled {
			return status == mirror.LetterSuperseded, err
		}
	}
	var synced int64
	err = t.row(syncedClaimSQL, k.Source, k.Kind, k.ID).Scan(&synced)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	superseded = synced > l.Claim
	status, outcome := mirror.LetterOpen, mirror.Dead
	if superseded {
		status, outcome = mirror.LetterSuperseded, mirror.Superseded
	}
	if err := t.putLetter(l, status); err != nil {
		return false, err
	}
	if logged {
		if err := t.moveOutcome(row, k, mirror.Pending, outcome, millis(l.At)); err != nil {
			return false, err
		}
	}
	return superseded, t.recount(k, millis(l.At))
}

// settledLetter reports whether the letter is there already and its outcome
// settled: this burial was done before, and what has become of the letter
// since must stand.
func (t *tx) settledLetter(row int64, l *mirror.Letter) (letter mirror.LetterStatus, settled bool, err error) {
	var outcome mirror.EventStatus
	err = t.row(outcomeStatusSQL, row, l.Ref.Key.Kind, l.Ref.Key.ID).Scan(&outcome)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !outcome.Final() {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	err = t.row(letterStatusSQL, l.ID()).Scan(&letter)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return letter, err == nil, err
}

func (t *tx) putLetter(l *mirror.Letter, status mirror.LetterStatus) error {
	parents, err := object(l.Ref.Parents)
	if err != nil {
		return err
	}
	former, err := t.attempts(l.ID())
	if err != nil {
		return err
	}
	attempts, err := json.Marshal(mirror.MergeAttempts(former, l.Attempts))
	if err != nil {
		return err
	}
	var closed int64
	if status != mirror.LetterOpen {
		closed = millis(l.At)
	}
	k := l.Ref.Key
	_, err = t.exec(buryLetterSQL, l.ID(), l.Source, l.EventID, k.Kind, k.ID, parents, l.Signal.Shard, l.Signal.ID,
		l.Class, string(attempts), l.Claim, l.TraceID, millis(l.At), string(status), closed)
	return err
}

// attempts are those of a letter that is there already.
func (t *tx) attempts(letter string) (former []mirror.Attempt, err error) {
	var text string
	switch err := t.row(letterAttemptsSQL, letter).Scan(&text); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return former, json.Unmarshal([]byte(text), &former)
}

// moveOutcome changes an outcome if it has the status from, and lets the row
// follow.
func (t *tx) moveOutcome(row int64, k event.Key, from, to mirror.EventStatus, at int64) error {
	n, err := t.exec(moveOutcomeSQL, row, k.Kind, k.ID, string(from), string(to))
	if err != nil || n == 0 {
		return err
	}
	_, err = t.exec(followSQL, row, at)
	return err
}

func (t *tx) recount(k event.Key, since int64) error {
	if _, err := t.exec(knownSQL, k.Source, k.Kind, k.ID); err != nil {
		return err
	}
	_, err := t.exec(recountSQL, k.Source, k.Kind, k.ID, since)
	return err
}

// Supersede marks the entity's open letters of a lower claim superseded.
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
		return t.recount(k, 0)
	})
	if err != nil {
		return 0, fmt.Errorf("supersede letters of %s: %w", k, err)
	}
	return n, nil
}

type openLetter struct {
	id, event string
	at        int64
}

func (t *tx) openLetters(k event.Key, below int64) ([]openLetter, error) {
	rows, err := t.rows(openLettersSQL, k.Source, k.Kind, k.ID, below)
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
		if err := t.moveOutcome(row, k, mirror.Dead, mirror.Superseded, l.at); err != nil {
			return err
		}
	}
	_, err = t.exec(supersedeLetterSQL, l.id, now)
	return err
}
