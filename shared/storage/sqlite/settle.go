package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	settleSQL = `
UPDATE outcomes SET status = 'processed', signal_shard = ?4, signal_id = ?5,
	claim = ?6, fetched_at = ?7, covered_signal = ?8, state_hash = ?9
WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = 'pending'`

	// closeSQL lets the status of a row follow from its outcomes if none is open any
	// more.
	closeSQL = `
UPDATE events SET
	status       = CASE (SELECT ` + lowestRank + ` FROM outcomes WHERE event = ?1)` + closedStatus + `,
	processed_at = iif(processed_at = 0, ?2, processed_at)
WHERE n = ?1 AND NOT EXISTS (SELECT 1 FROM outcomes WHERE event = ?1 AND status = 'pending')`

	flagsSQL = `
UPDATE events SET out_of_order = out_of_order OR ?2, overtaken = overtaken OR ?3, lagging = lagging OR ?4,
	parents_differ = parents_differ OR ?5
WHERE n = ?1`

	// failSQL counts a failure once, however often it is recorded.
	failSQL = `
UPDATE outcomes SET failed_at = ?4, signal_shard = ?5, signal_id = ?6, error = ?7, next_at = ?8
WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = 'pending' AND failed_at <> ?4`

	retryingSQL = `UPDATE events SET status = 'retrying', attempts = attempts + ?3, error = ?2 WHERE n = ?1`

	behindSQL = `
UPDATE mirror SET behind_since = ?4, behind_reason = '` + storage.ReasonRetrying + `'
WHERE source = ?1 AND kind = ?2 AND id = ?3 AND claim = ?5 AND behind_reason = ''`
)

// Settle marks outcomes processed where they are open.
func (s *Store) Settle(ctx context.Context, done []storage.Settlement) error {
	if len(done) == 0 {
		return nil
	}
	err := s.writer.change(ctx, func(t *tx) error { return t.settle(done) })
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// settledRow is a row of the log with outcomes that were settled.
type settledRow struct {
	n       int64
	changed bool
	at      time.Time // when the last of them was settled
}

// settle settles outcomes, and then closes each row that has no open one left.
func (t *tx) settle(done []storage.Settlement) error {
	type name struct{ source, id string }
	known := make(map[name]int, len(done)) // places in rows
	rows := make([]settledRow, 0, len(done))
	for i := range done {
		d := &done[i]
		place, ok := known[name{d.Source, d.EventID}]
		if !ok {
			n, logged, err := t.event(d.Source, d.EventID)
			if err != nil {
				return fmt.Errorf("event %s/%s: %w", d.Source, d.EventID, err)
			}
			if !logged {
				continue
			}
			place = len(rows)
			rows = append(rows, settledRow{n: n})
			known[name{d.Source, d.EventID}] = place
		}
		if err := t.settleOutcome(&rows[place], d); err != nil {
			return fmt.Errorf("event %s/%s: %w", d.Source, d.EventID, err)
		}
	}
	for _, row := range rows {
		if !row.changed {
			continue
		}
		if _, err := t.exec(closeSQL, row.n, millis(row.at)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) settleOutcome(row *settledRow, d *storage.Settlement) error {
	if d.Erased {
		changed, err := t.settleErased(row.n, d)
		if changed {
			row.changed, row.at = true, d.At
		}
		return err
	}
	n, err := t.exec(settleSQL, row.n, d.Entity.Kind, d.Entity.Local(), d.Signal.Shard, d.Signal.ID,
		d.CoveredBy.Claim, millis(d.CoveredBy.FetchedAt), d.CoveredBy.Signal, d.CoveredBy.StateHash)
	if err != nil || n == 0 {
		return err
	}
	row.changed, row.at = true, d.At
	if d.OutOfOrder || d.Overtaken || d.Lagging || d.ParentsDiffer {
		_, err = t.exec(flagsSQL, row.n, d.OutOfOrder, d.Overtaken, d.Lagging, d.ParentsDiffer)
	}
	return err
}

// Fail notes a failure on every row with an open outcome for the entity.
func (s *Store) Fail(ctx context.Context, failed []storage.Failure) error {
	if len(failed) == 0 {
		return nil
	}
	err := s.writer.change(ctx, func(t *tx) error {
		for i := range failed {
			if err := t.fail(&failed[i]); err != nil {
				return fmt.Errorf("event %s/%s: %w", failed[i].Source, failed[i].EventID, err)
			}
		}
		return t.markBehind(failed)
	})
	if err != nil {
		return fmt.Errorf("record failures: %w", err)
	}
	return nil
}

func (t *tx) fail(f *storage.Failure) error {
	row, ok, err := t.event(f.Source, f.EventID)
	if err != nil || !ok {
		return err
	}
	n, err := t.exec(failSQL, row, f.Entity.Kind, f.Entity.Local(), millis(f.At), f.Signal.Shard, f.Signal.ID, f.Error, millis(f.Next))
	if err != nil || n == 0 {
		return err
	}
	attempts := 1
	if f.Uncharged {
		attempts = 0
	}
	_, err = t.exec(retryingSQL, row, f.Error, attempts)
	return err
}

// markBehind marks each entity behind since the first of its failures.
func (t *tx) markBehind(failed []storage.Failure) error {
	for k, f := range storage.FirstFailures(failed) {
		if _, err := t.exec(behindSQL, k.Source, k.Kind, k.Local(), millis(f.At), f.Claim); err != nil {
			return fmt.Errorf("mark %s behind: %w", k, err)
		}
	}
	return nil
}
