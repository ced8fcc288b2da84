package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	notesAtOnce = storage.MaxNotes
	notesEvery  = time.Second
)

// courier moves the receivers' notes from Redis to the audit. The worker that holds
// shard 0 does it.
type courier struct{ *shard }

func (s courier) run() {
	loop := s.w.Health.Loop("notes")
	defer loop.Done()
	for after := ""; ; {
		loop.Turn()
		next, err := s.carryNotes(after)
		if err != nil && s.ctx.Err() == nil {
			s.common.Warn("could not carry notes to the audit; trying again", "error", err)
		}
		if after = next; after == "" && !loops.Tick(s.ctx, notesEvery) || s.ctx.Err() != nil {
			return
		}
	}
}

// carryNotes writes one page of notes to the store, then removes it from Redis. A
// page that is written twice counts once, by its ids. It returns where the next page
// begins, "" at the end.
//
// A duplicate can be noted before its event, which waits in a paused source's
// stream, has its row. Such a note stays in Redis until it can be counted.
func (s courier) carryNotes(after string) (next string, err error) {
	found, err := s.w.Streams.Notes(s.ctx, after, notesAtOnce)
	if err != nil {
		return "", err
	}
	early, err := s.early(found)
	if err != nil {
		return "", err
	}
	var notes []storage.Note
	var ids []string
	for _, n := range found {
		if early[n.ID] {
			continue
		}
		ids = append(ids, n.ID)
		notes = append(notes, storage.Note{ID: "note/" + n.ID, At: n.At, Source: n.Source, Kind: n.Kind, EventID: n.EventID, Reason: n.Reason, Count: n.Count})
	}
	if len(found) == notesAtOnce {
		next = found[len(found)-1].ID
	}
	if len(notes) == 0 {
		return next, nil
	}
	if err := s.w.Store.Note(s.ctx, notes); err != nil {
		return "", err
	}
	return next, s.w.Streams.DropNotes(s.ctx, ids)
}

// early picks, by id, the notes that count a duplicate of an event that is not in
// the log yet. After a day a note is taken as it is.
func (s courier) early(notes []stream.Note) (map[string]bool, error) {
	events := map[string][]string{} // by source
	for _, n := range notes {
		if n.EventID != "" {
			events[n.Source] = append(events[n.Source], n.EventID)
		}
	}
	early := map[string]bool{}
	for source, ids := range events {
		known, err := s.w.Store.KnownEvents(s.ctx, source, ids)
		if err != nil {
			return nil, err
		}
		for _, n := range notes {
			if n.Source == source && n.EventID != "" && !known[n.EventID] && s.w.Now().Sub(n.At) <= 24*time.Hour {
				early[n.ID] = true
			}
		}
	}
	return early, nil
}
