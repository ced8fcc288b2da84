package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// outboxPage is how many rows are read at once.
	outboxPage = 100
	// outboxCounted is the most rows that are counted for the metric.
	outboxCounted = 10_000
	// mostOutboxBody is the longest body of a row, in bytes, as it is of a request.
	mostOutboxBody = 1 << 20
	// byOutbox is who asks for the commands of an outbox.
	byOutbox = "outbox"
)

// outbox makes commands of what applications insert into the outbox of a source.
func (r *Reconciler) outbox(ctx context.Context, w *work) error {
	s := r.source(w.task.Source)
	f := r.finder(s, w.loop)
	a := &admission{
		source: s.Name, store: r.Store, say: r.sparing.Warn,
		desk: outbound.Desk{
			Commands: r.Store.Commands(), Hint: r.Streams.AppendAll, Now: r.Now,
			Definition: func(name string) *provider.Definition {
				if name != s.Name {
					return nil
				}
				return s.Definition
			},
		},
	}
	bell := storage.Listen(ctx, r.Store.WatchOutbox, func(err error) {
		r.sparing.Info("the change stream of the outbox broke off; rows are found a little later until it is there again", "error", err)
	})
	defer bell.Close()
	// What this holder has measured must not remain beside the figures of the next.
	defer r.Metrics.OutboxRows.DeleteLabelValues(s.Name)
	defer r.Metrics.OutboxOldestSeconds.DeleteLabelValues(s.Name)
	for ctx.Err() == nil {
		w.loop.Turn()
		var found int
		err := f.persist(ctx, "admit the outbox", func() (err error) {
			found, err = a.round(ctx)
			return err
		})
		if err != nil {
			return err
		}
		if err := r.measureOutbox(ctx, f, a, found); err != nil {
			return err
		}
		if found == outboxPage && a.admitted > 0 {
			continue
		}
		w.loop.Waiting("rows of the outbox")
		waits(ctx, bell.Rung(), r.pace.outbox)
	}
	return ctx.Err()
}

// strayRows are rows of sources whose outbox is not read: of none that is configured, or of
// one without outbox: true. They stay, and the metrics show them under the source "other".
type strayRows struct {
	r *Reconciler
	// looked is when they were counted, since when there have been some.
	looked, since time.Time
}

const (
	strays = "other"
	// strayEvery is how often they are counted.
	strayEvery = 30 * time.Second
	// strayWithin bounds the counting: other figures wait for it.
	strayWithin = 5 * time.Second
	// mostStraySources is how many sources with rows are looked at.
	mostStraySources = 100
)

// count counts them if it is time. If the store is away, the last figures stay.
func (s *strayRows) count(ctx context.Context) {
	now := s.r.Now()
	if now.Sub(s.looked) < strayEvery {
		return
	}
	s.looked = now
	n, source, err := s.find(ctx)
	switch {
	case err != nil:
		return // the loops that need the store report it
	case n == 0:
		s.since = time.Time{}
		s.forget()
		return
	case s.since.IsZero():
		s.since = now
	}
	s.r.sparing.Warn("rows of the outbox stay, since the outbox of their source is not read; set outbox: true for the source, or correct or delete the rows",
		"rows", n, "source_of_one", source)
	s.r.Metrics.OutboxRows.WithLabelValues(strays).Set(float64(n))
	s.r.Metrics.OutboxOldestSeconds.WithLabelValues(strays).Set(now.Sub(s.since).Seconds())
}

// find returns how many there are, and the source of one of them.
func (s *strayRows) find(ctx context.Context) (n int, one string, err error) {
	ctx, cancel := context.WithTimeout(ctx, strayWithin)
	defer cancel()
	names, err := s.r.Store.OutboxSources(ctx, mostStraySources)
	for _, name := range names {
		if slices.ContainsFunc(s.r.sources, func(src *source) bool { return src.Name == name && src.Outbox }) {
			continue
		}
		of, err := s.r.Store.CountOutbox(ctx, name, outboxCounted)
		if err != nil {
			return 0, "", err
		}
		n, one = n+max(1, of), name // rows without a source are not counted one by one
	}
	return n, one, err
}

func (s *strayRows) forget() {
	s.r.Metrics.OutboxRows.DeleteLabelValues(strays)
	s.r.Metrics.OutboxOldestSeconds.DeleteLabelValues(strays)
}

// waits returns when the bell rings, a time is over, or ctx ends.
func waits(ctx context.Context, bell <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-bell:
	case <-timer.C:
	}
}

// measureOutbox exports how much waits. Rows are counted only where a page may not hold
// all, so that an outbox that is empty, as it normally is, costs one read each time.
func (r *Reconciler) measureOutbox(ctx context.Context, f *finder, a *admission, found int) error {
	n := found - a.admitted
	if found == outboxPage {
		if err := f.persist(ctx, "count the outbox", func() (err error) {
			n, err = r.Store.CountOutbox(ctx, f.name, outboxCounted)
			return err
		}); err != nil {
			return err
		}
	}
	r.Metrics.OutboxRows.WithLabelValues(f.name).Set(float64(n))
	r.Metrics.OutboxOldestSeconds.WithLabelValues(f.name).Set(a.oldest(r.Now()).Seconds())
	return nil
}

// admission makes commands of the rows of one outbox. Rows are taken one after the other,
// and each is removed once its command is stored: a command that was minted later has seen
// all earlier ones stored, so that numbers are in the order of rows, also if two do this at
// once. What is interrupted is found again, since the same row is the same command.
type admission struct {
	source string
	store  storage.Outbox
	desk   outbound.Desk
	say    func(msg string, args ...any)
	// admitted is how many rows the last round has removed.
	admitted int
	// first is the first row of the last round if it is still there, and since when.
	first string
	since time.Time
}

// round goes through the first page of rows, and returns how many there were. A row that
// the store refuses stays. It holds up no other, unless a whole page is of such rows.
func (a *admission) round(ctx context.Context) (found int, err error) {
	rows, err := a.store.OutboxRows(ctx, a.source, outboxPage)
	if err != nil {
		return 0, err
	}
	a.admitted = 0
	a.sees(rows)
	for i := range rows {
		err := a.admit(ctx, &rows[i])
		if fate.Is(err, fate.Permanent) {
			a.say("a row of the outbox cannot be made a command, and stays", "source", a.source, "key", rows[i].Key, "error", err)
			continue
		}
		if err != nil {
			return len(rows), err
		}
		a.admitted++
		if i == 0 {
			a.first = ""
		}
	}
	return len(rows), nil
}

// sees notes which row is the first, and since when.
func (a *admission) sees(rows []storage.OutboxRow) {
	first := ""
	if len(rows) > 0 {
		first = string(rows[0].Handle)
	}
	if first != a.first {
		a.first, a.since = first, a.desk.Now()
	}
}

// oldest is for how long the first row has been seen.
func (a *admission) oldest(now time.Time) time.Duration {
	if a.first == "" {
		return 0
	}
	return max(0, now.Sub(a.since))
}

// admit makes a command of a row, and removes the row.
func (a *admission) admit(ctx context.Context, row *storage.OutboxRow) error {
	ctx, span := otel.Tracer("github.com/tarn-sync/tarn/reconciler").Start(ctx, "admit", trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("tarn.source", row.Source), attribute.String("tarn.kind", row.Kind), attribute.String("tarn.op", row.Op)))
	defer span.End()
	if err := a.ask(ctx, row); err != nil {
		return err
	}
	return a.store.RemoveOutbox(ctx, row.Handle)
}

// ask stores the command of a row: as one to be made, or, if it can be none, as a dead one
// that says why.
func (a *admission) ask(ctx context.Context, row *storage.OutboxRow) error {
	reason := row.Problem
	if reason == "" && len(row.Body) > mostOutboxBody {
		reason = fmt.Sprintf("body has %d bytes: want at most %d", len(row.Body), mostOutboxBody)
	}
	if reason == "" {
		stored, err := a.desk.Admit(ctx, wishOf(ctx, row))
		var wrong *provider.InvalidError
		switch {
		case errors.As(err, &wrong):
			reason = wrong.Error()
		case errors.Is(err, storage.ErrKeyReused):
			reason = fmt.Sprintf("the key %q is that of the command %s, which asks for something else: insert the row under a key of its own", row.Key, stored.ID)
		default:
			return err
		}
	}
	refused := a.refused(row, reason)
	_, err := a.desk.Commands.Ask(ctx, refused)
	if errors.Is(err, storage.ErrKeyReused) { // there is a good command of this key
		refused.Key += "~" + refused.Fingerprint[:8]
		refused.ID = storage.CommandID(refused.Source, refused.Key)
		_, err = a.desk.Commands.Ask(ctx, refused)
	}
	if err == nil {
		a.say("a row of the outbox is no command that the provider has; it is kept as a dead command", "source", a.source, "key", row.Key, "command", refused.ID, "reason", reason)
	}
	return err
}

// wishOf is what a row asks for.
func wishOf(ctx context.Context, row *storage.OutboxRow) outbound.Wish {
	return outbound.Wish{
		Source: row.Source, Key: row.Key, Kind: row.Kind, Op: row.Op, ID: row.ID, Ref: row.Ref, Parents: row.Parents, Body: row.Body, Bulk: row.Bulk,
		By: byOutbox, Trace: telemetry.Traceparent(ctx),
	}
}

// storable are the names of kinds and operations that a refused row may keep: they are in
// keys and in labels of metrics.
var storable = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// refused is the dead command of a row. It has what the row had, as far as that can be kept.
func (a *admission) refused(row *storage.OutboxRow, reason string) *storage.Command {
	text, _ := json.Marshal([]any{row.Key, row.Kind, row.Op, row.Ref, row.ID, row.Parents, row.Body, row.Problem}) // plain values
	sum := sha256.Sum256(text)
	now := a.desk.Now().UTC()
	c := &storage.Command{
		Source: a.source, Key: row.Key, Fingerprint: hex.EncodeToString(sum[:16]), Kind: row.Kind, Op: row.Op, Ref: row.Ref, Parents: row.Parents,
		Bulk: row.Bulk, By: byOutbox, At: now, State: storage.CommandDead, Reason: reason, EndedAt: now, Owed: true,
	}
	if event.CheckID(c.Key) != nil || !utf8.ValidString(c.Key) {
		c.Key = "row-" + c.Fingerprint
	}
	if !storable.MatchString(c.Kind) {
		c.Kind = "unknown"
	}
	if !storable.MatchString(c.Op) {
		c.Op = "unknown"
	}
	if event.CheckID(c.Ref) != nil {
		c.Ref = ""
	}
	if json.Valid(row.Body) && utf8.Valid(row.Body) {
		c.Body = row.Body
		if def := a.desk.Definition(a.source); def != nil {
			if op, err := def.Op(row.Kind, row.Op); err == nil {
				c.Body = op.Redact(row.Body)
			}
		}
	}
	c.ID = storage.CommandID(c.Source, c.Key)
	switch {
	case c.Ref != "":
		c.Lane = storage.RefLane(c.Source, c.Kind, c.Ref)
	case event.CheckID(row.ID) == nil:
		c.Lane = event.Key{Source: c.Source, Kind: c.Kind, ID: row.ID}
	default:
		c.Lane = storage.RefLane(c.Source, c.Kind, c.ID)
	}
	return c
}
