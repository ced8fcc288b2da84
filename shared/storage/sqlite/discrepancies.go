package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const discrepanciesList = "discrepancies"

const discrepancyColumns = `id, source, kind, entity_id, type, status, event_id, sweep_id, patch, found_at, judged_at, repaired_at,
	state_hash, synced_claim, synced_at`

const (
	// recordSQL leaves what is there, but for one that was dropped and has been
	// found again since: the event that explained it has not repaired it.
	recordSQL = `
INSERT INTO discrepancies (` + discrepancyColumns + `, repair)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, iif(?6 IN ('repaired', 'failed'), ?6, ''))
ON CONFLICT DO UPDATE SET status = excluded.status, sweep_id = excluded.sweep_id, patch = excluded.patch, found_at = excluded.found_at,
	judged_at = excluded.judged_at, repaired_at = excluded.repaired_at, repair = excluded.repair,
	state_hash = excluded.state_hash, synced_claim = excluded.synced_claim, synced_at = excluded.synced_at
WHERE discrepancies.status = 'dropped' AND discrepancies.found_at < excluded.found_at`

	confirmSQL = `
UPDATE discrepancies SET judged_at = ?2, status = iif(repair = '', 'confirmed', repair)
WHERE id = ?1 AND status = 'suspected' RETURNING ` + discrepancyColumns
	dropSQL = `
UPDATE discrepancies SET judged_at = ?2, status = 'dropped'
WHERE id = ?1 AND status = 'suspected' RETURNING ` + discrepancyColumns

	// repairSQL keeps the first good end, or else the first bad one.
	repairSQL = `
UPDATE discrepancies SET repair = ?2, repaired_at = ?3,
	status = iif(status IN ('confirmed', 'failed'), ?2, status)
WHERE id = ?1 AND status <> 'dropped' AND (repair = '' OR repair = 'failed' AND ?2 = 'repaired')`
)

// Record adds discrepancies, and opens dropped ones that were found again.
func (s *Store) Record(ctx context.Context, found []storage.Discrepancy) error {
	return s.batch(ctx, "record discrepancies", len(found), func(t *tx) error {
		for i := range found {
			d := &found[i]
			marker, _, err := t.marker(d.Entity)
			if err != nil {
				return err
			}
			if marker != nil {
				continue // it was erased since it was compared
			}
			_, err = t.exec(recordSQL, d.ID, cmp.Or(d.Source, d.Entity.Source), d.Entity.Kind, d.Entity.Local(),
				string(d.Type), string(cmp.Or(d.Status, storage.Suspected)), d.EventID, d.SweepID,
				text(d.Patch), millis(d.FoundAt), millis(d.JudgedAt), millis(d.RepairedAt), d.StateHash, d.SyncedClaim, millis(d.SyncedAt))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Judge confirms or drops suspected discrepancies and returns those it judged.
func (s *Store) Judge(ctx context.Context, confirmed, dropped []string, at time.Time) (judged []storage.Discrepancy, err error) {
	err = s.batch(ctx, "judge discrepancies", len(confirmed)+len(dropped), func(t *tx) error {
		judged = nil
		for _, part := range []struct {
			query string
			ids   []string
		}{{confirmSQL, confirmed}, {dropSQL, dropped}} {
			for _, id := range part.ids {
				d, err := scanDiscrepancy(t.row(part.query, id, millis(at)))
				if errors.Is(err, sql.ErrNoRows) {
					continue
				}
				if err != nil {
					return err
				}
				judged = append(judged, *d)
			}
		}
		return nil
	})
	return judged, err
}

// Repair records how the repair of discrepancies ended.
func (s *Store) Repair(ctx context.Context, ids []string, ok bool, at time.Time) error {
	end := storage.Failed
	if ok {
		end = storage.Repaired
	}
	return s.batch(ctx, "note repairs", len(ids), func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(repairSQL, id, string(end), millis(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Discrepancies lists them, newest found_at first.
func (s *Store) Discrepancies(ctx context.Context, f storage.DiscrepancyFilter) (storage.Page[*storage.Discrepancy], error) {
	c := conditions{by: discrepanciesIndex(f)}
	c.equal("status", string(f.Status))
	c.equal("type", string(f.Type))
	c.equal("source", f.Source)
	c.equal("kind", f.Kind)
	c.equal("sweep_id", f.SweepID)
	if !f.Entity.IsZero() {
		c.add("source = ? AND kind = ? AND entity_id = ?", f.Entity.Source, f.Entity.Kind, f.Entity.Local())
	}
	c.between("found_at", f.From, f.To)
	return list(ctx, s, newestFirst[*storage.Discrepancy]{
		list: discrepanciesList, columns: discrepancyColumns, table: "discrepancies", time: "found_at", scan: scanDiscrepancy,
		place: func(d *storage.Discrepancy) page.Place { return page.Place{At: millis(d.FoundAt), ID: d.ID} },
	}, c, f.Limit, f.Cursor)
}

// discrepanciesIndex is the index that gives a list its rows in order.
func discrepanciesIndex(f storage.DiscrepancyFilter) string {
	switch {
	case !f.Entity.IsZero():
		return "discrepancies_entity"
	case f.SweepID != "":
		return "discrepancies_sweep"
	case f.Status != "":
		return "discrepancies_status"
	}
	return "discrepancies_found"
}

func scanDiscrepancy(row scanner) (*storage.Discrepancy, error) {
	var d storage.Discrepancy
	var found, judged, repaired, synced int64
	err := row.Scan(&d.ID, &d.Source, &d.Entity.Kind, local{&d.Entity}, &d.Type, &d.Status, &d.EventID, &d.SweepID,
		&d.Patch, &found, &judged, &repaired, &d.StateHash, &d.SyncedClaim, &synced)
	d.Entity.Source = d.Source
	d.FoundAt, d.JudgedAt, d.RepairedAt = fromMillis(found), fromMillis(judged), fromMillis(repaired)
	d.SyncedAt = fromMillis(synced)
	return &d, err
}
