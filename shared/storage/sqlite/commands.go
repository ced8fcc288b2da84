package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// commands is the part of the store that keeps commands and refs.
type commands struct{ *Store }

// Commands returns the part of the store that keeps commands and refs.
func (s *Store) Commands() storage.Commands { return commands{s} }

const commandsList = "commands"

// Those that never change come first.
const commandColumns = `id, source, key, fingerprint, kind, op, ref, parents, bulk, by, at, trace,
	lane, n, state, rev, due_at, owed, body, request, sent, answer, progress, reason, ended_at`

const (
	askSQL = `
INSERT INTO commands (` + commandColumns + `, open, waits_on)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)`

	moveSQL = `
UPDATE commands SET rev = rev + 1, lane = ?3, n = ?4, state = ?5, open = ?6, due_at = ?7, owed = ?8, waits_on = ?9,
	body = ?10, request = ?11, sent = ?12, answer = ?13, progress = ?14, reason = ?15, ended_at = ?16
WHERE id = ?1 AND rev = ?2`

	commandSQL = `SELECT ` + commandColumns + ` FROM commands WHERE id = ?1`

	openCommandsSQL = `
SELECT ` + commandColumns + ` FROM commands INDEXED BY commands_lane
WHERE open = 1 AND source = ?1 AND kind = ?2 AND lane = ?3 ORDER BY n LIMIT ?4`

	deferSQL = `
UPDATE commands SET due_at = ?5 WHERE open = 1 AND source = ?1 AND kind = ?2 AND lane = ?3 AND n > ?4 AND state = 'queued' AND due_at < ?5`

	dueSQL = `
SELECT id, kind, lane, parents, bulk, trace, due_at FROM commands INDEXED BY commands_due
WHERE open = 1 AND source = ?1 AND (due_at, id) > (?2, ?3) AND due_at <= ?4 ORDER BY due_at, id LIMIT ?5`

	owedCommandsSQL = `
SELECT source, kind, id, rev FROM commands INDEXED BY commands_owed WHERE owed = 1 AND source = ?1 AND id > ?2 ORDER BY id LIMIT ?3`

	paidCommandSQL = `UPDATE commands SET owed = 0 WHERE id = ?1 AND rev = ?2 AND owed = 1`

	countCommandsSQL = `
SELECT source, kind, op, state, count(*) FROM commands INDEXED BY commands_counted WHERE ` + countedCommands + ` GROUP BY state, source, kind, op`

	askedSQL = `SELECT source, progress FROM commands INDEXED BY commands_state WHERE state = 'asked' ORDER BY at LIMIT 10000`
)

// progress is what changes of a command and no query asks for.
type progress struct {
	Charged    int                      `json:"charged,omitempty"`
	Keys       int                      `json:"keys,omitempty"`
	KeyedAt    time.Time                `json:"keyed_at,omitzero"`
	SentAt     time.Time                `json:"sent_at,omitzero"`
	Begun      string                   `json:"begun,omitempty"`
	Attempts   []storage.CommandAttempt `json:"attempts,omitempty"`
	WaitsFor   []string                 `json:"waits_for,omitempty"`
	WaitsSince time.Time                `json:"waits_since,omitzero"`
	Doubt      *storage.CommandDoubt    `json:"doubt,omitempty"`
	Result     *storage.CommandResult   `json:"result,omitempty"`
	CoveredBy  *storage.Covered         `json:"covered_by,omitempty"`
	Asked      *storage.CommandQuestion `json:"asked,omitempty"`
}

// changing are the values of the columns that Move writes, from body on.
type changing struct {
	waitsOn                             string
	body, request, sent, answer, detail any
}

func changingOf(c *storage.Command) (v changing, err error) {
	if len(c.WaitsFor) > 0 {
		v.waitsOn = c.WaitsFor[0]
	}
	v.body = text(c.Body)
	if c.Request != nil {
		b, err := json.Marshal(c.Request)
		if err != nil {
			return v, err
		}
		v.request, v.sent = text(b), text(c.Request.Bytes)
	}
	if c.Result != nil {
		v.answer = text(c.Result.Body)
	}
	b, err := json.Marshal(progress{
		Charged: c.Charged, Keys: c.Keys, KeyedAt: c.KeyedAt, SentAt: c.SentAt, Begun: c.Begun, Attempts: c.Attempts,
		WaitsFor: c.WaitsFor, WaitsSince: c.WaitsSince, Doubt: c.Doubt, Result: c.Result, CoveredBy: c.CoveredBy, Asked: c.Asked,
	})
	v.detail = string(b)
	return v, err
}

// Ask adds a command as the last of its lane.
func (s commands) Ask(ctx context.Context, c *storage.Command) (*storage.Command, error) {
	if err := checkCommand(c); err != nil {
		return nil, fmt.Errorf("ask for command %s: %w", c.ID, err)
	}
	var stored *storage.Command
	err := s.writer.change(ctx, func(t *tx) (err error) {
		stored, err = t.ask(c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for command %s: %w", c.ID, err)
	}
	if stored.Fingerprint != c.Fingerprint {
		return stored, fmt.Errorf("command %s: %w", c.ID, storage.ErrKeyReused)
	}
	return stored, nil
}

func checkCommand(c *storage.Command) error {
	if err := checkKeys(c.Lane); err != nil {
		return err
	}
	for _, s := range []string{c.ID, c.Source, c.Key, c.Ref} {
		if !utf8.ValidString(s) {
			return fate.Errorf(fate.Permanent, "%q is not UTF-8", s)
		}
	}
	return nil
}

func (t *tx) ask(asked *storage.Command) (*storage.Command, error) {
	there, err := scanCommand(t.row(commandSQL, asked.ID))
	if !errors.Is(err, sql.ErrNoRows) {
		return there, err
	}
	c := *asked
	c.Rev = 1
	if c.State != storage.CommandDead {
		c.State = storage.CommandQueued
	}
	if err := t.row(nextNumberSQL, c.Lane.Source, c.Lane.Kind, c.Lane.Local()).Scan(&c.N); err != nil {
		return nil, err
	}
	if fault.Off("command-n") { // as clocks of several machines, which differ
		c.N = time.Now().UnixMilli() + rand.Int64N(5000)
	}
	parents, err := object(c.Parents)
	if err != nil {
		return nil, err
	}
	v, err := changingOf(&c)
	if err != nil {
		return nil, err
	}
	_, err = t.exec(askSQL, c.ID, c.Source, c.Key, c.Fingerprint, c.Kind, c.Op, c.Ref, parents, c.Bulk, c.By, millis(c.At), c.Trace,
		c.Lane.Local(), c.N, string(c.State), c.Rev, millis(c.DueAt), c.Owed, v.body, v.request, v.sent, v.answer, v.detail,
		c.Reason, millis(c.EndedAt), !c.State.Final(), v.waitsOn)
	if err != nil {
		return nil, err
	}
	return scanCommand(t.row(commandSQL, c.ID))
}

// Command returns one, or storage.ErrNotFound.
func (s commands) Command(ctx context.Context, id string) (*storage.Command, error) {
	c, err := scanCommand(s.reads.QueryRowContext(ctx, commandSQL, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read command %s: %w", id, storage.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read command %s: %w", id, readError(ctx, err))
	}
	return c, nil
}

// List lists commands, newest first.
func (s commands) List(ctx context.Context, f storage.CommandFilter) (storage.Page[*storage.Command], error) {
	c := conditions{by: commandsIndex(f)}
	oneOf(&c, "state", f.States)
	c.equal("source", f.Source)
	c.equal("kind", f.Kind)
	c.equal("op", f.Op)
	if f.Ref != "" {
		c.add("ref = ? AND ref <> ''", f.Ref)
	}
	if !f.Entity.IsZero() {
		c.add("source = ? AND kind = ? AND lane = ?", f.Entity.Source, f.Entity.Kind, f.Entity.Local())
	}
	c.between("at", f.From, f.To)
	return list(ctx, s.Store, newestFirst[*storage.Command]{
		list: commandsList, columns: commandColumns, table: "commands", time: "at", scan: scanCommand,
		place: func(c *storage.Command) page.Place { return page.Place{At: millis(c.At), ID: c.ID} },
	}, c, f.Limit, f.Cursor)
}

// commandsIndex is the index that commands are found by.
func commandsIndex(f storage.CommandFilter) string {
	switch {
	case !f.Entity.IsZero():
		return "commands_entity"
	case f.Ref != "":
		return "commands_ref"
	case len(f.States) > 0:
		return "commands_state"
	case f.Source != "":
		return "commands_source"
	}
	return "commands_at"
}

// Move stores a command that has not changed since it was read.
func (s commands) Move(ctx context.Context, c *storage.Command) (bool, error) {
	return s.moved(ctx, c, func(t *tx) (event.Key, int64, error) { return c.Lane, c.N, nil })
}

// Forward moves a command to the end of another lane.
func (s commands) Forward(ctx context.Context, c *storage.Command, lane event.Key) (bool, error) {
	return s.moved(ctx, c, func(t *tx) (_ event.Key, n int64, err error) {
		err = t.row(nextNumberSQL, lane.Source, lane.Kind, lane.Local()).Scan(&n)
		return lane, n, err
	})
}

func (s commands) moved(ctx context.Context, c *storage.Command, place func(*tx) (event.Key, int64, error)) (moved bool, err error) {
	v, err := changingOf(c)
	if err != nil {
		return false, fmt.Errorf("move command %s: %w", c.ID, err)
	}
	var lane event.Key
	var number int64
	err = s.writer.change(ctx, func(t *tx) (err error) {
		if lane, number, err = place(t); err != nil {
			return err
		}
		change := func() error {
			n, err := t.exec(moveSQL, c.ID, c.Rev, lane.Local(), number, string(c.State), !c.State.Final(), millis(c.DueAt), c.Owed, v.waitsOn,
				v.body, v.request, v.sent, v.answer, v.detail, c.Reason, millis(c.EndedAt))
			moved = n > 0
			return err
		}
		if c.State.Final() { // which is when its secrets go, or what it holds of an erased entity
			return t.thoroughly(change)
		}
		return change()
	})
	if err != nil {
		return false, fmt.Errorf("move command %s: %w", c.ID, err)
	}
	if moved {
		c.Rev++
		c.Lane, c.N = lane, number
	}
	return moved, nil
}

// Open returns commands of a lane that are not final.
func (s commands) Open(ctx context.Context, lane event.Key, limit int) ([]*storage.Command, error) {
	rows, err := s.reads.QueryContext(ctx, openCommandsSQL, lane.Source, lane.Kind, lane.Local(), limit)
	if err != nil {
		return nil, fmt.Errorf("read commands of %s: %w", lane, readError(ctx, err))
	}
	out, err := collect(rows, scanCommand)
	if err != nil {
		return nil, fmt.Errorf("read commands of %s: %w", lane, readError(ctx, err))
	}
	return out, nil
}

// Defer makes queued commands behind a number due at a time.
func (s commands) Defer(ctx context.Context, lane event.Key, n int64, until time.Time) error {
	err := s.writer.change(ctx, func(t *tx) error {
		_, err := t.exec(deferSQL, lane.Source, lane.Kind, lane.Local(), n, millis(until))
		return err
	})
	if err != nil {
		return fmt.Errorf("defer commands of %s: %w", lane, err)
	}
	return nil
}

const dueList = "due commands"

// Due returns commands of a source that are due.
func (s commands) Due(ctx context.Context, source string, now time.Time, limit int, cursor string) (due []storage.DueCommand, next string, err error) {
	after, ok, err := page.Parse(dueList, cursor)
	if err != nil {
		return nil, "", err
	}
	if !ok {
		after.At = 1 // 0: not by itself
	}
	rows, err := s.reads.QueryContext(ctx, dueSQL, source, after.At, after.ID, millis(now), limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("read due commands of %s: %w", source, readError(ctx, err))
	}
	due, err = collect(rows, func(row scanner) (d storage.DueCommand, err error) {
		var parents string
		var at int64
		d.Lane.Source = source
		if err = row.Scan(&d.ID, &d.Lane.Kind, local{&d.Lane}, &parents, &d.Bulk, &d.Trace, &at); err == nil {
			d.DueAt = fromMillis(at)
			d.Parents, err = fromObject(parents)
		}
		return d, err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read due commands of %s: %w", source, readError(ctx, err))
	}
	p := page.Cut(due, limit, func(d storage.DueCommand) page.Place {
		return page.Place{List: dueList, At: millis(d.DueAt), ID: d.ID}
	})
	return p.Items, p.NextCursor, nil
}

// Named returns the commands of ids.
func (s commands) Named(ctx context.Context, ids []string) (out []*storage.Command, err error) {
	for part := range slices.Chunk(ids, queryIDs) {
		var c conditions
		oneOf(&c, "id", part)
		rows, err := s.reads.QueryContext(ctx, "SELECT "+commandColumns+" FROM commands"+c.where(), c.args...)
		var found []*storage.Command
		if err == nil {
			found, err = collect(rows, scanCommand)
		}
		if err != nil {
			return nil, fmt.Errorf("read %d commands: %w", len(ids), readError(ctx, err))
		}
		out = append(out, found...)
	}
	return out, nil
}

// Owed returns the commands that are owed to the feed.
func (s commands) Owed(ctx context.Context, source, after string, limit int) ([]storage.Item, error) {
	rows, err := s.reads.QueryContext(ctx, owedCommandsSQL, source, after, min(max(limit, 1), storage.MaxItems))
	var out []storage.Item
	if err == nil {
		out, err = collect(rows, func(row scanner) (i storage.Item, err error) {
			var source, kind, id string
			err = row.Scan(&source, &kind, &id, &i.Version)
			i.Key = storage.CommandItem(source, kind, id)
			return i, err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list the commands of %s that the feed lacks: %w", source, readError(ctx, err))
	}
	return out, nil
}

// Paid notes which commands are in the feed.
func (s commands) Paid(ctx context.Context, items []storage.Item) (paid int, err error) {
	for part := range slices.Chunk(items, batchSize) {
		n := 0
		err := s.batch(ctx, "note which commands are in the feed", len(part), func(t *tx) error {
			n = 0
			for _, i := range part {
				one, err := t.exec(paidCommandSQL, i.Key.ID, i.Version)
				if err != nil {
					return err
				}
				n += int(one)
			}
			return nil
		})
		if err != nil {
			return paid, err
		}
		paid += n
	}
	return paid, nil
}

// Counts counts the commands that are not over.
func (s commands) Counts(ctx context.Context) (*storage.CommandCounts, error) {
	rows, err := s.reads.QueryContext(ctx, countCommandsSQL)
	if err != nil {
		return nil, fmt.Errorf("count commands: %w", readError(ctx, err))
	}
	out := &storage.CommandCounts{AskedSince: map[string]time.Time{}}
	out.Counts, err = collect(rows, func(row scanner) (n storage.CommandCount, err error) {
		return n, row.Scan(&n.Source, &n.Kind, &n.Op, &n.State, &n.Count)
	})
	if err != nil {
		return nil, fmt.Errorf("count commands: %w", readError(ctx, err))
	}
	if rows, err = s.reads.QueryContext(ctx, askedSQL); err != nil {
		return nil, fmt.Errorf("count commands: %w", readError(ctx, err))
	}
	type question struct {
		source string
		since  time.Time
	}
	asked, err := collect(rows, func(row scanner) (q question, err error) {
		var detail []byte
		var p progress
		if err = row.Scan(&q.source, &detail); err == nil {
			err = json.Unmarshal(detail, &p)
		}
		if p.Asked != nil {
			q.since = p.Asked.Since
		}
		return q, err
	})
	if err != nil {
		return nil, fmt.Errorf("count commands: %w", readError(ctx, err))
	}
	for _, q := range asked {
		if first, ok := out.AskedSince[q.source]; !ok || q.since.Before(first) {
			out.AskedSince[q.source] = q.since
		}
	}
	return out, nil
}

func scanCommand(row scanner) (*storage.Command, error) {
	var c storage.Command
	var parents string
	var at, due, ended int64
	var request, sent, answer, detail []byte
	err := row.Scan(&c.ID, &c.Source, &c.Key, &c.Fingerprint, &c.Kind, &c.Op, &c.Ref, &parents, &c.Bulk, &c.By, &at, &c.Trace,
		local{&c.Lane}, &c.N, &c.State, &c.Rev, &due, &c.Owed, &c.Body, &request, &sent, &answer, &detail, &c.Reason, &ended)
	if err != nil {
		return nil, err
	}
	c.Lane.Source, c.Lane.Kind = c.Source, c.Kind
	c.At, c.DueAt, c.EndedAt = fromMillis(at), fromMillis(due), fromMillis(ended)
	if c.Parents, err = fromObject(parents); err != nil {
		return nil, fmt.Errorf("command %s: %w", c.ID, err)
	}
	var p progress
	if err := json.Unmarshal(detail, &p); err != nil {
		return nil, fate.Errorf(fate.Permanent, "command %s: progress cannot be read: %w", c.ID, err)
	}
	if request != nil {
		c.Request = &storage.CommandRequest{}
		if err := json.Unmarshal(request, c.Request); err != nil {
			return nil, fate.Errorf(fate.Permanent, "command %s: request cannot be read: %w", c.ID, err)
		}
		c.Request.Bytes = sent
	}
	if p.Result != nil {
		p.Result.Body = answer
	}
	c.Charged, c.Keys, c.KeyedAt, c.SentAt, c.Begun, c.Attempts = p.Charged, p.Keys, p.KeyedAt, p.SentAt, p.Begun, p.Attempts
	c.WaitsFor, c.WaitsSince, c.Doubt, c.Result, c.CoveredBy, c.Asked = p.WaitsFor, p.WaitsSince, p.Doubt, p.Result, p.CoveredBy, p.Asked
	return &c, nil
}
