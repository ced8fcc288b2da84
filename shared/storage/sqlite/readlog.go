package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const eventColumns = `n, source, id, type, created_at, received_at, processed_at, status, attempts, error,
	duplicates, out_of_order, overtaken, lagging, payload_differs, parents_differ, unnamed, undated, payload, given, note, trace_id`

// outcomesSQL reads the outcomes of many rows: their numbers are a JSON array.
const outcomesSQL = `
SELECT event, kind, id, parents, status, signal_shard, signal_id, claim, fetched_at, covered_signal, state_hash, failed_at, next_at, error
FROM outcomes WHERE event IN (SELECT value FROM json_each(?1)) ORDER BY event, position`

// newestReceived is the order of the lists of events.
const newestReceived = "received_at DESC, source DESC, id DESC"

// loggedRow is a row with its number.
type loggedRow struct {
	n int64
	*storage.EventRow
}

// EventByID returns the rows with that id.
func (s *Store) EventByID(ctx context.Context, source, id string) ([]*storage.EventRow, error) {
	rows, err := s.eventRows(ctx, idConditions(source, id), newestReceived, 1000)
	if err != nil {
		return nil, fmt.Errorf("read event %s: %w", id, readError(ctx, err))
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("read event %s: %w", id, storage.ErrNotFound)
	}
	return rows, nil
}

// idConditions selects the rows with that id. The log has an index by source
// and id and needs none by id alone, which every sync would pay for: there are
// a few sources, and each is looked up.
func idConditions(source, id string) conditions {
	c := conditions{by: "sqlite_autoindex_events_1"} // of (source, id)
	c.add("id = ?", id)
	if source != "" {
		c.add("source = ?", source)
	} else {
		c.add("source IN (" + everySourceSQL + ")")
	}
	return c
}

// everySourceSQL steps from source to source through that index.
const everySourceSQL = `
WITH RECURSIVE named (source) AS (
	SELECT min(source) FROM events
	UNION ALL
	SELECT (SELECT min(e.source) FROM events AS e WHERE e.source > named.source) FROM named WHERE named.source IS NOT NULL
) SELECT source FROM named WHERE source IS NOT NULL`

// Events lists rows, newest received_at first.
func (s *Store) Events(ctx context.Context, f storage.EventFilter) (storage.Page[*storage.EventRow], error) {
	var none storage.Page[*storage.EventRow]
	after, ok, err := page.Parse(eventsList, f.Cursor)
	if err != nil {
		return none, err
	}
	c, err := s.conditionsOf(ctx, f)
	if err != nil {
		return none, fmt.Errorf("list events: %w", err)
	}
	if ok {
		last, err := event.ParseKey(after.ID)
		if err != nil {
			return none, storage.ErrCursor
		}
		c.add("(received_at, source, id) < (?, ?, ?)", after.At, last.Source, last.ID)
		if c.within != "" {
			c.add("came <= ?", after.At)
		}
	}
	size := page.Size(f.Limit)
	rows, err := s.eventRows(ctx, c, newestReceived, size+1)
	if err != nil {
		return none, fmt.Errorf("list events: %w", readError(ctx, err))
	}
	return page.Cut(rows, size, func(r *storage.EventRow) page.Place {
		return page.Place{List: eventsList, At: millis(r.ReceivedAt), ID: event.Key{Source: r.Source, ID: r.ID}.String()}
	}), nil
}

// CountEvents counts what a filter selects.
func (s *Store) CountEvents(ctx context.Context, f storage.EventFilter) (n int64, err error) {
	c, err := s.conditionsOf(ctx, f)
	if err != nil {
		return 0, fmt.Errorf("count events: %w", err)
	}
	query := "SELECT count(*) FROM events" + c.through() + c.where()
	if c.within != "" {
		query = "SELECT count(*) FROM " + c.within + c.where()
	}
	err = s.reads.QueryRowContext(ctx, query, slices.Concat(c.withinArgs, c.args)...).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count events: %w", readError(ctx, err))
	}
	return n, nil
}

// passagesSQL reads the newest rows without their payloads.
const passagesSQL = `SELECT source, status, received_at, processed_at FROM events INDEXED BY events_received ORDER BY ` + newestReceived + ` LIMIT ?1`

// Passages returns how the newest events have fared.
func (s *Store) Passages(ctx context.Context, n int) ([]storage.Passage, error) {
	rows, err := s.reads.QueryContext(ctx, passagesSQL, n)
	if err != nil {
		return nil, fmt.Errorf("read the newest events: %w", readError(ctx, err))
	}
	found, err := collect(rows, scanPassage)
	if err != nil {
		return nil, fmt.Errorf("read the newest events: %w", readError(ctx, err))
	}
	return found, nil
}

func scanPassage(row scanner) (storage.Passage, error) {
	var p storage.Passage
	var received, processed int64
	err := row.Scan(&p.Source, &p.Status, &received, &processed)
	p.ReceivedAt = fromMillis(received)
	if p.Status.Final() {
		p.ProcessedAt = fromMillis(processed)
	}
	return p, err
}

// Where the rows of a list come from if not from an index of theirs: the events of an
// entity, in order, and those of a kind, to be sorted. A cross join is read in the order
// in which it is written.
const (
	ofEntity = `(SELECT event, received_at AS came FROM outcomes INDEXED BY outcomes_entity WHERE kind = ? AND id = ?)
CROSS JOIN events ON n = event`
	ofKind = `(SELECT DISTINCT event, received_at AS came FROM outcomes INDEXED BY outcomes_entity WHERE kind = ?)
CROSS JOIN events ON n = event`
)

// conditionsOf are the conditions of a filter. Where few events name a kind, they are
// looked through, for by time nearly the whole log would be passed over.
func (s *Store) conditionsOf(ctx context.Context, f storage.EventFilter) (conditions, error) {
	byTime := slices.Contains([]string{"events_type", "events_source", "events_received"}, eventsIndex(f))
	if f.Kind == "" || !byTime {
		return eventConditions(f, false), nil
	}
	few, err := s.fewOf(ctx, f.Kind)
	return eventConditions(f, few), err
}

// eventConditions are those of a filter; few says that few events name its kind.
func eventConditions(f storage.EventFilter, few bool) conditions {
	c := conditions{by: eventsIndex(f)}
	received := "received_at"
	switch {
	case !f.Entity.IsZero():
		received, c.within, c.withinArgs = "came", ofEntity, []any{f.Entity.Kind, f.Entity.Local()}
		c.add("source = ?", f.Entity.Source)
	case few:
		received, c.by, c.within, c.withinArgs = "came", "", ofKind, []any{f.Kind}
		f.Kind = ""
	}
	c.addStatus(f)
	if f.Type != "" {
		c.add("type = ?", f.Type)
	}
	if f.Source != "" {
		c.add("source = ?", f.Source)
	}
	if f.Note != 0 {
		c.add("note = ? AND note <> ''", f.Note.String())
	}
	if f.Kind != "" {
		c.add("EXISTS (SELECT 1 FROM outcomes AS o WHERE o.event = n AND o.kind = ?)", f.Kind)
	}
	c.between(received, f.From, f.To)
	return c
}

// fewSQL counts what names a kind, up to a number.
const fewSQL = `SELECT count(*) FROM (SELECT 1 FROM outcomes INDEXED BY outcomes_entity WHERE kind = ?1 LIMIT ?2)`

// fewOf reports whether no more events name a kind than a step of a scan has.
func (s *Store) fewOf(ctx context.Context, kind string) (bool, error) {
	var n int
	if err := s.reads.QueryRowContext(ctx, fewSQL, kind, s.scanSize+1).Scan(&n); err != nil {
		return false, readError(ctx, err)
	}
	return n <= s.scanSize, nil
}

// eventsIndex is the index that gives a list its rows in order. What else the
// filter asks, rows are passed over for. "" for those of one entity, and those
// under way without a source: they are found by their numbers and sorted.
func eventsIndex(f storage.EventFilter) string {
	switch underWay := f.Status == storage.Pending || f.Status == storage.Retrying; {
	case !f.Entity.IsZero(), underWay && f.Source == "":
		return ""
	case underWay:
		return "events_unsettled"
	case f.Note != 0:
		return "events_noted"
	case f.Status == storage.Erased:
		return "events_erased"
	case f.Status != "" && f.Status != storage.Processed:
		return "events_unlucky"
	case f.Type != "":
		return "events_type"
	case f.Source != "":
		return "events_source"
	}
	return "events_received"
}

// addStatus selects a status and says once more, for the planner, which partial
// index has it: what a parameter holds it does not know when it chooses. The
// index of rows under way begins with the source; without one it is named, and
// its rows, which are few, are sorted.
func (c *conditions) addStatus(f storage.EventFilter) {
	switch f.Status {
	case "":
	case storage.Processed: // by time: hardly any other is passed over
		c.add("status = ?", string(f.Status))
	case storage.Pending, storage.Retrying:
		c.add("status = ? AND status IN ('pending', 'retrying')", string(f.Status))
		if f.Source == "" && f.Entity.IsZero() {
			c.add("n IN (SELECT u.n FROM events AS u INDEXED BY events_unsettled WHERE u.status IN ('pending', 'retrying'))")
		}
	case storage.Erased:
		c.add("status = ? AND status = 'erased'", string(f.Status))
	default:
		c.add("status = ? AND "+unluckyStatus, string(f.Status))
	}
}

// eventRows reads rows and their outcomes in one state of the database.
func (s *Store) eventRows(ctx context.Context, c conditions, order string, limit int) ([]*storage.EventRow, error) {
	snapshot, err := s.reads.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = snapshot.Rollback() }() // it has only read
	rows, err := snapshot.QueryContext(ctx, eventsQuery(c, order), append(slices.Concat(c.withinArgs, c.args), limit)...)
	if err != nil {
		return nil, err
	}
	found, err := collect(rows, scanEvent)
	if err != nil {
		return nil, err
	}
	return withOutcomes(ctx, snapshot, found)
}

// eventsQuery reads rows in an order. The numbers of those of an entity, or of a kind that
// few name, are found first, so that nothing but the page is read with its payloads; only those that
// came in the same millisecond are sorted for it.
func eventsQuery(c conditions, order string) string {
	if c.within != "" {
		byArrival := strings.Replace(order, "received_at", "came", 1)
		return "SELECT " + eventColumns + " FROM events WHERE n IN (SELECT n FROM " + c.within + c.where() +
			" ORDER BY " + byArrival + " LIMIT ?) ORDER BY " + order
	}
	return "SELECT " + eventColumns + " FROM events" + c.through() + c.where() + " ORDER BY " + order + " LIMIT ?"
}

func withOutcomes(ctx context.Context, snapshot *sql.Tx, found []loggedRow) ([]*storage.EventRow, error) {
	out := make([]*storage.EventRow, len(found))
	byNumber := make(map[int64]*storage.EventRow, len(found))
	numbers := make([]int64, len(found))
	for i, r := range found {
		out[i], byNumber[r.n], numbers[i] = r.EventRow, r.EventRow, r.n
	}
	list, err := json.Marshal(numbers)
	if err != nil {
		return nil, err
	}
	rows, err := snapshot.QueryContext(ctx, outcomesSQL, string(list))
	if err != nil {
		return nil, err
	}
	_, err = collect(rows, func(row scanner) (none struct{}, err error) {
		n, o, err := scanOutcome(row)
		if err != nil {
			return none, err
		}
		r := byNumber[n]
		o.Ref.Key.Source = r.Source
		r.Entities = append(r.Entities, o)
		return none, nil
	})
	return out, err
}

func scanEvent(row scanner) (loggedRow, error) {
	r := loggedRow{EventRow: &storage.EventRow{}}
	var created, received, processed int64
	var given, note string
	err := row.Scan(&r.n, &r.Source, &r.ID, &r.Type, &created, &received, &processed, &r.Status, &r.Attempts, &r.Error,
		&r.Duplicates, &r.OutOfOrder, &r.Overtaken, &r.Lagging, &r.PayloadDiffers, &r.ParentsDiffer, &r.Unnamed, &r.Undated, &r.Payload, &given, &note, &r.TraceID)
	if err != nil {
		return r, err
	}
	r.CreatedAt, r.ReceivedAt, r.ProcessedAt = fromMillis(created), fromMillis(received), fromMillis(processed)
	r.Note = event.ParseNote(note)
	r.Given, err = fromObject(given)
	return r, err
}

// scanOutcome reads an outcome, less its source, and the number of its row.
func scanOutcome(row scanner) (n int64, o storage.Outcome, err error) {
	var covered storage.Covered
	var parents string
	var fetched, failed, next int64
	err = row.Scan(&n, &o.Ref.Key.Kind, local{&o.Ref.Key}, &parents, &o.Status, &o.Signal.Shard, &o.Signal.ID,
		&covered.Claim, &fetched, &covered.Signal, &covered.StateHash, &failed, &next, &o.Error)
	if err != nil {
		return n, o, err
	}
	if covered.Claim > 0 {
		covered.FetchedAt = fromMillis(fetched)
		o.CoveredBy = &covered
	}
	o.FailedAt, o.NextAt = fromMillis(failed), fromMillis(next)
	o.Ref.Parents, err = fromObject(parents)
	return n, o, err
}
