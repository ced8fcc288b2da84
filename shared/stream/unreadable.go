package stream

import (
	"context"
	"fmt"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
)

// fieldParked is the field of an unreadable parked entry that holds it as its list
// has it.
const fieldParked = "parked"

// Discard removes entries of a parked entity that could not be read (Err), and
// un-parks the entity if nothing else waits for it; without entries only the
// latter. The caller has stored them in the audit.
func (l *Lease) Discard(ctx context.Context, k event.Key, entries []event.Entry) error {
	return l.discard(ctx, k.Source, k.String(), entries)
}

// DiscardEntity removes a parked entity whose name cannot be read (see Due) once record has stored what waits for it, up to 1,000 entries
// at a time; it is called once, without entries, if nothing waits.
func (l *Lease) DiscardEntity(ctx context.Context, source, entity string, record func([]event.Entry) error) error {
	for {
		_, items, err := l.look(ctx, entity, 0, maxIDs)
		if err != nil {
			return err
		}
		entries := make([]event.Entry, len(items))
		for i, item := range items {
			entries[i] = unreadable(item, fmt.Errorf("entity key %.40q of %s cannot be read", entity, source))
		}
		if err := record(entries); err != nil {
			return err
		}
		if err := l.discard(ctx, source, entity, entries); err != nil || len(items) < maxIDs {
			return err
		}
	}
}

func (l *Lease) discard(ctx context.Context, source, entity string, entries []event.Entry) error {
	keys := append(l.dueKeys(source), l.entityKeys(entity)...)
	for at := 0; at == 0 || at < len(entries); at += maxIDs {
		args := []any{entity}
		for _, e := range entries[at:min(at+maxIDs, len(entries))] {
			args = append(args, e.Fields[fieldParked])
		}
		if _, err := l.run(ctx, discardScript, "discard what cannot be read of "+entity+" on", keys, args...); err != nil {
			return err
		}
	}
	return nil
}

// unreadable returns a parked entry that could not be read, as its list has it.
func unreadable(item string, err error) event.Entry {
	id, _, _ := strings.Cut(item, " ")
	return event.Entry{ID: id, Err: err, Fields: map[string]string{fieldParked: item}}
}
