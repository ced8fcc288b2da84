package worker

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker/entity"
)

// Events that are incomplete or odd are kept and followed as far as they go. A flag
// on their row, a metric, and one log line per type say what is odd.

// The flags, as the metric names them.
const (
	flagUnnamed   = "unnamed"
	flagUndated   = "undated"
	flagDiffering = "differing"
	flagAhead     = "ahead"
	flagAmbiguous = "ambiguous"
)

// mostTold is how many types get a log line of their own.
const mostTold = 1000

// flags counts what is odd about events and logs it once per type.
type flags struct {
	mu   sync.Mutex
	told map[[3]string]bool // by source, flag and type
}

// first reports whether this is the first of its kind in this process.
func (f *flags) first(source, flag, typ string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := [3]string{source, flag, typ}
	if f.told[k] || len(f.told) >= mostTold {
		return false
	}
	if f.told == nil {
		f.told = map[[3]string]bool{}
	}
	f.told[k] = true
	return true
}

// said are the log lines of the flags.
var said = map[string]string{
	flagUnnamed:   "events of this type do not name the entity it is about; only sweeps find what they speak of",
	flagUndated:   "events of this type tell a time that cannot be read; they are taken without one",
	flagAhead:     "events of this type are dated in the future; order goes by when they were received",
	flagAmbiguous: "events of this type name an entity by an id that the mirror knows under several parents, and no parents; only sweeps find what they speak of",
	flagDiffering: "events of this type come again with another body; the first is kept, the other is in the audit and followed too",
}

// countFlag counts one event and logs the first of its type.
func countFlag(w *Worker, what string, e *event.Event) {
	w.Metrics.Flagged.WithLabelValues(e.Source, what).Inc()
	if w.flags.first(e.Source, what, e.Type) {
		w.Logger.Warn(said[what], "source", e.Source, "type", e.Type, "event", e.ID)
	}
}

// saidOf are the log lines of notes. Events that name nothing are flagged as unnamed,
// which has a line.
var saidOf = map[event.Note]string{
	event.UnknownType:   "events of this type are unknown to the definition; what they name by known ids is followed, the rest is found by sweeps only",
	event.RequireUnmet:  "events of this type lack a value that the definition requires (envelope.require); they are kept and not followed",
	event.ScopeUnusable: "events of this type have something in the place of their account's id (api.scope) that can be none; they are kept and not followed",
	event.Unreadable:    "events came among others in one request and cannot be read; they are kept with the reason and not followed",
}

// countNote counts an event with a note and logs the first of its type.
func countNote(w *Worker, e *event.Event) {
	w.Metrics.Noted.WithLabelValues(e.Source, e.Note.String()).Inc()
	if text := saidOf[e.Note]; text != "" && w.flags.first(e.Source, e.Note.String(), e.Type) {
		w.Logger.Warn(text, "source", e.Source, "type", e.Type, "event", e.ID)
	}
}

// tally counts, for the whole fleet, the events of a batch that were new, by note. A
// count that fails is lost.
func (s eventLog) tally(src *source, fresh []*event.Event) {
	t := stream.Tally{Noted: map[event.Note]int64{}}
	for _, e := range fresh {
		if e.Note != 0 {
			t.Noted[e.Note]++
		}
	}
	if src.Definition.Requires() {
		t.All = int64(len(fresh))
	}
	if len(t.Noted) == 0 && t.All == 0 {
		return
	}
	if err := s.w.Streams.Count(s.ctx, src.Name, s.w.Now(), t); err != nil && s.ctx.Err() == nil {
		s.log.Warn("events could not be counted by note", "source", src.Name, "error", err)
	}
}

// documentsAtOnce is how many documents are read at a time for their parents: each
// comes with its state.
const documentsAtOnce = 100

// complete looks up parents that events of the batch leave out, before their rows
// are written.
func (s eventLog) complete(src *source, batch []event.Entry) error {
	var keys, plain []event.Key // plain: of qualified kinds, without qualifiers
	known := map[event.Key]map[string]string{}
	for _, e := range batch {
		if e.Signal.Body == nil {
			continue
		}
		for _, ref := range e.Signal.Body.Entities {
			if _, asked := known[ref.Key]; asked || !src.Definition.LacksParents(ref) {
				continue
			}
			known[ref.Key] = nil
			if src.Definition.Kind(ref.Key.Kind).Qualified {
				plain = append(plain, ref.Key)
			} else {
				keys = append(keys, ref.Key)
			}
		}
	}
	if len(keys)+len(plain) == 0 {
		return nil
	}
	ambiguous := map[event.Key]bool{}
	for _, k := range plain {
		if err := s.readNamesakes(k, known, ambiguous); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(keys, documentsAtOnce) {
		if err := s.readParents(part, known); err != nil {
			return err
		}
	}
	for i := range batch {
		sig := &batch[i].Signal
		if sig.Body == nil || !src.Definition.NeedsParents(sig.Body) {
			continue
		}
		several := slices.ContainsFunc(sig.Body.Entities, func(r event.Ref) bool { return ambiguous[r.Key] })
		src.Definition.Complete(sig.Body, func(k event.Key) (map[string]string, bool) {
			parents, sure := known[k]
			return parents, sure
		})
		if several {
			sig.Body.Unnamed, sig.Body.Ambiguous = true, true
		}
		for _, ref := range sig.Body.Entities {
			if ref.Key == sig.Ref.Key {
				sig.Ref = ref
			}
		}
	}
	return nil
}

// mostNamesakes is how many entities with one id are read to decide whether there
// is one or several. Some may never have been found under their parents.
const mostNamesakes = 10

// readNamesakes fills in the parents of the one entity that is known by an id
// without qualifiers. If there are several, it fills in none.
func (s eventLog) readNamesakes(k event.Key, known map[event.Key]map[string]string, ambiguous map[event.Key]bool) error {
	var docs []*storage.Document
	err := s.w.persist(s.ctx, s.loop, "look for an entity by its id alone", func() (err error) {
		if docs, err = s.w.Store.Namesakes(s.ctx, k.Source, k.Kind, k.ID, mostNamesakes); err != nil {
			return fromStore(err)
		}
		return nil
	})
	if fate.Is(err, fate.Permanent) {
		s.log.Error("the store cannot answer for an entity; an event that names it without its parents does not say which is meant", "entity", k.String(), "error", err)
		ambiguous[k] = true
		return nil
	}
	docs = slices.DeleteFunc(docs, func(d *storage.Document) bool { return d.Raw == nil && d.Erased == nil })
	switch len(docs) {
	case 0:
	case 1:
		known[k] = docs[0].Parents
	default:
		ambiguous[k] = true
	}
	return err
}

// readParents fills in the parents of entities, as far as they are facts. An
// entity whose document the store cannot answer is taken out of known, so that it
// is synced by itself and fails by itself.
func (s eventLog) readParents(keys []event.Key, known map[event.Key]map[string]string) error {
	var docs []*storage.Document
	err := s.w.persist(s.ctx, s.loop, "read known parents", func() (err error) {
		if docs, err = s.w.Store.Documents(s.ctx, keys); err != nil {
			return fromStore(err)
		}
		return nil
	})
	switch {
	case fate.Is(err, fate.Permanent) && len(keys) > 1:
		half := len(keys) / 2
		if err := s.readParents(keys[:half], known); err != nil {
			return err
		}
		return s.readParents(keys[half:], known)
	case fate.Is(err, fate.Permanent):
		s.log.Error("the store cannot answer for an entity; it is synced without the parents it is known to have", "entity", keys[0].String(), "error", err)
		delete(known, keys[0])
		return nil
	case err != nil:
		return err
	}
	for _, doc := range docs {
		switch {
		case slices.Contains(doc.Damaged, "parents"):
			delete(known, doc.Key)
		case doc.Raw != nil, doc.Erased != nil: // else it was never found under its parents
			known[doc.Key] = doc.Parents
		}
	}
	return nil
}

// noteFlags records what is odd about a logged event, and returns signals for what
// must be fetched because of it.
func (s eventLog) noteFlags(ctx context.Context, e event.Entry, l storage.Logged) ([]stream.Draft, error) {
	b := e.Signal.Body
	switch {
	case l.Inserted && b.Ambiguous:
		countFlag(s.w, flagAmbiguous, b)
	case l.Inserted && b.Unnamed:
		countFlag(s.w, flagUnnamed, b)
	}
	if l.Inserted && b.Note != 0 {
		countNote(s.w, b)
	}
	if l.Inserted && b.Undated {
		countFlag(s.w, flagUndated, b)
	}
	if l.Inserted && b.CreatedAt.After(b.ReceivedAt.Add(entity.ClocksApart)) {
		countFlag(s.w, flagAhead, b)
	}
	if !l.PayloadDiffers {
		return nil, nil
	}
	countFlag(s.w, flagDiffering, b)
	note := storage.Note{
		ID: "differing/" + strconv.Itoa(s.number) + "/" + e.ID, At: b.ReceivedAt, Source: b.Source,
		Kind: storage.NoteDiffering, EventID: b.ID, Reason: string(b.Payload), Count: 1,
	}
	err := s.w.persist(ctx, s.loop, "note another body", func() error { return s.w.Store.Note(ctx, []storage.Note{note}) })
	if err != nil {
		return nil, err
	}
	return forTheirOwnSake(e, l), nil
}

// forTheirOwnSake returns signals for the entities of an event that its row does
// not hold open.
func forTheirOwnSake(e event.Entry, l storage.Logged) []stream.Draft {
	b := e.Signal.Body
	var out []stream.Draft
	for _, ref := range b.Entities {
		if l.Outcomes[ref.Key] != storage.Pending {
			out = append(out, stream.Draft{
				Signal: event.Signal{Ref: ref, Cause: event.CauseVerify, CauseID: b.ID, Class: event.Live, Trace: e.Signal.Trace},
			})
		}
	}
	return out
}
