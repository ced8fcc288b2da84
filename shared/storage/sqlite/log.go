package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	insertEventSQL = `
INSERT INTO events (source, id, type, created_at, received_at, processed_at, status, signal_shard, signal_id, payload, trace_id, unnamed, undated, given, note)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING`

	insertOutcomeSQL = `
INSERT INTO outcomes (event, kind, id, position, parents, status, signal_shard, signal_id, received_at)
VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?8) ON CONFLICT DO NOTHING`

	loggedEventSQL   = `SELECT n, received_at, payload, signal_shard, signal_id, note FROM events WHERE source = ?1 AND id = ?2`
	insertSignalSQL  = `INSERT INTO signals (event, shard, id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING`
	countOutcomesSQL = `SELECT count(*) FROM outcomes WHERE event = ?1`
	statusesSQL      = `SELECT kind, id, status FROM outcomes WHERE event = ?1`

	redeliveredSQL = `UPDATE events SET duplicates = duplicates + 1 WHERE n = ?1`
	rereadSQL      = `UPDATE events SET note = ?2, unnamed = ?3 WHERE n = ?1`
	differsSQL     = `UPDATE events SET payload_differs = 1 WHERE n = ?1`
	reopenSQL      = `UPDATE outcomes SET status = 'pending' WHERE event = ?1 AND status = 'dead'`
	standSQL       = `UPDATE outcomes SET signal_shard = ?2, signal_id = ?3 WHERE event = ?1 AND position = 0 AND status = 'pending'`

	// followSQL lets the status of a row follow from its outcomes. A row that
	// closes is processed at ?2; one that opens again is not processed yet.
	followSQL = `
UPDATE events SET
	status       = CASE f.rank WHEN 0 THEN iif(status = 'retrying', status, 'pending')` + closedStatus + `,
	processed_at = CASE WHEN f.rank = 0 THEN 0 WHEN processed_at = 0 THEN ?2 ELSE processed_at END
FROM (SELECT ` + lowestRank + ` AS rank FROM outcomes WHERE event = ?1) AS f
WHERE n = ?1`

	// lowestRank is that of the outcome which decides the status of its row, 0 if one
	// is open; closedStatus has the others.
	lowestRank = `min(CASE status WHEN 'pending' THEN 0 WHEN 'dead' THEN 1 WHEN 'discarded' THEN 2
                 WHEN 'superseded' THEN 3 WHEN 'erased' THEN 5 ELSE 4 END)`
	closedStatus = `
	               WHEN 1 THEN 'dead' WHEN 2 THEN 'discarded' WHEN 3 THEN 'superseded' WHEN 5 THEN 'erased' ELSE 'processed' END`
)

// Log inserts a row for every arrival not in the log yet.
func (s *Store) Log(ctx context.Context, arrivals []storage.Arrival) ([]storage.Logged, error) {
	if len(arrivals) == 0 {
		return nil, nil
	}
	for i := range arrivals {
		if err := errors.Join(checkEvent(arrivals[i].Event), arrivals[i].CheckPayload()); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	out := make([]storage.Logged, len(arrivals))
	err := s.writer.change(ctx, func(t *tx) (err error) {
		for i := range arrivals {
			if out[i], err = t.log(&arrivals[i]); err != nil {
				return fmt.Errorf("event %s/%s: %w", arrivals[i].Event.Source, arrivals[i].Event.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return out, nil
}

func checkEvent(e *event.Event) error {
	if !utf8.ValidString(e.Source) || !utf8.ValidString(e.ID) {
		return fate.Errorf(fate.Permanent, "event id %q is not UTF-8", e.Source+"/"+e.ID)
	}
	for _, r := range e.Entities {
		if err := checkKeys(r.Key); err != nil {
			return fmt.Errorf("event %s/%s: %w", e.Source, e.ID, err)
		}
	}
	return nil
}

func (t *tx) log(a *storage.Arrival) (storage.Logged, error) {
	e := a.Event
	status, processed := storage.Pending, time.Time{}
	if len(e.Entities) == 0 {
		status, processed = storage.Processed, e.ReceivedAt
	}
	given, err := object(e.Given)
	if err != nil {
		return storage.Logged{}, err
	}
	n, err := t.exec(insertEventSQL, e.Source, e.ID, e.Type, millis(e.CreatedAt), millis(e.ReceivedAt),
		millis(processed), string(status), a.Signal.Shard, a.Signal.ID, text(e.Payload), a.TraceID, e.Unnamed, e.Undated, given, e.Note.String())
	if err != nil {
		return storage.Logged{}, err
	}
	if n == 0 {
		return t.logAgain(a)
	}
	row := t.inserted()
	out := storage.Logged{Inserted: true, Outcomes: make(map[event.Key]storage.EventStatus, len(e.Entities))}
	for _, r := range e.Entities {
		out.Outcomes[r.Key] = storage.Pending
	}
	_, err = t.open(row, millis(e.ReceivedAt), 0, a)
	return out, err
}

// logAgain handles an event that is in the log already.
func (t *tx) logAgain(a *storage.Arrival) (out storage.Logged, err error) {
	var row, received int64
	var payload []byte
	var first storage.SignalID
	var note string
	err = t.row(loggedEventSQL, a.Event.Source, a.Event.ID).Scan(&row, &received, &payload, &first.Shard, &first.ID, &note)
	if err != nil {
		return out, err
	}
	if a.Signal != first {
		isNew, err := t.exec(insertSignalSQL, row, a.Signal.Shard, a.Signal.ID)
		if err != nil {
			return out, err
		}
		out.Redelivered = isNew > 0
	}
	var opened int64
	if !bytes.Equal(payload, a.Event.Payload) && !storage.IsErased(payload) && !storage.IsErased(a.Event.Payload) {
		out.PayloadDiffers = true
		if opened, err = t.takeUpDiffering(row, received, a); err != nil {
			return out, err
		}
	}
	if note != "" && note != a.Event.Note.String() {
		out.Redelivered = false
		taken, err := t.reread(row, received, a)
		if err != nil {
			return out, err
		}
		opened += taken
	}
	if out.Redelivered {
		reopened, err := t.redeliver(row, a.Signal)
		if err != nil {
			return out, err
		}
		opened += reopened
	}
	if opened > 0 {
		if _, err := t.exec(followSQL, row, 0); err != nil {
			return out, err
		}
	}
	out.Outcomes, err = t.statuses(row, a.Event.Source)
	return out, err
}

// reread changes what a row says of an event that was read again by a definition that
// has changed, and opens outcomes for the entities it names now.
func (t *tx) reread(row, received int64, a *storage.Arrival) (opened int64, err error) {
	if _, err := t.exec(rereadSQL, row, a.Event.Note.String(), a.Event.Unnamed); err != nil {
		return 0, err
	}
	var position int
	if err := t.row(countOutcomesSQL, row).Scan(&position); err != nil {
		return 0, err
	}
	return t.open(row, received, position, a)
}

// takeUpDiffering marks a row whose event came with another body, and opens
// outcomes for the entities only that body names.
func (t *tx) takeUpDiffering(row, received int64, a *storage.Arrival) (opened int64, err error) {
	if _, err := t.exec(differsSQL, row); err != nil {
		return 0, err
	}
	var position int
	if err := t.row(countOutcomesSQL, row).Scan(&position); err != nil {
		return 0, err
	}
	return t.open(row, received, position, a)
}

// redeliver counts a duplicate and opens what was dead. The entry stands for
// the primary entity's work from now on.
func (t *tx) redeliver(row int64, id storage.SignalID) (reopened int64, err error) {
	if _, err := t.exec(redeliveredSQL, row); err != nil {
		return 0, err
	}
	if reopened, err = t.exec(reopenSQL, row); err != nil {
		return 0, err
	}
	_, err = t.exec(standSQL, row, id.Shard, id.ID)
	return reopened, err
}

// open adds an open outcome for every entity of the event that has none, from
// the given position on. Only the primary's own entry is known here; the
// others get theirs when they are settled.
func (t *tx) open(row, received int64, position int, a *storage.Arrival) (opened int64, err error) {
	home := a.Event.Home()
	for _, r := range a.Event.Entities {
		parents, err := object(r.Parents)
		if err != nil {
			return opened, err
		}
		var sig storage.SignalID
		if r.Key == home {
			sig = a.Signal
		}
		n, err := t.exec(insertOutcomeSQL, row, r.Key.Kind, r.Key.Local(), position, parents, sig.Shard, sig.ID, received)
		if err != nil {
			return opened, err
		}
		opened += n
		position++
	}
	return opened, nil
}

func (t *tx) statuses(row int64, source string) (map[event.Key]storage.EventStatus, error) {
	rows, err := t.rows(statusesSQL, row)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[event.Key]storage.EventStatus{}
	for rows.Next() {
		k, status := event.Key{Source: source}, storage.EventStatus("")
		if err := rows.Scan(&k.Kind, local{&k}, &status); err != nil {
			return nil, err
		}
		out[k] = status
	}
	return out, rows.Err()
}

// eventSQL finds a row by its names.
const eventSQL = `SELECT n FROM events WHERE source = ?1 AND id = ?2`

// event returns the number of an event's row; ok is false if it has none.
func (t *tx) event(source, id string) (row int64, ok bool, err error) {
	err = t.row(eventSQL, source, id).Scan(&row)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return row, err == nil, err
}
