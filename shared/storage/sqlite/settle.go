package sqlite

import (
	"context"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	settleSQL = `
UPDATE outcomes SET status = 'processed', signal_shard = ?4, signal_id = ?5,
	claim = ?6, fetched_at = ?7, covered_signal = ?8, state_hash = ?9
WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = 'pending'`

	flagsSQL = `
UPDATE events SET out_of_order = out_of_order OR ?2, overtaken = overtaken OR ?3, lagging = lagging OR ?4,
	parents_differ = parents_differ OR ?5
WHERE n = ?1`

	// failSQL counts a failure once, however often it is recorded.
	failSQL = `
UPDATE outcomes SET failed_at = ?4, signal_shard = ?5, signal_id = ?6
WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = 'pending' AND failed_at <> ?4`

	retryingSQL = `UPDATE events SET status = 'retrying', attempts = attempts + 1, error = ?2 WHERE n = ?1`

	behindSQL = `
UPDATE mirror SET behind_since = ?4, behind_reason = '` + storage.ReasonRetrying + `'
WHERE source = ?1 AND kind = ?2 AND id = ?3 AND claim = ?5 AND behind_reason = ''`
)

// Settle marks outcomes processed where they are open.
func (s *Store) Settle(ctx context.Context, done []storage.Settlement) error {
	if len(done) == 0 {
		return nil
	}
	err := s.writer.change(ctx, func(t *tx) error {
		for i := range done {
			if err := t.settle(&done[i]); err != nil {
				return fmt.Errorf("event %s/%s: %w", done[i].Source, done[i].EventID, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

func (t *tx) settle(d *storage.Settlement) error {
	row, ok, err := t.event(d.Source, d.EventID)
	if err != nil || !ok {
		return err
	}
	n, err := t.exec(settleSQL, row, d.Entity.Kind, d.Entity.Local(), d.Signal.Shard, d.Signal.ID,
		d.CoveredBy.Claim, millis(d.CoveredBy.FetchedAt), d.CoveredBy.Signal, d.CoveredBy.StateHash)
	if err != nil || n == 0 {
		return err
	}
	if d.OutOfOrder || d.Overtaken || d.Lagging || d.ParentsDiffer {
		if _, err := t.exec(flagsSQL, row, d.OutOfOrder, d.Overtaken, d.Lagging, d.ParentsDiffer); err != nil {
			return err
		}
	}
	_, err = t.exec(followSQL, row, millis(d.At))
	return err
}

// Fail counts an attempt on every row with an open outcome for the entity.
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
	n, err := t.exec(failSQL, row, f.Entity.Kind, f.Entity.Local(), millis(f.At), f.Signal.Shard, f.Signal.ID)
	if err != nil || n == 0 {
		return err
	}
	_, err = t.exec(retryingSQL, row, f.Error)
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
