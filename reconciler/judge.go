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
	"github.com/tarn-sync/tarn/shared/mirror"
)

const (
	// judgeEvery is how often suspected differences are judged at most.
	judgeEvery = 5 * time.Second
	// lookBackEvery is how often missed events whose work was given up are looked
	// at again: there may be many, and a person's redrive is no matter of seconds.
	lookBackEvery = time.Minute
	// explaining is how many events from before a finding, and how many since, are
	// looked at.
	explaining = 20
)

// judgement is about the differences found of a source. They were had repaired
// when they were found; what is decided here, once grace has passed, is whether
// anybody is told. One that an event explains was none: the mirror was behind
// because the event had not come yet, or had not been worked on, and would have
// been true without any sweep.
type judgement struct {
	*finder
	tell func(alert.Alert)
	// logged is up to when what was accepted has been read by workers, and so is
	// in the log, or nowhere.
	logged time.Time
	// lookedBack is when missed events whose work was given up were looked at.
	lookedBack time.Time
}

// judge judges for ever.
func (r *Reconciler) judge(ctx context.Context, w *work) error {
	s := r.source(w.task.Source)
	j := &judgement{finder: r.finder(s, w.loop), tell: r.Alert}
	for ctx.Err() == nil {
		j.loop.Turn()
		if err := j.round(ctx); err != nil {
			return err
		}
		rest(ctx, min(judgeEvery, max(s.Settings.Grace/4, r.Poll/4)))
	}
	return ctx.Err()
}

func (j *judgement) round(ctx context.Context) error {
	if err := j.readUpTo(ctx); err != nil {
		return err
	}
	suspected := mirror.DiscrepancyFilter{Status: mirror.Suspected, Source: j.name, To: j.now().Add(-j.settings.Grace)}
	if err := j.each(ctx, suspected, j.decide); err != nil {
		return err
	}
	// Workers tell how a repair ended that they were asked for. A missed event
	// was not: it has a row, which tells.
	missed := mirror.DiscrepancyFilter{Status: mirror.Confirmed, Type: mirror.EventMissed, Source: j.name}
	if err := j.each(ctx, missed, j.repaired); err != nil {
		return err
	}
	// Nor is one told whose letters were redriven after it had been given up.
	if j.now().Sub(j.lookedBack) < lookBackEvery {
		return nil
	}
	j.lookedBack = j.now()
	missed.Status = mirror.Failed
	return j.each(ctx, missed, j.repaired)
}

// readUpTo sets logged. An event that explains a finding is seen only once a
// worker has read it, which a backlog, or a pause of the source, may put off for
// hours: what is as old as the oldest entry in the live streams may have come
// later and wait behind it. (Parked entries were read, and are in the log.)
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

// mayBeUnread reports whether an event accepted within the grace of a finding
// may still wait to be read.
func (j *judgement) mayBeUnread(d *mirror.Discrepancy) bool {
	return !d.FoundAt.Add(j.settings.Grace).Before(j.logged)
}

// each calls do with the discrepancies that a filter selects, page by page.
func (j *judgement) each(ctx context.Context, f mirror.DiscrepancyFilter, do func(context.Context, []*mirror.Discrepancy) error) error {
	f.Limit = 200
	for {
		var page mirror.Page[*mirror.Discrepancy]
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

// decide confirms or drops a page of suspected differences.
func (j *judgement) decide(ctx context.Context, found []*mirror.Discrepancy) error {
	derived, err := j.derived(ctx, found)
	if err != nil {
		return err
	}
	var confirmed, dropped []string
	for _, d := range found {
		explained, known, err := j.explained(ctx, d, derived)
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
	var judged []mirror.Discrepancy
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

// explained reports whether an event explains a difference; known is false if
// that cannot be said yet.
func (j *judgement) explained(ctx context.Context, d *mirror.Discrepancy, derived map[string]bool) (explained, known bool, err error) {
	switch d.Type {
	case mirror.EventMissed:
		row, err := j.row(ctx, d)
		if err != nil || row == nil {
			return false, false, err // it was appended, and waits to be logged
		}
		return cameByItself(row, d), true, nil
	case mirror.Missing, mirror.Stale, mirror.Deleted, mirror.Unexpected, mirror.Moved:
		if derived[d.ID] {
			return true, true, nil
		}
		explained, err := j.explainedByEvents(ctx, d)
		return explained, err == nil && (explained || !j.mayBeUnread(d)), err
	}
	return false, true, nil
}

// cameByItself reports whether a missed event came after all: appended by the
// search it was received when the list was asked for, to the dot, and its own
// webhook, coming later, is a duplicate.
func cameByItself(row *mirror.EventRow, d *mirror.Discrepancy) bool {
	apart := row.ReceivedAt.Sub(d.FoundAt).Abs()
	return row.Duplicates > 0 || apart > time.Millisecond // stores keep milliseconds
}

// row is the log's row of a missed event, or nil.
func (j *judgement) row(ctx context.Context, d *mirror.Discrepancy) (*mirror.EventRow, error) {
	var rows []*mirror.EventRow
	err := j.persist(ctx, "read an event", func() (err error) {
		rows, err = j.store.EventByID(ctx, d.Source, d.EventID)
		return err
	})
	if errors.Is(err, mirror.ErrNotFound) {
		return nil, nil
	}
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// explainedByEvents reports whether an event that names the entity explains a
// difference, of those received since it was found and the last ones before.
func (j *judgement) explainedByEvents(ctx context.Context, d *mirror.Discrepancy) (bool, error) {
	f := mirror.EventFilter{Source: d.Source, Entity: d.Entity, From: d.FoundAt, Limit: explaining}
	since, err := j.events(ctx, f)
	explains := func(row *mirror.EventRow) bool { return j.explains(row, d) }
	if err != nil || slices.ContainsFunc(since, explains) {
		return err == nil, err
	}
	f.From, f.To = time.Time{}, d.FoundAt
	before, err := j.events(ctx, f)
	return slices.ContainsFunc(before, explains), err
}

// explains reports whether the mirror would have become true by an event's work
// on the entity: it is still open, or was done after the mirror had been compared.
// An event that was given up or discarded has mended nothing.
func (j *judgement) explains(row *mirror.EventRow, d *mirror.Discrepancy) bool {
	i := slices.IndexFunc(row.Entities, func(o mirror.Outcome) bool { return o.Ref.Key == d.Entity })
	if i < 0 {
		return false
	}
	switch o := &row.Entities[i]; {
	case !o.Status.Final():
		return true
	case o.Status != mirror.Processed:
		return false
	case j.secondLook(row, d):
		return true
	default:
		return o.CoveredBy != nil && wroteSince(o.CoveredBy, d)
	}
}

// secondLook reports whether a second look at the entity was to follow the event.
func (j *judgement) secondLook(row *mirror.EventRow, d *mirror.Discrepancy) bool {
	k := j.def.Kind(d.Entity.Kind)
	return k != nil && k.VerifyAfter > 0 && row.ReceivedAt.After(d.FoundAt.Add(-heldFor(k.VerifyAfter)))
}

// wroteSince reports whether a fetch was written after the mirror was compared
// and has made it what the provider showed then, or what it was later. A fetch
// may have been sent before the provider was asked and written after the mirror
// was read; the slower the store, the more often.
func wroteSince(by *mirror.Covered, d *mirror.Discrepancy) bool {
	later := !by.FetchedAt.Before(d.FoundAt)
	if d.StateHash == "" || by.StateHash == "" {
		return later // an older version wrote one of them
	}
	return by.Claim > d.SyncedClaim && (later || by.StateHash == d.StateHash)
}

func (j *judgement) events(ctx context.Context, f mirror.EventFilter) ([]*mirror.EventRow, error) {
	var page mirror.Page[*mirror.EventRow]
	err := j.persist(ctx, "read events", func() (err error) {
		page, err = j.store.Events(ctx, f)
		return err
	})
	return page.Items, err
}

// repaired tells of missed events whose work has ended since.
func (j *judgement) repaired(ctx context.Context, missed []*mirror.Discrepancy) error {
	var good, bad []string
	for _, d := range missed {
		row, err := j.row(ctx, d)
		if err != nil {
			return err
		}
		switch {
		case row == nil:
		case row.Status == mirror.Processed, row.Status == mirror.Superseded:
			good = append(good, d.ID)
		case row.Status.Final() && d.RepairedAt.IsZero():
			bad = append(bad, d.ID)
		}
	}
	for ok, ids := range map[bool][]string{true: good, false: bad} {
		if len(ids) == 0 {
			continue
		}
		err := j.persist(ctx, "tell of repairs", func() error { return j.store.Repair(ctx, ids, ok, j.now().UTC()) })
		if err != nil {
			return err
		}
	}
	return nil
}

// report counts what was confirmed, and tells people: once for each type, since
// one cause makes many differences.
func (j *judgement) report(judged []mirror.Discrepancy) {
	byType := map[mirror.DiscrepancyType][]mirror.Discrepancy{}
	for _, d := range judged {
		if d.Status != mirror.Dropped {
			j.metrics.Discrepancies.WithLabelValues(d.Source, d.Entity.Kind, string(d.Type)).Inc()
			byType[d.Type] = append(byType[d.Type], d)
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(byType)) {
		all := byType[typ]
		j.tell(alert.Alert{
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
func summary(all []mirror.Discrepancy) string {
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
	if all[0].Type == mirror.SharedID {
		text += ": the provider has two entities with one id under two parents, and the mirror keeps the first; the definition of such a kind says ids: parents"
	}
	return text
}
