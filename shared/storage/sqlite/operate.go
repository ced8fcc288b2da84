package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// What operators do with dead letters.

const lettersList = "dead letters"

const letterColumns = `l.id, l.source, l.event_id, l.kind, l.entity_id, l.parents, l.signal_shard, l.signal_id, l.class,
	l.attempts, l.claim, l.trace_id, l.at, l.status, l.closed_at, l.closed_by, l.reason, coalesce(e.type, ''), e.payload`

const (
	// withEvents joins each dead letter with its event, which the log may lack.
	withEvents = ` LEFT JOIN events AS e ON e.source = l.source AND e.id = l.event_id`

	lettersFrom = " FROM dead_letters AS l"

	openLettersBySourceSQL = `SELECT source, count(*) FROM dead_letters INDEXED BY dead_letters_open WHERE status = 'open' GROUP BY source`

	// failedWorkSQL looks for open work on an entity that has failed.
	failedWorkSQL = `
SELECT EXISTS (SELECT 1 FROM outcomes AS o INDEXED BY outcomes_failed JOIN events AS e ON e.n = o.event
	WHERE o.kind = ?2 AND o.id = ?3 AND o.status = 'pending' AND o.failed_at > 0 AND e.source = ?1 AND e.status = 'retrying')`

	closeLetterSQL = `
UPDATE dead_letters SET status = ?2, closed_at = ?3, closed_by = ?4, reason = ?5 WHERE id = ?1 AND status = 'open'
RETURNING source, event_id, kind, entity_id`
)

// LetterByID returns one dead letter, or storage.ErrNotFound.
func (s *Store) LetterByID(ctx context.Context, id string) (*storage.LetterRecord, error) {
	l, err := scanLetter(s.reads.QueryRowContext(ctx, "SELECT "+letterColumns+lettersFrom+withEvents+" WHERE l.id = ?1", id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read dead letter %s: %w", id, storage.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letter %s: %w", id, readError(ctx, err))
	}
	return l, nil
}

// Letters lists dead letters, newest first.
func (s *Store) Letters(ctx context.Context, f storage.LetterFilter) (storage.Page[*storage.LetterRecord], error) {
	var none storage.Page[*storage.LetterRecord]
	after, ok, err := page.Parse(lettersList, f.Cursor)
	if err != nil {
		return none, err
	}
	c := letterConditions(f)
	if ok {
		c.add("(l.at, l.id) < (?, ?)", after.At, after.ID)
	}
	size := page.Size(f.Limit)
	rows, err := s.reads.QueryContext(ctx,
		"SELECT "+letterColumns+lettersFrom+c.through()+withEvents+c.where()+" ORDER BY l.at DESC, l.id DESC LIMIT ?", append(c.args, size+1)...)
	if err != nil {
		return none, fmt.Errorf("list dead letters: %w", readError(ctx, err))
	}
	letters, err := collect(rows, scanLetter)
	if err != nil {
		return none, fmt.Errorf("list dead letters: %w", readError(ctx, err))
	}
	return page.Cut(letters, size, func(l *storage.LetterRecord) page.Place {
		return page.Place{List: lettersList, At: millis(l.At), ID: l.ID()}
	}), nil
}

// CountLetters counts what a filter selects.
func (s *Store) CountLetters(ctx context.Context, f storage.LetterFilter) (n int64, err error) {
	c := letterConditions(f)
	err = s.reads.QueryRowContext(ctx, "SELECT count(*)"+lettersFrom+c.through()+withEvents+c.where(), c.args...).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", readError(ctx, err))
	}
	return n, nil
}

// OpenLetters counts open dead letters by source.
func (s *Store) OpenLetters(ctx context.Context) (map[string]int64, error) {
	rows, err := s.reads.QueryContext(ctx, openLettersBySourceSQL)
	if err != nil {
		return nil, fmt.Errorf("count open letters: %w", readError(ctx, err))
	}
	type count struct {
		source string
		n      int64
	}
	counts, err := collect(rows, func(row scanner) (c count, err error) { return c, row.Scan(&c.source, &c.n) })
	if err != nil {
		return nil, fmt.Errorf("count open letters: %w", readError(ctx, err))
	}
	out := make(map[string]int64, len(counts))
	for _, c := range counts {
		out[c.source] = c.n
	}
	return out, nil
}

// Redriven closes open dead letters whose work was appended again.
func (s *Store) Redriven(ctx context.Context, ids []string, by string, at time.Time) (int, error) {
	return s.closeLetters(ctx, "mark dead letters redriven", ids, closing{storage.LetterRedriven, storage.Pending, by, "", at})
}

// Discard gives open dead letters up.
func (s *Store) Discard(ctx context.Context, ids []string, by, reason string, at time.Time) (int, error) {
	return s.closeLetters(ctx, "discard letters", ids, closing{storage.LetterDiscarded, storage.Discarded, by, reason, at})
}

// closing is how dead letters end, and what becomes of their outcomes.
type closing struct {
	letter     storage.LetterStatus
	outcome    storage.EventStatus
	by, reason string
	at         time.Time
}

func (s *Store) closeLetters(ctx context.Context, doing string, ids []string, end closing) (n int, err error) {
	for part := range slices.Chunk(ids, batchSize) {
		closed := 0
		err := s.batch(ctx, doing, len(part), func(t *tx) (err error) {
			closed, err = t.closeLetters(part, end)
			return err
		})
		if err != nil {
			return n, err
		}
		n += closed
	}
	return n, nil
}

func (t *tx) closeLetters(ids []string, end closing) (n int, err error) {
	entities := map[event.Key]bool{}
	for _, id := range ids {
		k, closed, err := t.closeLetter(id, end)
		if err != nil {
			return 0, fmt.Errorf("dead letter %s: %w", id, err)
		}
		if closed {
			n++
			entities[k] = true
		}
	}
	for k := range entities {
		var retrying bool
		if err := t.row(failedWorkSQL, k.Source, k.Kind, k.Local()).Scan(&retrying); err != nil {
			return 0, err
		}
		if err := t.recount(k, 0, retrying); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (t *tx) closeLetter(id string, end closing) (k event.Key, closed bool, err error) {
	var eventID string
	err = t.row(closeLetterSQL, id, string(end.letter), millis(end.at), end.by, end.reason).
		Scan(&k.Source, &eventID, &k.Kind, local{&k})
	if errors.Is(err, sql.ErrNoRows) {
		return k, false, nil
	}
	if err != nil {
		return k, false, err
	}
	row, logged, err := t.event(k.Source, eventID)
	if err != nil || !logged {
		return k, true, err
	}
	return k, true, t.moveOutcome(row, k, storage.Dead, end.outcome, millis(end.at))
}

// lettersIndex is the index that gives a list its dead letters in order; those of one
// entity are sorted.
func lettersIndex(f storage.LetterFilter) string {
	switch {
	case !f.Entity.IsZero():
		return "dead_letters_entity"
	case f.Status != "":
		return "dead_letters_status"
	}
	return "dead_letters_at"
}

func letterConditions(f storage.LetterFilter) conditions {
	c := conditions{by: lettersIndex(f)}
	c.equal("l.status", string(f.Status))
	c.equal("l.source", f.Source)
	c.equal("e.type", f.Type)
	c.equal("l.kind", f.Kind)
	c.equal("l.class", f.Class)
	if !f.Entity.IsZero() {
		c.add("l.source = ? AND l.kind = ? AND l.entity_id = ?", f.Entity.Source, f.Entity.Kind, f.Entity.Local())
	}
	c.between("l.at", f.From, f.To)
	return c
}

func scanLetter(row scanner) (*storage.LetterRecord, error) {
	var l storage.LetterRecord
	var id, parents, attempts string
	var at, closed int64
	k := &l.Ref.Key
	err := row.Scan(&id, &l.Source, &l.EventID, &k.Kind, local{k}, &parents, &l.Signal.Shard, &l.Signal.ID, &l.Class,
		&attempts, &l.Claim, &l.TraceID, &at, &l.Status, &closed, &l.By, &l.Reason, &l.EventType, &l.Payload)
	if err != nil {
		return nil, err
	}
	k.Source = l.Source
	l.At, l.ClosedAt = fromMillis(at), fromMillis(closed)
	if l.Ref.Parents, err = fromObject(parents); err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", id, err)
	}
	if err := json.Unmarshal([]byte(attempts), &l.Attempts); err != nil {
		return nil, fate.Errorf(fate.Permanent, "dead letter %s: attempts cannot be read: %w", id, err)
	}
	return &l, nil
}
