package entity

import (
	"fmt"
	"maps"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

func (y writing) believed(r Result) {
	switch {
	case r.Err != nil:
		y.failed(r.Err)
	case !r.Yes:
		y.hold(r.After, errEmptied)
	case y.v.rewritten: // stored first: once the answer is written, nothing shows it
		y.do(y.rewritten(), y.recorded)
	default:
		y.recorded(Result{})
	}
}

// rewritten is the record that the provider took back history, once for each
// time it does.
func (y writing) rewritten() Record {
	return Record{
		Sync: y.number,
		Discrepancy: storage.Discrepancy{
			ID:     fmt.Sprintf("rewritten/%s/%d", y.ref.Key, y.doc.DoubtedAt.UnixMilli()),
			Source: y.ref.Key.Source, Entity: y.ref.Key, Type: storage.Rewritten, Status: storage.Repaired,
			FoundAt: y.s.now.UTC(), JudgedAt: y.s.now.UTC(), RepairedAt: y.s.now.UTC(),
		},
		Reason: "the provider has answered without history the mirror holds since " + y.doc.DoubtedAt.UTC().Format(time.RFC3339),
	}
}

func (y writing) recorded(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	if name := y.echo(); name != "" {
		y.do(Echo{Sync: y.number, Ref: y.ref, Name: name}, y.echoed)
		return
	}
	y.echoed(Result{})
}

// echo returns the application's own name for the entity if the answer has one and the
// mirror's state does not: what was created is seen for the first time.
func (y writing) echo() string {
	if y.v.kept || y.snap.Deleted || y.kind.Op(provider.OpCreate) == nil {
		return ""
	}
	name := y.kind.RefIn(y.snap.Raw)
	if name == "" || y.doc.Raw != nil && y.kind.RefIn(y.doc.Raw) == name {
		return ""
	}
	return name
}

func (y writing) echoed(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.store(y.write(), y.written)
}

// write turns the verdict into a write for the store.
func (y writing) write() *storage.Write {
	w := &storage.Write{
		Ref: y.ref, Claim: y.doc.Claim, SentAt: y.snap.SentAt,
		Kept: y.v.kept, DoubtedAt: y.v.doubted, Deleted: y.snap.Deleted, LastEvent: y.v.last, ForgetLastEvent: y.lastEventIsAhead(),
	}
	if y.v.kept || w.Deleted || y.unchanged() {
		return w // only the times move
	}
	w.Raw, w.StateHash, w.Status, w.Terminal = y.snap.Raw, y.snap.Hash, y.snap.Status, y.snap.Terminal
	return w
}

// store writes what the sync has found out. Whether that changes anything is known from
// the claimed document, which no other sync can have written since.
func (y *sync) store(w *storage.Write, next func(Result)) {
	w.DeletedBefore = !y.doc.DeletedAt.IsZero()
	w.Moved = len(w.Ref.Parents) > 0 && !maps.Equal(w.Ref.Parents, y.doc.Parents)
	y.changes = w.Changes()
	y.do(Write{Sync: y.number, Write: w}, next)
}

// stored handles the end of a write, and reports whether it succeeded.
func (y *sync) stored(r Result) bool {
	if r.Err != nil {
		y.failed(r.Err)
		return false
	}
	if y.changes {
		y.owed = y.doc.Claim
	}
	return true
}

func (y writing) written(r Result) {
	if !y.stored(r) {
		return
	}
	if y.factual() && !y.snap.Deleted && y.parentsDiffer(y.doc.Parents) {
		y.s.cfg.Logger.Info("an entity has moved to other parents", "shard", y.s.cfg.Shard, "entity", y.ref.Key.String())
	}
	if y.v.verify > 0 { // before the batch settles
		y.do(LookAgain{Sync: y.number, Ref: y.ref, CauseID: y.batch[0].Signal.CauseID, After: y.v.verify}, y.lookedAgain)
		return
	}
	y.cover()
}

func (y writing) lookedAgain(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.cover()
}

// cover makes the commands done whose answers came before the claim. An answer that was
// not taken is not in the mirror, and covers none.
func (y writing) cover() {
	if !y.covers || y.v.kept {
		y.unlocked(settling(y).covered)
		return
	}
	y.do(Cover{Sync: y.number, By: settling(y).by(y.batch)}, y.coveredThem)
}

func (y writing) coveredThem(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.unlocked(settling(y).covered)
}
