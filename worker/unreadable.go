package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Only Tarn writes streams and parked lists. What cannot be read in them comes from
// another version, from damage or from another program. It is stored in the audit,
// whole, and removed, so that it does not hold up what can be read. The work of a
// logged event is not lost: its row stays open and recover appends it again.

// unreadable stores entries that cannot be decoded in the audit and removes them.
func (s eventLog) unreadable(src *source, batch []event.Entry) ([]event.Entry, error) {
	good, bad := readable(batch)
	if len(bad) == 0 {
		return batch, nil
	}
	notes := make([]storage.Note, len(bad))
	for i, e := range bad {
		s.log.Error("a stream entry could not be read; it is kept in the audit", "source", src.Name, "entry", e.ID, "error", e.Err)
		notes[i] = s.unreadableNote(src.Name, e.ID, e.Fields)
	}
	if err := s.note(s.ctx, s.loop, notes); err != nil {
		return nil, err
	}
	s.acks.add(src.Name, bad, nil, nil)
	return good, nil
}

// discardEntities stores what is parked under unreadable names in the audit and
// removes it.
func (s parkedList) discardEntities(loop *telemetry.Loop, src *source, names []string) error {
	for _, name := range names {
		err := s.lease.DiscardEntity(s.ctx, src.Name, name, func(entries []event.Entry) error {
			if len(entries) == 0 {
				s.log.Error("a parked entity has a name that could not be read; nothing waited for it", "source", src.Name, "entity", name)
			}
			return s.noteParked(s.ctx, loop, src.Name, name, entries)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noteParked stores unreadable parked entries in the audit.
func (s parkedList) noteParked(ctx context.Context, loop *telemetry.Loop, source, entity string, bad []event.Entry) error {
	notes := make([]storage.Note, len(bad))
	for i, e := range bad {
		s.log.Error("a parked entry could not be read; it is kept in the audit", "source", source, "entity", entity, "entry", e.ID, "error", e.Err)
		fields := map[string]string{"entity": entity}
		for name, value := range e.Fields {
			fields[name] = value
		}
		sum := sha256.Sum256([]byte(entity + "\x00" + e.Fields["parked"])) // an entry may have lost its id
		notes[i] = s.unreadableNote(source, "parked/"+hex.EncodeToString(sum[:16]), fields)
	}
	return s.note(ctx, loop, notes)
}

func (s *shard) unreadableNote(source, id string, fields map[string]string) storage.Note {
	reason, _ := json.Marshal(fields) // a map of strings always encodes
	return storage.Note{
		ID: "unreadable/" + strconv.Itoa(s.number) + "/" + id, At: s.w.Now().UTC(),
		Source: source, Kind: "unreadable", Reason: string(reason), Count: 1,
	}
}

func (s *shard) note(ctx context.Context, loop *telemetry.Loop, notes []storage.Note) error {
	return s.w.persist(ctx, loop, "note unreadable entries", func() error { return s.w.Store.Note(ctx, notes) })
}

// readable separates the entries that could be decoded from those that could not.
func readable(entries []event.Entry) (good, bad []event.Entry) {
	if !slices.ContainsFunc(entries, func(e event.Entry) bool { return e.Err != nil }) {
		return entries, nil
	}
	for _, e := range entries {
		if e.Err != nil {
			bad = append(bad, e)
		} else {
			good = append(good, e)
		}
	}
	return good, bad
}
