package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// commands is the part of the store that keeps commands and refs.
type commands struct{ *Store }

// Commands returns the part of the store that keeps commands and refs.
func (s *Store) Commands() storage.Commands { return commands{s} }

const (
	commandsList = "commands"
	dueList      = "due commands"
)

// command is a command as stored. Fields from State on change, and so do Lane and N when
// it is forwarded.
type command struct {
	ID          string            `bson:"_id"`
	Source      string            `bson:"source"`
	Key         string            `bson:"key"`
	Fingerprint string            `bson:"fingerprint"`
	Kind        string            `bson:"kind"`
	Op          string            `bson:"op"`
	Ref         string            `bson:"ref,omitempty"`
	Parents     map[string]string `bson:"parents,omitempty"`
	Bulk        bool              `bson:"bulk,omitempty"`
	By          string            `bson:"by"`
	At          time.Time         `bson:"at"`
	Trace       string            `bson:"trace,omitempty"`

	Lane string `bson:"lane"` // source/kind/id, or source/kind/~ref
	N    int64  `bson:"n"`

	State storage.CommandState `bson:"state"`
	// Open: the state is not final. Indexes that serve the work hold only such.
	Open  bool      `bson:"open"`
	Rev   int64     `bson:"rev"`
	DueAt time.Time `bson:"due_at,omitempty"`
	Owed  bool      `bson:"owed"` // always written: an index has those of false
	// WaitsOn is the first of the refs it waits for. Waiting: there is one, and it is open.
	WaitsOn string `bson:"waits_on,omitempty"`
	Waiting bool   `bson:"waiting,omitempty"`

	Body       bson.RawValue            `bson:"body,omitempty"`
	Request    *storage.CommandRequest  `bson:"request,omitempty"`
	Charged    int                      `bson:"charged,omitempty"`
	Keys       int                      `bson:"keys,omitempty"`
	KeyedAt    time.Time                `bson:"keyed_at,omitempty"`
	SentAt     time.Time                `bson:"sent_at,omitempty"`
	Begun      string                   `bson:"begun,omitempty"`
	Attempts   []storage.CommandAttempt `bson:"attempts,omitempty"`
	WaitsFor   []string                 `bson:"waits_for,omitempty"`
	WaitsSince time.Time                `bson:"waits_since,omitempty"`
	Doubt      *storage.CommandDoubt    `bson:"doubt,omitempty"`
	Result     *commandResult           `bson:"result,omitempty"`
	CoveredBy  *covered                 `bson:"covered_by,omitempty"`
	Asked      *storage.CommandQuestion `bson:"asked,omitempty"`
	Reason     string                   `bson:"reason,omitempty"`
	EndedAt    time.Time                `bson:"ended_at,omitempty"`
}

// commandResult is a provider's answer as stored.
type commandResult struct {
	Status    int           `bson:"status,omitempty"`
	ID        string        `bson:"id,omitempty"`
	At        time.Time     `bson:"at"`
	Body      bson.RawValue `bson:"body,omitempty"`
	RequestID string        `bson:"request_id,omitempty"`
}

func newCommand(c *storage.Command) *command {
	out := &command{
		ID: c.ID, Source: c.Source, Key: c.Key, Fingerprint: c.Fingerprint, Kind: c.Kind, Op: c.Op, Ref: c.Ref,
		Parents: escapeKeys(c.Parents), Bulk: c.Bulk, By: c.By, At: c.At, Trace: c.Trace, Lane: c.Lane.String(), N: c.N,
		State: c.State, Open: !c.State.Final(), Rev: c.Rev, DueAt: c.DueAt, Owed: c.Owed,
		Body: optionalBody(c.Body), Request: c.Request, Charged: c.Charged, Keys: c.Keys, KeyedAt: c.KeyedAt, SentAt: c.SentAt,
		Begun: c.Begun, Attempts: c.Attempts, WaitsFor: c.WaitsFor, WaitsSince: c.WaitsSince, Doubt: c.Doubt,
		Asked: c.Asked, Reason: c.Reason, EndedAt: c.EndedAt,
	}
	if len(c.WaitsFor) > 0 {
		out.WaitsOn, out.Waiting = waitsOn(c.Source, c.WaitsFor[0]), out.Open
	}
	if r := c.Result; r != nil {
		out.Result = &commandResult{Status: r.Status, ID: r.ID, At: r.At, Body: optionalBody(r.Body), RequestID: r.RequestID}
	}
	if v := c.CoveredBy; v != nil {
		out.CoveredBy = &covered{Claim: v.Claim, FetchedAt: v.FetchedAt, Signal: v.Signal, StateHash: v.StateHash}
	}
	return out
}

// waitsOn is a ref, given as KIND/REF, within its source.
func waitsOn(source, name string) string { return source + "/" + name }

func (c *command) mirror() (*storage.Command, error) {
	lane, err := event.ParseKey(c.Lane)
	if err != nil {
		return nil, fate.Errorf(fate.Permanent, "command %s: lane: %w", c.ID, err)
	}
	out := &storage.Command{
		ID: c.ID, Source: c.Source, Key: c.Key, Fingerprint: c.Fingerprint, Kind: c.Kind, Op: c.Op, Ref: c.Ref,
		Parents: unescapeKeys(c.Parents), Body: bodyBytes(c.Body), Bulk: c.Bulk, By: c.By, At: c.At, Trace: c.Trace, Lane: lane, N: c.N,
		State: c.State, Rev: c.Rev, DueAt: c.DueAt, Owed: c.Owed,
		Request: c.Request, Charged: c.Charged, Keys: c.Keys, KeyedAt: c.KeyedAt, SentAt: c.SentAt,
		Begun: c.Begun, Attempts: c.Attempts, WaitsFor: c.WaitsFor, WaitsSince: c.WaitsSince, Doubt: c.Doubt,
		Asked: c.Asked, Reason: c.Reason, EndedAt: c.EndedAt,
	}
	if r := c.Result; r != nil {
		out.Result = &storage.CommandResult{Status: r.Status, ID: r.ID, At: r.At, Body: bodyBytes(r.Body), RequestID: r.RequestID}
	}
	if v := c.CoveredBy; v != nil {
		out.CoveredBy = &storage.Covered{Claim: v.Claim, FetchedAt: v.FetchedAt, Signal: v.Signal, StateHash: v.StateHash}
	}
	return out, nil
}

func commandsOf(docs []*command) ([]*storage.Command, error) {
	out := make([]*storage.Command, len(docs))
	for i, d := range docs {
		var err error
		if out[i], err = d.mirror(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Ask adds a command as the last of its lane: the number first, then the command.
func (s commands) Ask(ctx context.Context, asked *storage.Command) (*storage.Command, error) {
	if err := checkText(asked.ID, asked.Source, asked.Key, asked.Ref, asked.Lane.String()); err != nil {
		return nil, fmt.Errorf("ask for command %s: %w", asked.ID, err)
	}
	c := *asked
	c.Rev = 1
	if c.State != storage.CommandDead {
		c.State = storage.CommandQueued
	}
	var err error
	if c.N, err = s.number(ctx, c.Lane); err != nil {
		return nil, fmt.Errorf("ask for command %s: %w", c.ID, err)
	}
	stored := newCommand(&c)
	_, err = s.commands.InsertOne(ctx, stored)
	if mongo.IsDuplicateKeyError(err) {
		stored, err = s.command(ctx, c.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for command %s: %w", c.ID, classify(ctx, err))
	}
	out, err := stored.mirror()
	if err == nil && out.Fingerprint != asked.Fingerprint {
		return out, fmt.Errorf("command %s: %w", c.ID, storage.ErrKeyReused)
	}
	return out, err
}

// number counts a lane's commands.
func (s commands) number(ctx context.Context, lane event.Key) (int64, error) {
	var r ref
	err := s.refs.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: lane.String()}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&r)
	if mongo.IsDuplicateKeyError(err) { // two made the document at once
		return s.number(ctx, lane)
	}
	return r.N, classify(ctx, err)
}

func (s commands) command(ctx context.Context, id string) (*command, error) {
	var c command
	raw, err := s.commands.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, storage.ErrNotFound
	}
	if err == nil {
		err = decode(s.commands, raw, &c)
	}
	if err != nil {
		return nil, classify(ctx, err)
	}
	return &c, nil
}

// Command returns one, or storage.ErrNotFound.
func (s commands) Command(ctx context.Context, id string) (*storage.Command, error) {
	c, err := s.command(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read command %s: %w", id, err)
	}
	return c.mirror()
}

// List lists commands, newest first.
func (s commands) List(ctx context.Context, f storage.CommandFilter) (storage.Page[*storage.Command], error) {
	var none storage.Page[*storage.Command]
	filter := bson.D{}
	if len(f.States) > 0 {
		filter = oneOf("state", f.States...)
	}
	filter = appendEqual(filter, "source", f.Source)
	filter = appendEqual(filter, "kind", f.Kind)
	filter = appendEqual(filter, "op", f.Op)
	filter = appendEqual(filter, "ref", f.Ref)
	if !f.Entity.IsZero() {
		filter = append(filter, bson.E{Key: "lane", Value: f.Entity.String()})
	}
	found, err := newestFirst[command]{
		name: commandsList, collection: s.commands, time: "at",
		place: func(c command) (time.Time, string) { return c.At, c.ID },
	}.read(ctx, appendRange(filter, "at", f.From, f.To), f.Limit, f.Cursor)
	if err != nil {
		return none, fmt.Errorf("list commands: %w", err)
	}
	items, err := commandsOf(found.Items)
	return storage.Page[*storage.Command]{Items: items, NextCursor: found.NextCursor}, err
}

// Move stores a command that has not changed since it was read.
func (s commands) Move(ctx context.Context, c *storage.Command) (bool, error) {
	return s.move(ctx, c, c.Lane, c.N)
}

// Forward moves a command to the end of another lane.
func (s commands) Forward(ctx context.Context, c *storage.Command, lane event.Key) (bool, error) {
	n, err := s.number(ctx, lane)
	if err != nil {
		return false, fmt.Errorf("forward command %s: %w", c.ID, err)
	}
	return s.move(ctx, c, lane, n)
}

func (s commands) move(ctx context.Context, c *storage.Command, lane event.Key, n int64) (bool, error) {
	next := *c
	next.Lane, next.N, next.Rev = lane, n, c.Rev+1
	res, err := s.commands.ReplaceOne(ctx, bson.D{{Key: "_id", Value: c.ID}, {Key: "rev", Value: c.Rev}}, newCommand(&next))
	if err != nil {
		return false, fmt.Errorf("move command %s: %w", c.ID, classify(ctx, err))
	}
	if res.MatchedCount == 0 {
		return false, nil
	}
	c.Lane, c.N, c.Rev = next.Lane, next.N, next.Rev
	return true, nil
}

// isOpen selects commands that are not final.
var isOpen = bson.E{Key: "open", Value: true}

// Open returns commands of a lane that are not final.
func (s commands) Open(ctx context.Context, lane event.Key, limit int) ([]*storage.Command, error) {
	docs, err := find[command](ctx, s.commands, bson.D{{Key: "lane", Value: lane.String()}, isOpen},
		options.Find().SetSort(bson.D{{Key: "n", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read commands of %s: %w", lane, err)
	}
	return commandsOf(docs)
}

// Defer makes queued commands behind a number due at a time.
func (s commands) Defer(ctx context.Context, lane event.Key, n int64, until time.Time) error {
	_, err := s.commands.UpdateMany(ctx, bson.D{
		{Key: "lane", Value: lane.String()}, {Key: "n", Value: bson.D{{Key: "$gt", Value: n}}}, isOpen,
		{Key: "state", Value: storage.CommandQueued}, {Key: "due_at", Value: bson.D{{Key: "$lt", Value: until}}},
	}, bson.D{{Key: "$set", Value: bson.D{{Key: "due_at", Value: until}}}})
	if err != nil {
		return fmt.Errorf("defer commands of %s: %w", lane, classify(ctx, err))
	}
	return nil
}

// Due returns commands of a source that are due.
func (s commands) Due(ctx context.Context, source string, now time.Time, limit int, cursor string) ([]storage.DueCommand, string, error) {
	after, ok, err := page.Parse(dueList, cursor)
	if err != nil {
		return nil, "", err
	}
	filter := bson.D{{Key: "source", Value: source}, isOpen, {Key: "due_at", Value: bson.D{{Key: "$lte", Value: now}}}}
	if ok {
		filter = append(filter, behindPlace("due_at", "$gt", after))
	}
	docs, err := find[command](ctx, s.commands, filter, options.Find().
		SetSort(bson.D{{Key: "due_at", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(int64(limit+1)).SetProjection(dueFields))
	if err != nil {
		return nil, "", fmt.Errorf("read due commands of %s: %w", source, err)
	}
	due := make([]storage.DueCommand, len(docs))
	for i, c := range docs {
		due[i] = storage.DueCommand{ID: c.ID, Parents: unescapeKeys(c.Parents), Bulk: c.Bulk, Trace: c.Trace, DueAt: c.DueAt}
		if due[i].Lane, err = event.ParseKey(c.Lane); err != nil {
			return nil, "", fate.Errorf(fate.Permanent, "command %s: lane: %w", c.ID, err)
		}
	}
	p := page.Cut(due, limit, func(d storage.DueCommand) page.Place {
		return page.Place{List: dueList, At: d.DueAt.UnixMilli(), ID: d.ID}
	})
	return p.Items, p.NextCursor, nil
}

// dueFields are what Due reads of a command.
var dueFields = bson.D{
	{Key: "lane", Value: 1}, {Key: "parents", Value: 1}, {Key: "bulk", Value: 1}, {Key: "trace", Value: 1}, {Key: "due_at", Value: 1},
}

// Named returns the commands of ids.
func (s commands) Named(ctx context.Context, ids []string) (out []*storage.Command, err error) {
	for chunk := range slices.Chunk(ids, maxIDs) {
		docs, err := find[command](ctx, s.commands, bson.D{among(chunk)}, options.Find())
		var found []*storage.Command
		if err == nil {
			found, err = commandsOf(docs)
		}
		if err != nil {
			return nil, fmt.Errorf("read %d commands: %w", len(ids), err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// Owed returns the commands that are owed to the feed.
func (s commands) Owed(ctx context.Context, source, after string, limit int) ([]storage.Item, error) {
	filter := bson.D{{Key: "source", Value: source}, owed(), {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}
	docs, err := find[command](ctx, s.commands, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).
		SetLimit(int64(min(max(limit, 1), storage.MaxItems))).SetProjection(bson.D{{Key: "kind", Value: 1}, {Key: "rev", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list the commands of %s that the feed lacks: %w", source, err)
	}
	out := make([]storage.Item, len(docs))
	for i, c := range docs {
		out[i] = storage.Item{Key: storage.CommandItem(source, c.Kind, c.ID), Version: c.Rev}
	}
	return out, nil
}

// Paid notes which commands are in the feed.
func (s commands) Paid(ctx context.Context, items []storage.Item) (paid int, err error) {
	items = inOrder(items, func(i storage.Item) string { return i.Key.ID })
	for chunk := range slices.Chunk(items, s.bulkSize) {
		models := make([]mongo.WriteModel, len(chunk))
		for i, it := range chunk {
			models[i] = mongo.NewUpdateOneModel().
				SetFilter(bson.D{{Key: "_id", Value: it.Key.ID}, {Key: "rev", Value: it.Version}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "owed", Value: false}}}})
		}
		// They are of different commands, so their order is of no account.
		res, err := s.commands.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return paid, fmt.Errorf("note which commands are in the feed: %w", classify(ctx, err))
		}
		paid += int(res.ModifiedCount)
	}
	return paid, nil
}

// Counts counts the commands that are not over.
func (s commands) Counts(ctx context.Context) (*storage.CommandCounts, error) {
	cursor, err := s.commands.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$match", Value: oneOf("state", notOverCommands...)}},
		{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{
				{Key: "source", Value: "$source"}, {Key: "kind", Value: "$kind"}, {Key: "op", Value: "$op"}, {Key: "state", Value: "$state"},
			}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("count commands: %w", classify(ctx, err))
	}
	var groups []struct {
		ID struct {
			Source, Kind, Op string
			State            storage.CommandState
		} `bson:"_id"`
		N int64 `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return nil, fmt.Errorf("count commands: %w", classify(ctx, err))
	}
	out := &storage.CommandCounts{AskedSince: map[string]time.Time{}}
	for _, g := range groups {
		out.Counts = append(out.Counts, storage.CommandCount{Source: g.ID.Source, Kind: g.ID.Kind, Op: g.ID.Op, State: g.ID.State, Count: g.N})
	}
	asked, err := find[command](ctx, s.commands, bson.D{{Key: "state", Value: storage.CommandAsked}},
		options.Find().SetProjection(bson.D{{Key: "source", Value: 1}, {Key: "asked", Value: 1}}).SetLimit(mostAsked))
	if err != nil {
		return nil, fmt.Errorf("count commands: %w", err)
	}
	for _, c := range asked {
		if first, ok := out.AskedSince[c.Source]; c.Asked != nil && (!ok || c.Asked.Since.Before(first)) {
			out.AskedSince[c.Source] = c.Asked.Since
		}
	}
	return out, nil
}

// mostAsked bounds the questions that are read for the oldest of them.
const mostAsked = 10_000

// notOverCommands are the states that are counted.
var notOverCommands = []storage.CommandState{
	storage.CommandQueued, storage.CommandSending, storage.CommandUnclear, storage.CommandAsked, storage.CommandAnswered, storage.CommandDead,
}
