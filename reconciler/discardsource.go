package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// discardPage is how many rows of the log are discarded at once.
const discardPage = 200

// classAbandoned is the class of the dead letters that discarding a source leaves.
const classAbandoned = "abandoned"

// discardSource discards all open work of a source that is not configured any more. It
// removes the source's entries from Redis once their events are in the log. Every open
// outcome becomes a discarded dead letter, so each event shows what became of it, by
// whom and why. A job that is cut off begins again, and finds only the work that is left.
func (r *Reconciler) discardSource(ctx context.Context, w *work) error {
	name := w.task.Source
	if r.source(name) != nil {
		return fmt.Errorf("source %s is configured: its work is done, not discarded", name)
	}
	spec, err := decodeState[storage.RedriveSpec](w.task.Spec)
	if err != nil {
		return fmt.Errorf("spec of job %s: %w", w.task.ID, err)
	}
	if w.task.Counts == nil {
		w.task.Counts = map[string]int64{}
	}
	base := r.waiting(w.loop)
	err = base.insist(ctx, "remove what waits of "+name, func() error {
		sum, err := r.Streams.Forget(ctx, name, func(shard int, entries []event.Entry) error {
			return r.logEntries(ctx, base, shard, entries)
		})
		w.task.Counts["entries"] += sum.Entries
		w.task.Counts["parked"] += sum.Parked
		return err
	})
	if err != nil {
		return err
	}
	for {
		var rows []*storage.EventRow
		err := base.persist(ctx, "look for unsettled events of "+name, func() (err error) {
			// Discarded rows are settled, so the first page is always the next one.
			// The hour covers an api whose clock is ahead.
			rows, _, err = r.Store.Unsettled(ctx, name, r.Now().Add(time.Hour), discardPage, "")
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		var n int
		err = base.persist(ctx, "give up events of "+name, func() (err error) {
			n, err = r.giveUp(ctx, rows, w.task.By, spec.Reason)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%d events of %s could not be given up", len(rows), name)
		}
		w.task.Counts["total"] += int64(n)
		w.task.Counts["done"] += int64(n)
		if err := w.save(ctx); err != nil {
			return err
		}
	}
}

// logEntries writes the events among some entries to the event log, as a worker would.
// It logs entries that it cannot read in the process log, and notes events that the
// store refuses for good in the audit.
func (r *Reconciler) logEntries(ctx context.Context, base *finder, shard int, entries []event.Entry) error {
	var arrivals []storage.Arrival
	for _, e := range entries {
		switch {
		case e.Err != nil:
			r.Logger.Error("an entry that cannot be read is discarded with its source", "shard", shard, "entry", e.ID, "error", e.Err, "fields", len(e.Fields))
		case e.Signal.Body != nil:
			arrivals = append(arrivals, storage.Arrival{
				Event: e.Signal.Body, Signal: storage.SignalID{Shard: shard, ID: e.ID}, TraceID: telemetry.TraceID(e.Signal.Trace),
			})
		}
	}
	log := func(arrivals []storage.Arrival) error {
		return base.persist(ctx, "log events to discard", func() error {
			_, err := r.Store.Log(ctx, arrivals)
			return err
		})
	}
	if len(arrivals) == 0 {
		return nil
	}
	err := log(arrivals)
	if !fate.Is(err, fate.Permanent) {
		return err
	}
	for _, a := range arrivals { // one by one: those beside the refused one are logged
		err := log([]storage.Arrival{a})
		if fate.Is(err, fate.Permanent) {
			err = r.noteRefused(ctx, base, a, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keptRefused is how much of a refused event's payload its note holds, in bytes:
// as JSON it may grow sixfold, and a document of MongoDB's holds 16 MiB.
const keptRefused = 1 << 20

// noteRefused notes in the audit an event that is discarded and that the store refuses
// for good. The note is all that is kept of it.
func (r *Reconciler) noteRefused(ctx context.Context, base *finder, a storage.Arrival, cause error) error {
	e := a.Event
	r.Logger.Error("the store refuses an event that is discarded with its source; it is noted in the audit", "source", e.Source, "event", e.ID, "error", cause)
	sum := sha256.Sum256(e.Payload)
	reason, err := json.Marshal(map[string]any{ // which makes everything UTF-8
		"error": fate.Short(cause.Error(), 1000), "type": e.Type, "bytes": len(e.Payload), "sha256": hex.EncodeToString(sum[:]),
		"entities": e.Entities[:min(len(e.Entities), 100)], "payload": string(e.Payload[:min(len(e.Payload), keptRefused)]),
	})
	if err != nil {
		return fmt.Errorf("note refused event %s: %w", e.ID, err)
	}
	note := storage.Note{
		ID: fmt.Sprintf("refused/%d/%s", a.Signal.Shard, a.Signal.ID), At: r.Now().UTC(), Source: e.Source,
		Kind: storage.NoteRefused, EventID: strings.ToValidUTF8(e.ID, "\uFFFD"), Reason: string(reason), Count: 1,
	}
	return base.persist(ctx, "note refused event", func() error { return r.Store.Note(ctx, []storage.Note{note}) })
}

// giveUp settles the open outcomes of some rows as discarded and returns how many.
func (r *Reconciler) giveUp(ctx context.Context, rows []*storage.EventRow, by, reason string) (int, error) {
	now := r.Now().UTC()
	var letters []storage.Letter
	var ids []string
	for _, row := range rows {
		for _, o := range row.Entities {
			if o.Status.Final() {
				continue
			}
			l := storage.Letter{
				Source: row.Source, EventID: row.ID, Ref: o.Ref, Signal: o.Signal, Class: classAbandoned, TraceID: row.TraceID, At: now,
				Attempts: []storage.Attempt{{At: now, Error: "its source is not configured any more"}},
			}
			letters, ids = append(letters, l), append(ids, l.ID())
		}
	}
	if _, err := r.Store.Bury(ctx, letters); err != nil {
		return 0, err
	}
	_, err := r.Store.Discard(ctx, ids, by, reason, now)
	return len(letters), err
}
