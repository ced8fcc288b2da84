package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// judgeEvery is the longest pause between two rounds of the judge.
	judgeEvery = 5 * time.Second
	// lookBackEvery is how often missed events whose work was given up are checked
	// again: there may be many, and an operator's redrive is not urgent.
	lookBackEvery = time.Minute
	// explaining is how many events before a finding, and how many since, are read.
	explaining = 20
	// movingFor is for how many graces the judge waits for an entity that keeps
	// changing.
	movingFor = 5
	// askWithin is how long the judge waits for a provider's answer. Without an
	// answer a later round judges the finding.
	askWithin = 30 * time.Second
)

// judgement decides which differences of a source are reported. Their repair was
// requested on discovery. After grace, a difference that an event explains is dropped:
// the event had not come, or its work was not done, and that work would have made the
// mirror true without a sweep. The others are confirmed and counted, and alerts are
// raised.
type judgement struct {
	*finder
	raise func(alert.Alert)
	// logged is a time: a worker has read every event accepted before it, so the log
	// has the event unless it was lost.
	logged time.Time
	// lookedBack is when missed events whose work was given up were last looked at.
	lookedBack time.Time
}

// judge judges until ctx ends.
func (r *Reconciler) judge(ctx context.Context, w *work) error {
	s := r.source(w.task.Source)
	j := &judgement{finder: r.finder(s, w.loop), raise: r.Alert}
	j.countFromZero()
	for ctx.Err() == nil {
		j.loop.Turn()
		if err := j.round(ctx); err != nil {
			return err
		}
		loops.Sleep(ctx, min(judgeEvery, max(s.Settings.Grace/4, r.Poll/4)))
	}
	return ctx.Err()
}

func (j *judgement) round(ctx context.Context) error {
	if err := j.readUpTo(ctx); err != nil {
		return err
	}
	suspected := storage.DiscrepancyFilter{Status: storage.Suspected, Source: j.name, To: j.now().Add(-j.settings.Grace)}
	if err := j.each(ctx, suspected, j.decide); err != nil {
		return err
	}
	// Workers note how requested repairs ended. For a missed event no repair is
	// requested: its row in the log shows how its work ended.
	missed := storage.DiscrepancyFilter{Status: storage.Confirmed, Type: storage.EventMissed, Source: j.name}
	if err := j.each(ctx, missed, j.repaired); err != nil {
		return err
	}
	// The dead letters of a failed one may have been redriven since.
	if j.now().Sub(j.lookedBack) < lookBackEvery {
		return nil
	}
	j.lookedBack = j.now()
	missed.Status = storage.Failed
	return j.each(ctx, missed, j.repaired)
}

// readUpTo sets logged. An event is in the log only once a worker has read it, which
// a backlog or a pause of the source may delay for hours: events accepted after the
// oldest entry of the live streams may wait behind it. Parked entries have been read
// and are in the log.
func (j *judgement) readUpTo(ctx context.Context) error {
	return j.insist(ctx, "ask redis how far workers have read", func() error {
		now := j.now()
		shards, err := j.streams.InStreams(ctx, j.name)
		if err != nil {
			return err
		}
		var age time.Duration
		for _, s := range shards {
			age = max(age, s.Oldest)
		}
		j.logged = now.Add(-age)
		return nil
	})
}

// mayBeUnread reports whether an event accepted within the grace of a finding may not
// have been read yet.
func (j *judgement) mayBeUnread(d *storage.Discrepancy) bool {
	return !d.FoundAt.Add(j.settings.Grace).Before(j.logged)
}

// each calls do with the discrepancies that a filter selects, page by page.
func (j *judgement) each(ctx context.Context, f storage.DiscrepancyFilter, do func(context.Context, []*storage.Discrepancy) error) error {
	f.Limit = 200
	for {
		var page storage.Page[*storage.Discrepancy]
		err := j.persist(ctx, "list discrepancies", func() (err error) {
			page, err = j.store.Discrepancies(ctx, f)
			return err
		})
		if err != nil {
			return err
		}
		j.loop.Turn()
		if len(page.Items) > 0 {
			if err := do(ctx, page.Items); err != nil {
				return err
			}
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return nil
		}
	}
}

// decide confirms or drops the differences of a page that can be judged by now.
func (j *judgement) decide(ctx context.Context, found []*storage.Discrepancy) error {
	found = slices.DeleteFunc(found, func(d *storage.Discrepancy) bool { return compared(d.Type) && j.mayBeUnread(d) })
	held, err := j.heldBack(ctx, found)
	if err != nil {
		return err
	}
	var confirmed, dropped []string
	for _, d := range found {
		explained, known, err := j.explained(ctx, d, held)
		switch {
		case err != nil:
			return err
		case !known:
		case explained:
			dropped = append(dropped, d.ID)
		default:
			confirmed = append(confirmed, d.ID)
		}
	}
	if len(confirmed)+len(dropped) == 0 {
		return nil
	}
	var judged []storage.Discrepancy
	err = j.persist(ctx, "judge discrepancies", func() error {
		got, err := j.store.Judge(ctx, confirmed, dropped, j.now().UTC())
		judged = append(judged, got...)
		return err
	})
	if err != nil {
		return err
	}
	j.report(judged)
	return nil
}

// compared reports whether a type of difference is one of states or parents, which an
// event on its way may explain.
func compared(typ storage.DiscrepancyType) bool {
	switch typ {
	case storage.Missing, storage.Stale, storage.Deleted, storage.Unexpected, storage.Moved:
		return true
	}
	return false
}

// explained reports whether an event explains a difference; known is false if that is
// not known yet. held has the differences that a refresh explains.
func (j *judgement) explained(ctx context.Context, d *storage.Discrepancy, held map[string]bool) (explained, known bool, err error) {
	switch {
	case d.Type == storage.EventMissed:
		row, err := j.row(ctx, d)
		if err != nil || row == nil {
			return false, false, err // it was appended, and is not logged yet
		}
		return cameByItself(row, d), true, nil
	case !compared(d.Type):
		return false, true, nil
	case held[d.ID]:
		return true, true, nil
	}
	return j.explainedByEvents(ctx, d)
}

// cameByItself reports whether a missed event came after all. An event that the search
// appended was received exactly when the list was asked for, and its webhook, coming
// later, is a duplicate.
func cameByItself(row *storage.EventRow, d *storage.Discrepancy) bool {
	apart := row.ReceivedAt.Sub(d.FoundAt).Abs()
	return row.Duplicates > 0 || apart > time.Millisecond // stores keep milliseconds
}

// row returns the log's row of a missed event, or nil.
func (j *judgement) row(ctx context.Context, d *storage.Discrepancy) (*storage.EventRow, error) {
	var rows []*storage.EventRow
	err := j.persist(ctx, "read an event", func() (err error) {
		rows, err = j.store.EventByID(ctx, d.Source, d.EventID)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// evidence is what an event's row in the log says about a difference.
type evidence int

const (
	// explainsNothing: the event's work did not change the mirror after the
	// comparison.
	explainsNothing evidence = iota
	// mayExplain: its work changed the mirror after the comparison, to another state
	// than the provider showed then. That may be an older state, a newer one, or the
	// same in another form.
	mayExplain
	// explains: its work makes the mirror true.
	explains
)

// explainedByEvents reports whether an event that names the entity explains a
// difference. It reads the events received since the finding and the last ones before.
// known is false if that is not known yet.
func (j *judgement) explainedByEvents(ctx context.Context, d *storage.Discrepancy) (explained, known bool, err error) {
	var written []*storage.Covered
	for _, f := range []storage.EventFilter{{From: d.FoundAt}, {To: d.FoundAt}} {
		f.Source, f.Entity, f.Limit = d.Source, d.Entity, explaining
		rows, err := j.events(ctx, f)
		if err != nil {
			return false, false, err
		}
		for _, row := range rows {
			switch says, by := j.evidence(row, d); says {
			case explains:
				return true, true, nil
			case mayExplain:
				written = append(written, by)
			}
		}
	}
	if len(written) == 0 {
		return false, true, nil
	}
	return j.madeTrue(ctx, d, written)
}

// evidence weighs one event. An event whose work is open explains the difference. One
// that was given up or discarded does not. For the others the claims tell whether the
// fetch was written after the comparison. Times do not tell that: a fetch may be sent
// before a sweep asks, and written after the sweep has read the mirror.
func (j *judgement) evidence(row *storage.EventRow, d *storage.Discrepancy) (evidence, *storage.Covered) {
	i := slices.IndexFunc(row.Entities, func(o storage.Outcome) bool { return o.Ref.Key == d.Entity })
	if i < 0 {
		return explainsNothing, nil
	}
	switch o := &row.Entities[i]; {
	case !o.Status.Final():
		return explains, nil
	case o.Status != storage.Processed:
		return explainsNothing, nil
	case j.secondLook(row, d):
		return explains, nil
	case o.CoveredBy == nil || o.CoveredBy.Claim <= d.SyncedClaim:
		return explainsNothing, nil
	case d.StateHash != "" && o.CoveredBy.StateHash == d.StateHash:
		return explains, nil
	default:
		return mayExplain, o.CoveredBy
	}
}

// secondLook reports whether a second look at the entity may still follow the event.
func (j *judgement) secondLook(row *storage.EventRow, d *storage.Discrepancy) bool {
	k := j.def.Kind(d.Entity.Kind)
	return k != nil && k.VerifyAfter > 0 && row.ReceivedAt.After(d.FoundAt.Add(-heldFor(k.VerifyAfter)))
}

// madeTrue reports whether one of some fetches has made the mirror agree with the
// provider: the mirror still has the state that the fetch wrote, and the provider, asked
// once more, has the same. It is not enough that the mirror agrees, since the repair may
// have caused that. known is false if the provider cannot be asked now. It is also false
// for a while if the provider shows a third state: the entity has changed again, and
// that event may be on its way.
func (j *judgement) madeTrue(ctx context.Context, d *storage.Discrepancy, written []*storage.Covered) (is, known bool, err error) {
	look := survey{finder: j.finder, mode: modeSweep, id: d.SweepID}
	document := func() (*storage.Document, error) {
		docs, err := look.documents(ctx, []event.Key{d.Entity})
		return docs[d.Entity], err
	}
	doc, err := document()
	if err != nil {
		return false, false, err
	}
	if doc == nil || doc.Erased != nil || !slices.ContainsFunc(written, func(by *storage.Covered) bool { return isStill(by, doc) }) {
		return false, true, nil
	}
	if state, err := j.streams.Source(ctx, j.name); err != nil || state.Paused {
		return false, false, ctx.Err()
	}
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	seen, err := look.lookAt(asking, event.Ref{Key: doc.Key, Parents: doc.Parents})
	switch {
	case asking.Err() != nil:
		return false, false, ctx.Err()
	case err != nil:
		return false, true, nil // not shown to be true
	}
	after, err := document()
	if err != nil || syncedSince(doc, after) {
		return false, false, err
	}
	verdict, _ := compare(j.def, after, seen)
	movedOn := verdict != agrees && seen.hash() != d.StateHash && j.now().Before(d.FoundAt.Add(movingFor*j.settings.Grace))
	return verdict == agrees, !movedOn, nil
}

// isStill reports whether the mirror still has the state that a fetch wrote.
func isStill(by *storage.Covered, doc *storage.Document) bool {
	hash := doc.StateHash
	if !doc.DeletedAt.IsZero() {
		hash = storage.StateGone
	}
	return by.Claim == doc.SyncedClaim || by.Claim < doc.SyncedClaim && by.StateHash == hash
}

// repaired notes how the work of missed events has ended.
func (j *judgement) repaired(ctx context.Context, missed []*storage.Discrepancy) error {
	var good, bad []string
	for _, d := range missed {
		row, err := j.row(ctx, d)
		if err != nil {
			return err
		}
		switch {
		case row == nil:
		case row.Status == storage.Processed, row.Status == storage.Superseded, row.Status == storage.Erased:
			good = append(good, d.ID)
		case row.Status.Final() && d.RepairedAt.IsZero():
			bad = append(bad, d.ID)
		}
	}
	for ok, ids := range map[bool][]string{true: good, false: bad} {
		if len(ids) == 0 {
			continue
		}
		err := j.persist(ctx, "note repairs", func() error { return j.store.Repair(ctx, ids, ok, j.now().UTC()) })
		if err != nil {
			return err
		}
	}
	return nil
}

// countFromZero begins the counters of confirmed differences at 0: a series that
// begins at 1 has not grown, and would raise no alert.
func (j *judgement) countFromZero() {
	for _, kind := range append(j.kinds(), "") { // an event that was missed may name no entity
		for _, typ := range storage.DiscrepancyTypes() {
			if kind != "" || typ == storage.EventMissed || typ == storage.SubscriptionGap {
				j.metrics.Discrepancies.WithLabelValues(j.name, kind, string(typ))
			}
		}
	}
}

// report counts the confirmed differences and raises one alert for each type, since one
// cause makes many differences.
func (j *judgement) report(judged []storage.Discrepancy) {
	byType := map[storage.DiscrepancyType][]storage.Discrepancy{}
	for _, d := range judged {
		if d.Status != storage.Dropped {
			j.metrics.Discrepancies.WithLabelValues(d.Source, d.Entity.Kind, string(d.Type)).Inc()
			byType[d.Type] = append(byType[d.Type], d)
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(byType)) {
		all := byType[typ]
		j.raise(alert.Alert{
			Kind: alert.Discrepancy, Source: j.name, ID: all[0].ID, Event: all[0].EventID, Entity: nameOf(all[0].Entity),
			Class: string(typ), Reason: summary(all),
		})
	}
}

// nameOf is an entity's key as text. "" if it names none.
func nameOf(k event.Key) string {
	if k.ID == "" {
		return ""
	}
	return k.String()
}

// summary says how many differences of a type there are, by kind.
func summary(all []storage.Discrepancy) string {
	kinds := map[string]int{}
	for _, d := range all {
		kinds[d.Entity.Kind]++
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		name := k
		if name == "" {
			name = "no kind"
		}
		parts = append(parts, fmt.Sprintf("%d of %s", kinds[k], name))
	}
	text := fmt.Sprintf("%d %s (%s)", len(all), strings.ReplaceAll(string(all[0].Type), "_", " "), strings.Join(parts, ", "))
	if all[0].Type == storage.SharedID {
		text += ": the provider has two entities with one id under two parents, and the mirror keeps the first; the definition of such a kind says ids: parents"
	}
	return text
}
