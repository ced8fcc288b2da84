package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/storage"
)

// heldBack is how long a second look at a derived kind may be held back: what
// differs meanwhile is known to be looked at.
const heldBack = 40 * time.Second

// verdict has the figures of a run. The package comment says what each figure is.
type verdict struct {
	injected, found, mistaken, repaired, remaining, eventGaps, deletes, wrong int
	apiCalls                                                                  int64
	// details are lines for the reader about everything that is not as it should be.
	details []string
}

func (v *verdict) clean() bool { return v.mistaken == 0 && v.remaining == 0 && v.wrong == 0 }

func (v *verdict) String() string {
	return fmt.Sprintf("drift: injected=%d found=%d false=%d repaired=%d remaining=%d event_gaps=%d deletes=%d api_calls=%d wrong=%d",
		v.injected, v.found, v.mistaken, v.repaired, v.remaining, v.eventGaps, v.deletes, v.apiCalls, v.wrong)
}

// write writes what is to be said, and the line last.
func (v *verdict) write(out io.Writer) {
	for _, what := range v.details {
		fmt.Fprintln(out, what)
	}
	fmt.Fprintln(out, v)
}

// most is how many details of a kind are printed.
const most = 20

func (v *verdict) detail(n int, format string, args ...any) {
	if n <= most {
		v.details = append(v.details, fmt.Sprintf(format, args...))
	}
}

// judge makes the figures. What differs is given some patience to be repaired.
func (r *run) judge(ctx context.Context, patience time.Duration) (*verdict, error) {
	v := &verdict{injected: r.injected.count()}
	asked, err := r.Simulator.Requests(ctx)
	if err != nil {
		return nil, err
	}
	v.apiCalls = asked - r.asked
	return v, errors.Join(r.judgeMirror(ctx, v, patience), r.judgeLog(ctx, v), r.judgeFindings(ctx, v), r.countTombstones(ctx, v))
}

// judgeMirror compares the mirror with the truth, again and again while
// something differs and there is patience left.
func (r *run) judgeMirror(ctx context.Context, v *verdict, patience time.Duration) error {
	bad, err := r.differences(ctx)
	for end := time.Now().Add(patience); err == nil && len(bad) > 0 && time.Now().Before(end); {
		if err := r.rest(ctx, time.Second); err != nil {
			return err
		}
		bad, err = r.differences(ctx)
	}
	if err != nil {
		return err
	}
	v.wrong = len(bad)
	for i, d := range bad {
		v.detail(i, "wrong: %s", d)
		if r.injected.differed[d.Kind+"/"+d.ID] {
			v.remaining++
		}
	}
	return nil
}

// judgeLog looks for events that still have no row.
func (r *run) judgeLog(ctx context.Context, v *verdict) error {
	logged, err := r.logged(ctx)
	if err != nil {
		return err
	}
	for id := range r.injected.lost {
		if !logged[id] {
			v.remaining++
			v.detail(v.remaining, "remaining: event %s has no row in the log", id)
		}
	}
	return nil
}

// judgeFindings compares what is reported with what was injected.
func (r *run) judgeFindings(ctx context.Context, v *verdict) error {
	found, err := r.found(ctx)
	if err != nil {
		return err
	}
	dropped := 0
	for _, d := range found {
		switch d.Status {
		case storage.Dropped:
			dropped++
			continue
		case storage.Repaired:
			v.repaired++
		}
		v.found++
		name := d.Entity.Kind + "/" + d.Entity.ID
		right := r.injected.differed[name] || d.Entity.Kind == r.part().untold
		if d.Type == storage.EventMissed {
			v.eventGaps++
			right = r.injected.lost[d.EventID]
		}
		if !right {
			v.mistaken++
			v.detail(v.mistaken, "false: %s %s %s event %q, found %s by %s: %s", d.Type, name, d.Status, d.EventID, d.FoundAt.Format(time.RFC3339Nano), d.SweepID, d.Patch)
		}
	}
	r.say("verdict: %d of %d missed events are on record; %d findings were explained and dropped", v.eventGaps, len(r.injected.lost), dropped)
	return nil
}

func (r *run) countTombstones(ctx context.Context, v *verdict) error {
	for _, k := range r.definition.Kinds() {
		for filter := (storage.EntityFilter{Source: fleet.Source, Kind: k.Name, Limit: 200}); ; {
			page, err := r.Store.Entities(ctx, filter)
			if err != nil {
				return fmt.Errorf("read the mirror: %w", err)
			}
			for _, doc := range page.Items {
				if !doc.DeletedAt.IsZero() {
					v.deletes++
				}
			}
			if filter.Cursor = page.NextCursor; filter.Cursor == "" {
				break
			}
		}
	}
	return nil
}
