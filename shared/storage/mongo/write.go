package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Write applies the outcome of a fetch if its claim is still the newest.
func (s *Store) Write(ctx context.Context, w *storage.Write) (storage.Written, error) {
	k := w.Ref.Key
	if len(w.Raw) > maxDocument {
		return storage.Written{}, fate.Errorf(fate.Permanent, "write %s: a state of %d bytes is more than a MongoDB document holds (16 MiB)", k, len(w.Raw))
	}
	state, projected := bson.RawValue{}, false
	if w.NewState() {
		state, projected = project(w.Raw)
	}
	m := s.mirror(k.Source, k.Kind)
	done, err := m.write(ctx, newStatement(w, state, projected))
	if class, _ := fate.Of(err); err != nil && projected && class == fate.Permanent {
		// The server refused something in the projection: the state itself is
		// text and matters more.
		done, err = m.writeAlone(ctx, newStatement(w, bson.RawValue{}, false))
	}
	if err != nil {
		return storage.Written{}, fmt.Errorf("write %s: %w", k, err)
	}
	return done, nil
}

// statement is a write as it is sent. It shares no memory with the storage.Write
// it is of, whose caller may leave while it is sent.
type statement struct {
	id     string
	claim  int64
	sentAt time.Time
	kept   bool
	update bson.D
	size   int // of what the provider sent, in bytes
}

func newStatement(w *storage.Write, state bson.RawValue, projected bool) *statement {
	return &statement{
		id: w.Ref.Key.Local(), claim: w.Claim, sentAt: w.SentAt, kept: w.Kept,
		update: writeUpdate(w, state, projected), size: len(w.Raw) + len(state.Value),
	}
}

// fence selects the document if the write's claim is still the newest.
//
// The claim alone would do if counters never went back. They do when the
// database is restored from an older copy: then a fetch that is still under way
// from before may hold a number that is given out again. Of two fetches with
// one number the one sent later wins. So an erased entity is asked about as well: the
// claim that its marker raised may be one of those numbers.
func (st *statement) fence() bson.D {
	entity := bson.E{Key: "_id", Value: st.id}
	if fault.Off("claims") {
		return bson.D{entity}
	}
	fence := bson.D{entity, {Key: "claim", Value: st.claim}, {Key: "$or", Value: bson.A{
		bson.D{{Key: "synced_claim", Value: bson.D{{Key: "$lt", Value: st.claim}}}},
		bson.D{{Key: "synced_at", Value: bson.D{{Key: "$lte", Value: st.sentAt}}}},
	}}}
	if fault.Off("markers") {
		return fence
	}
	return append(fence, notErased)
}

// written selects the document if it is as the write has left it.
func (st *statement) written() bson.D {
	entity := bson.E{Key: "_id", Value: st.id}
	if fault.Off("claims") {
		return bson.D{entity}
	}
	return bson.D{entity, {Key: "claim", Value: st.claim}, {Key: "synced_at", Value: st.sentAt}}
}

// noLetters is what must be so for an entity to be behind no longer.
var noLetters = bson.E{Key: "open_letters", Value: 0}

// write writes together with others, or alone if the group has no answer.
func (m *mirror) write(ctx context.Context, st *statement) (storage.Written, error) {
	out, err := m.writes.call(ctx, []*statement{st})
	if err != nil {
		return storage.Written{}, err
	}
	if out[0].alone {
		return m.writeAlone(ctx, st)
	}
	return out[0].Written, nil
}

// written is the answer to one write of a group: what came of it, or that it is
// to be made alone.
type written struct {
	storage.Written
	alone bool
}

// writeAlone sends the update and, in the same command, the end of being behind,
// which must not happen while dead letters are open. Both are fenced by the claim;
// the second matches only if the first did.
func (m *mirror) writeAlone(ctx context.Context, st *statement) (storage.Written, error) {
	models := []mongo.WriteModel{mongo.NewUpdateOneModel().SetFilter(st.fence()).SetUpdate(st.update)}
	if !st.kept {
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(append(st.written(), noLetters)).
			SetUpdate(bson.D{{Key: "$unset", Value: bson.D{{Key: "behind", Value: ""}}}}))
	}
	res, err := m.c.BulkWrite(ctx, models) // in order
	if err != nil {
		return storage.Written{}, classify(ctx, err)
	}
	// Without dead letters both match.
	return storage.Written{Applied: res.MatchedCount > 0, OpenLetters: res.MatchedCount == 1 && len(models) == 2}, nil
}

// writeGroup writes many entities. Most have no dead letters and a claim that is
// the newest: one update each that asks for both is all, and if all match, all
// are written. Otherwise the documents say which are. What they do not show is
// left to be written alone: an old claim, dead letters, an update that the
// server refuses, an entity that is written twice.
//
// To send a write again is as good as once: the fence takes it again while its
// claim is the newest.
func (m *mirror) writeGroup(ctx context.Context, all []*statement) ([]written, error) {
	if len(all) == 1 {
		done, err := m.writeAlone(ctx, all[0])
		return []written{{Written: done}}, err
	}
	out := make([]written, len(all))
	var places []int // in all, of the first statement of each entity
	seen := make(map[string]bool, len(all))
	for i, st := range all {
		out[i].alone = true // until there is an answer
		if !seen[st.id] {
			seen[st.id] = true
			places = append(places, i)
		}
	}
	slices.SortFunc(places, func(a, b int) int { return strings.Compare(all[a].id, all[b].id) })
	models, ids := make([]mongo.WriteModel, len(places)), make([]string, len(places))
	for n, i := range places {
		models[n], ids[n] = all[i].whole(), all[i].id
	}
	matched, err := m.update(ctx, models)
	var docs map[string]bson.Raw
	if err == nil && matched != int64(len(models)) {
		docs, err = m.each(ctx, ids, bson.D{{Key: "synced_claim", Value: 1}, {Key: "synced_at", Value: 1}, {Key: "open_letters", Value: 1}})
	}
	if err != nil {
		if isOfGroup(err) {
			return out, nil
		}
		return nil, err
	}
	for _, i := range places {
		if docs == nil {
			out[i] = written{Written: storage.Written{Applied: true}}
		} else if done, shown := all[i].shownBy(docs[all[i].id]); shown {
			out[i] = written{Written: done}
		}
	}
	return out, nil
}

// whole is the write as one update, for an entity without dead letters.
func (st *statement) whole() mongo.WriteModel {
	if st.kept {
		return mongo.NewUpdateOneModel().SetFilter(st.fence()).SetUpdate(st.update)
	}
	update := slices.Clone(st.update)
	for i, operator := range update {
		if operator.Key == "$unset" { // there is one: doubted_at
			fields := operator.Value.(bson.D)
			update[i].Value = append(fields[:len(fields):len(fields)], bson.E{Key: "behind", Value: ""})
		}
	}
	return mongo.NewUpdateOneModel().SetFilter(append(st.fence(), noLetters)).SetUpdate(update)
}

// shownBy reports whether a document shows that the write was applied, and the
// answer then. It does not if a later one has been since. Dead letters are left
// to the write alone, unless it is one that leaves them be.
func (st *statement) shownBy(doc bson.Raw) (done storage.Written, shown bool) {
	if doc == nil {
		return storage.Written{}, false
	}
	claim, _ := doc.Lookup("synced_claim").AsInt64OK()
	at, _ := doc.Lookup("synced_at").DateTimeOK()
	letters, counted := doc.Lookup("open_letters").AsInt64OK()
	if claim != st.claim || at != st.sentAt.UnixMilli() || !st.kept && (!counted || letters != 0) {
		return storage.Written{}, false
	}
	return storage.Written{Applied: true}, true
}

// writeUpdate is the update of a write. "Set if it was not" is $min, "if it is
// later" is $max: a missing field takes either.
func writeUpdate(w *storage.Write, state bson.RawValue, projected bool) bson.D {
	set := bson.D{{Key: "synced_claim", Value: w.Claim}, {Key: "synced_at", Value: w.SentAt}}
	var unset, lowest, highest bson.D
	if w.Kept {
		lowest = bson.D{{Key: "doubted_at", Value: w.DoubtedAt}, {Key: "behind.since", Value: w.DoubtedAt}}
		set = append(set, bson.E{Key: "behind.reason", Value: storage.ReasonLagging})
	} else {
		highest = bson.D{{Key: "verified_at", Value: w.SentAt}}
		unset = bson.D{{Key: "doubted_at", Value: ""}}
	}
	if w.Changes() {
		set = append(set, changed(w.Claim)...)
	}
	if len(w.Ref.Parents) > 0 && (w.Kept || !w.Deleted) {
		set = append(set, bson.E{Key: "parents", Value: escapeKeys(w.Ref.Parents)})
	}
	if w.Deleted && !w.Kept {
		lowest = append(lowest, bson.E{Key: "deleted_at", Value: w.SentAt})
	}
	if w.NewState() {
		set = append(set, bson.E{Key: "raw", Value: body(w.Raw)}, bson.E{Key: "state_hash", Value: w.StateHash},
			bson.E{Key: "status", Value: w.Status}, bson.E{Key: "terminal", Value: w.Terminal})
		unset = append(unset, bson.E{Key: "deleted_at", Value: ""})
		if w.Terminal {
			lowest = append(lowest, bson.E{Key: "terminal_at", Value: w.SentAt})
		} else {
			unset = append(unset, bson.E{Key: "terminal_at", Value: ""})
		}
		if projected {
			set = append(set, bson.E{Key: "state", Value: state})
		} else {
			unset = append(unset, bson.E{Key: "state", Value: ""})
		}
	}
	if e := w.LastEvent; !e.CreatedAt.IsZero() {
		last := bson.E{Key: "last_event", Value: lastEvent{CreatedAt: e.CreatedAt, ID: e.ID, Type: e.Type}}
		if w.ForgetLastEvent {
			set = append(set, last)
		} else {
			highest = append(highest, last)
		}
	}
	update := bson.D{{Key: "$set", Value: set}}
	for _, op := range []bson.E{{Key: "$unset", Value: unset}, {Key: "$min", Value: lowest}, {Key: "$max", Value: highest}} {
		if len(op.Value.(bson.D)) > 0 {
			update = append(update, op)
		}
	}
	return update
}
