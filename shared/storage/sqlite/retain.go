package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// sweepEvery is how often the past is looked through.
	sweepEvery = time.Minute
	// sweepSize bounds one deletion, so that writers wait only briefly.
	sweepSize = 500
)

// What has had its time; ?1 is the time before which, ?2 how many at most.
const (
	oldEventsSQL = `
SELECT n FROM events WHERE received_at < ?1 AND status IN ('processed', 'superseded', 'discarded')
ORDER BY received_at LIMIT ?2`
	dropEventsSQL   = `DELETE FROM events WHERE n IN (` + oldEventsSQL + `)`
	dropOutcomesSQL = `DELETE FROM outcomes WHERE event IN (` + oldEventsSQL + `)`
	dropSignalsSQL  = `DELETE FROM signals WHERE event IN (` + oldEventsSQL + `)`

	dropLettersSQL = `
DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE at < ?1 AND status <> 'open' LIMIT ?2)`
	// Deletion by the state as it is then: one that an operator retries stays.
	dropCommandsSQL = `
DELETE FROM commands WHERE id IN (SELECT id FROM commands INDEXED BY commands_ended
	WHERE open = 0 AND owed = 0 AND ended_at > 0 AND ended_at < ?1 ORDER BY ended_at LIMIT ?2)`
	dropAuditSQL         = `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 LIMIT ?2)`
	dropDiscrepanciesSQL = `
DELETE FROM discrepancies WHERE id IN (SELECT id FROM discrepancies
	WHERE found_at < ?1 AND status IN ('repaired', 'failed', 'dropped') LIMIT ?2)`
)

// sweeper removes what is older than the retention, and looks at the size of the
// write-ahead log.
type sweeper struct {
	writer *writer
	keep   storage.Retention
	now    func() time.Time
	log    *slog.Logger
	wal    *walWatch
	cancel context.CancelFunc
	done   chan struct{}
}

// startSweeper starts the removal, which lasts until stop and not with ctx.
func startSweeper(ctx context.Context, w *writer, o Options, wal *walWatch) *sweeper {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &sweeper{writer: w, keep: o.Retention, now: o.Now, log: o.Logger, wal: wal, cancel: cancel, done: make(chan struct{})}
	go s.loop(ctx)
	return s
}

func (s *sweeper) stop() {
	s.cancel()
	<-s.done
}

func (s *sweeper) loop(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		s.wal.look()
		if err := s.sweep(ctx); err != nil && !errors.Is(err, context.Canceled) {
			s.log.Warn("old rows were not removed; trying again", "error", err, "in", sweepEvery)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep removes everything that has had its time, a little at a time.
func (s *sweeper) sweep(ctx context.Context) error {
	return errors.Join(
		// The event last: while it is there, what belongs to it can be found.
		s.drop(ctx, s.keep.Events, dropOutcomesSQL, dropSignalsSQL, dropEventsSQL),
		s.drop(ctx, s.keep.Events, dropLettersSQL),
		s.drop(ctx, s.keep.Commands, dropCommandsSQL),
		s.drop(ctx, s.keep.Audit, dropAuditSQL),
		s.drop(ctx, s.keep.Discrepancies, dropDiscrepanciesSQL),
	)
}

func (s *sweeper) drop(ctx context.Context, age time.Duration, queries ...string) error {
	if age <= 0 {
		return nil
	}
	before := millis(s.now().Add(-age))
	for {
		var n int64
		err := s.writer.change(ctx, func(t *tx) (err error) {
			for _, q := range queries {
				if n, err = t.exec(q, before, sweepSize); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < sweepSize {
			return err
		}
	}
}
