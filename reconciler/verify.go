package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// VerifyOptions say what VerifyOnce compares.
type VerifyOptions struct {
	// Kinds are the kinds compared. None: all.
	Kinds []string
	// Settle is how long a difference may have to settle, by work under way,
	// before it is checked again and reported. Defaults to 10 s.
	Settle time.Duration
	// Parallel is how many lists are walked at once. Defaults to 4.
	Parallel int
	// Patience is how long a comparison waits for a pause of the source that ends
	// by itself. It does not wait for a pause by hand. Defaults to 5 min.
	Patience time.Duration
}

// Report is the answer to "is my mirror right?", of one source.
type Report struct {
	Source string `json:"source"`
	// Entities is how many were compared, Kinds how many of each kind.
	Entities int64            `json:"entities"`
	Kinds    map[string]int64 `json:"kinds"`
	// APICalls is how often the provider was asked.
	APICalls int64 `json:"api_calls"`
	// Unknown is how many lists or entities could not be compared, since the
	// provider did not answer for them.
	Unknown int64 `json:"unknown"`
	// NotDue is how many entities differ but need not agree yet: those that only a
	// sweep fetches for the first time, and those whose refresh an event has just
	// requested and that is delayed.
	NotDue      int64              `json:"not_due"`
	Differences []ReportDifference `json:"differences"`
	// Disputed are the entities, as kind/id, of which a list shows another state
	// than their own GET, or whose GET finds none, while the mirror agrees with the
	// GET. Which of the two is right is not known, so they count as Unknown too.
	Disputed []string `json:"disputed,omitempty"`
	// CutOff is why the comparison ended before it was done. Absent if it was
	// done.
	CutOff string `json:"cut_off,omitempty"`
	// NotCompared are the kinds that were not compared to their end. Absent if
	// the comparison was done.
	NotCompared []string `json:"not_compared,omitempty"`
	// Unconfirmed is how many differences were seen once and not checked again
	// before the comparison was cut off.
	Unconfirmed int `json:"unconfirmed,omitempty"`
}

// ReportDifference is one entity that differs.
type ReportDifference struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Parents are those that qualify the id. Absent if none do.
	Parents map[string]string `json:"parents,omitempty"`
	// Type is missing, stale, deleted, moved, shared_id or deleted_here.
	Type storage.DiscrepancyType `json:"type"`
	// Patch leads from the mirror's state to the provider's (RFC 6902), without
	// secrets. Absent unless the type is stale.
	Patch json.RawMessage `json:"patch,omitempty"`
	// Behind is the reason if the mirror knows that it is behind: retrying, lagging
	// or dead letter. Absent otherwise.
	Behind string `json:"behind,omitempty"`
}

// DeletedHere is the type of an entity that the mirror holds as deleted and the
// provider has. A sweep records it as unexpected.
const DeletedHere storage.DiscrepancyType = "deleted_here"

// InSync reports whether everything was compared and nothing differs.
func (r *Report) InSync() bool {
	return len(r.Differences) == 0 && r.Unknown == 0 && r.CutOff == ""
}

// verifyOnce does what VerifyOnce says, with a finder of the source.
func verifyOnce(ctx context.Context, f *finder, o VerifyOptions) (*Report, error) {
	for _, name := range o.Kinds {
		if f.def.Kind(name) == nil {
			return nil, fmt.Errorf("provider %s has no kind %q", f.def.Name, name)
		}
	}
	if o.Settle <= 0 {
		o.Settle = 10 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Patience <= 0 {
		o.Patience = 5 * time.Minute
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	v := &verification{finder: f.waitingAtMost(o.Patience, giveUp), options: o, begun: f.now(), failed: map[string]bool{}, found: map[event.Key]difference{}, disputed: map[event.Key]disputed{}, counts: map[string]int64{}}
	err := v.run(ctx)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	report, rerr := v.report()
	if err == nil || rerr != nil {
		return report, rerr
	}
	report.CutOff, report.NotCompared = f.waitsFor(ctx), v.notCompared()
	if paused := errPaused(""); errors.As(context.Cause(ctx), &paused) {
		report.CutOff = paused.Error()
	}
	// A difference counts once it has been seen twice.
	report.Unconfirmed, report.Differences = len(v.found), []ReportDifference{}
	return report, nil
}

func (v *verification) run(ctx context.Context) (err error) {
	if v.unswept, err = v.finder.unswept(ctx, v.kinds()); err != nil {
		return err
	}
	v.log.Info("verify: comparing the provider's lists with the mirror", "source", v.name)
	if err := v.lists(ctx); err != nil {
		return err
	}
	v.log.Info("verify: comparing by id what no list showed", "source", v.name)
	if err := v.checks(ctx); err != nil {
		return err
	}
	if err := v.lookAgain(ctx); err != nil {
		return err
	}
	return v.leaveOutRefreshes(ctx)
}

// verification collects what concurrent surveys find.
type verification struct {
	*finder
	options VerifyOptions
	begun   time.Time
	// unswept are the kinds of which no sweep has been finished.
	unswept []string

	mu     sync.Mutex
	failed map[string]bool
	found  map[event.Key]difference
	counts map[string]int64
	// disputed are the entities that list and GET disagree about.
	disputed map[event.Key]disputed
	// compared are the kinds compared to their end: in lists and by id.
	compared []string
}

// wanted are the names of the kinds to be compared.
func (v *verification) wanted() []string {
	if len(v.options.Kinds) > 0 {
		return slices.Sorted(slices.Values(v.options.Kinds))
	}
	return v.kinds()
}

// notCompared are the kinds that were not compared to their end.
func (v *verification) notCompared() []string {
	return slices.DeleteFunc(v.wanted(), func(name string) bool { return slices.Contains(v.compared, name) })
}

// survey runs a survey and adds what it found to the rest.
func (v *verification) survey(ctx context.Context, do func(context.Context, *survey) error) error {
	v.mu.Lock()
	s := &survey{
		finder: v.finder, mode: modeReport, id: "verify", begun: v.begun, kinds: v.options.Kinds,
		unswept: v.unswept, counts: map[string]int64{}, failed: maps.Clone(v.failed), reported: map[event.Key]bool{},
	}
	for k := range v.found {
		s.reported[k] = true
	}
	v.mu.Unlock()
	var found []difference
	var contradicted []disputed
	s.report = func(d difference) { found = append(found, d) }
	s.dispute = func(d disputed) { contradicted = append(contradicted, d) }
	err := do(ctx, s)
	if err == nil {
		err = s.flush(ctx)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.Copy(v.failed, s.failed)
	for _, d := range found {
		v.found[d.ref.Key] = d
	}
	for _, d := range contradicted {
		v.disputed[d.ref.Key] = d
	}
	for name, n := range s.counts {
		v.counts[name] += n
	}
	v.counts["api_calls"] += s.calls
	return err
}

// lists compares what lists show.
func (v *verification) lists(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var g errgroup.Group // for its limit
	g.SetLimit(v.options.Parallel)
	look := survey{finder: v.finder, kinds: v.options.Kinds}
	for _, k := range v.def.Roots() {
		if !look.leads(k) || ctx.Err() != nil {
			continue
		}
		ids, err := v.root(ctx, k)
		if err != nil {
			cancel(err)
			break
		}
		for chunk := range slices.Chunk(ids, 50) {
			g.Go(func() error {
				err := v.survey(ctx, func(ctx context.Context, s *survey) error { return s.under(ctx, k, chunk) })
				if err != nil {
					cancel(err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // the context's cause is the error
	return context.Cause(ctx)
}

// root compares the list of a root kind and returns the ids that have kinds under
// them.
func (v *verification) root(ctx context.Context, k *provider.Kind) (ids []string, err error) {
	err = v.survey(ctx, func(ctx context.Context, s *survey) error {
		return s.listRoot(ctx, k, &place{}, func(more ...string) { ids = append(ids, more...) })
	})
	return ids, err
}

// checks compares by id what no list has shown.
func (v *verification) checks(ctx context.Context) error {
	for _, k := range v.def.Kinds() {
		if len(v.options.Kinds) > 0 && !slices.Contains(v.options.Kinds, k.Name) {
			continue
		}
		err := v.survey(ctx, func(ctx context.Context, s *survey) error { return s.checkKind(ctx, k, new(string)) })
		if err != nil {
			return err
		}
		v.compared = append(v.compared, k.Name)
	}
	return nil
}

// lookAgain checks the differences again and drops those that are gone.
func (v *verification) lookAgain(ctx context.Context) error {
	if len(v.found) == 0 && len(v.disputed) == 0 {
		return nil
	}
	v.log.Info("verify: differences are looked at twice, waiting before the second look", "source", v.name,
		"differences", len(v.found), "disputed", len(v.disputed), "wait", v.options.Settle.String())
	if !loops.Sleep(ctx, v.options.Settle) {
		return ctx.Err()
	}
	first, contradicted := v.found, v.disputed
	v.found, v.disputed = map[event.Key]difference{}, map[event.Key]disputed{}
	err := v.survey(ctx, func(ctx context.Context, s *survey) error {
		for key, d := range contradicted {
			if err := v.checkAgain(ctx, s, key, d.ref, d.listed); err != nil {
				return err
			}
		}
		for key, d := range first {
			var listed *provider.Snapshot
			if d.listed {
				listed = d.state
			}
			if err := v.checkAgain(ctx, s, key, d.ref, listed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		v.found = first // not all of them were looked at again
	}
	return err
}

// checkAgain asks once more for an entity that differed, or whose list did not agree
// with its GET. listed is how the list showed it.
func (v *verification) checkAgain(ctx context.Context, s *survey, key event.Key, ref event.Ref, listed *provider.Snapshot) error {
	docs, err := s.documents(ctx, []event.Key{key})
	if err != nil {
		return err
	}
	var r remedies
	if err := s.check(ctx, ref, docs[key], listed, &r); err != nil {
		return err
	}
	return s.remedy(ctx, r)
}

// leaveOutRefreshes drops differences that a refresh on its way will repair, by the
// rule that the judge uses.
func (v *verification) leaveOutRefreshes(ctx context.Context) error {
	records := make([]*storage.Discrepancy, 0, len(v.found))
	for _, d := range v.found {
		records = append(records, &storage.Discrepancy{ID: d.id(), Entity: d.ref.Key, FoundAt: d.at, SyncedAt: d.syncedAt()})
	}
	held, err := v.heldBack(ctx, records)
	if err != nil {
		return err
	}
	for _, d := range records {
		if held[d.ID] {
			delete(v.found, d.Entity)
			v.counts["not_due"]++
		}
	}
	return nil
}

func (v *verification) report() (*Report, error) {
	r := &Report{
		Source: v.name, Entities: v.counts["entities"] + v.counts["checked"], Kinds: map[string]int64{},
		APICalls: v.counts["api_calls"], Unknown: v.counts["failed_lists"] + v.counts["failed_checks"] + v.counts["unreadable"],
		NotDue: v.counts["not_due"], Differences: []ReportDifference{},
	}
	for k, d := range v.disputed {
		r.Unknown++
		r.Disputed = append(r.Disputed, strings.TrimPrefix(k.String(), k.Source+"/"))
		v.log.Warn("a list shows another state of an entity than its own GET, which the mirror agrees with", "source", v.name, "entity", k.String(), "list_asked_at", d.listed.SentAt)
	}
	slices.Sort(r.Disputed)
	for name, n := range v.counts {
		if kind, ok := strings.CutPrefix(name, "kind."); ok {
			r.Kinds[kind] = n
		}
	}
	for _, d := range v.found {
		record, err := d.record(v.def, "")
		if err != nil {
			return nil, err
		}
		one := ReportDifference{Kind: d.ref.Key.Kind, ID: d.ref.Key.ID, Type: d.typ, Patch: record.Patch}
		if d.ref.Key.Under != "" {
			one.Parents = d.ref.Parents
		}
		if one.Type == storage.Unexpected {
			one.Type = DeletedHere
		}
		if d.doc != nil && d.doc.Behind != nil {
			one.Behind = d.doc.Behind.Reason
		}
		r.Differences = append(r.Differences, one)
	}
	slices.SortFunc(r.Differences, func(a, b ReportDifference) int {
		return strings.Compare(a.Kind+"\x00"+a.ID+"\x00"+listName("", a.Parents), b.Kind+"\x00"+b.ID+"\x00"+listName("", b.Parents))
	})
	return r, nil
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	if err := out.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// longestCell is how much of a patch the table shows, in bytes.
const longestCell = 120

// WriteTable writes the report as text: the differences as a table, then a summary
// line.
func (r *Report) WriteTable(w io.Writer) error {
	if len(r.Differences) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "KIND\tID\tDIFFERENCE\tPATCH")
		for _, d := range r.Differences {
			what := string(d.Type)
			if d.Behind != "" {
				what += " (" + d.Behind + ")"
			}
			id := d.ID
			for _, name := range slices.Sorted(maps.Keys(d.Parents)) {
				id += " of " + name + " " + d.Parents[name]
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", d.Kind, id, what, fate.Short(string(d.Patch), longestCell))
		}
		if err := table.Flush(); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if len(r.Disputed) > 0 {
		if _, err := fmt.Fprintf(w, "list and GET disagree about: %s\n", strings.Join(r.Disputed, ", ")); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	answer := "in sync"
	switch {
	case r.CutOff != "":
		answer = "not known: cut off: " + r.CutOff
	case len(r.Differences) > 0:
		answer = fmt.Sprintf("%d different", len(r.Differences))
	case r.Unknown > 0:
		answer = "not known"
	}
	_, err := fmt.Fprintf(w, "%s: %s (%d entities compared, %d could not be, %d not due yet, %d API calls%s)\n",
		r.Source, answer, r.Entities, r.Unknown, r.NotDue, r.APICalls, r.missing())
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// missing says what a comparison that was cut off did not compare. "" for one that
// was not cut off.
func (r *Report) missing() string {
	if r.CutOff == "" {
		return ""
	}
	text := ""
	if r.Unconfirmed > 0 {
		text += fmt.Sprintf("; %d differences seen once and not looked at again", r.Unconfirmed)
	}
	if len(r.NotCompared) > 0 {
		text += "; not compared to the end: " + strings.Join(r.NotCompared, ", ")
	}
	return text
}
