// Package trial puts a fleet under load, has something go wrong, and says what it cost: what
// was lost or is wrong, which must be nothing, and for how long no event was taken in or
// settled. make e2e-redis and make e2e-hosts are lists of trials.
package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Load is what a fleet has to do meanwhile.
type Load struct {
	// Rate is in events a second, over so many entities.
	Rate     float64
	Entities int
	// For is how long it goes on: longer than what goes wrong.
	For time.Duration
}

const (
	// warm is the time under load that does not count, calm that in which this machine's own
	// pauses are measured.
	warm, calm = 2 * time.Second, 4 * time.Second
	// after is the time under load after what went wrong, at least.
	after = 4 * time.Second
	// settleWithin is how long what is left may take.
	settleWithin = 3 * time.Minute
)

// Row is a line of the table: what became of the events of a trial.
type Row struct {
	Events, Lost, Wrong, Inversions int
	// Settling and Intake are the longest times without an event settled or taken in, from
	// the fault on; CalmSettling and CalmIntake those before it.
	Settling, Intake, CalmSettling, CalmIntake time.Duration
	// P99 is from the receipt of an event until it was settled.
	P99 time.Duration
	// Lines are those that all members have logged since, LeftOut how many more they say
	// they have left out, Most which are the most.
	Lines, LeftOut int
	Most           string
	// Findings are some of what is lost or wrong.
	Findings []string
}

// Table is the table of some trials, in Markdown, under what happens in them.
func Table(what string, names []string, rows map[string]Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| %s | events | lost | wrong | inversions | longest pause of settling | of intake | p99 | lines logged since | left out |\n|---|---|---|---|---|---|---|---|---|---|\n", what)
	for _, name := range names {
		if r, ok := rows[name]; ok {
			b.WriteString(r.Line(name))
		}
	}
	return b.String()
}

// Line is the row as a line of the table.
func (r Row) Line(name string) string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %.1f s (calm %.1f s) | %.1f s (calm %.1f s) | %.2f s | %d | %d |\n", name, r.Events, r.Lost, r.Wrong, r.Inversions,
		r.Settling.Seconds(), r.CalmSettling.Seconds(), r.Intake.Seconds(), r.CalmIntake.Seconds(), r.P99.Seconds(), r.Lines, r.LeftOut)
}

// Run puts a fleet under load and has something go wrong: a function that returns once all
// is well again, but for what takes time. The error says that something is lost, wrong or
// left over, or that there is no verdict.
func Run(ctx context.Context, f *fleet.Fleet, l Load, goWrong func(context.Context) error) (r Row, err error) {
	begun := time.Now()
	if err := f.Simulator.StartLoad(ctx, sim.Load{Entities: l.Entities, Events: int(l.Rate * l.For.Seconds()), Rate: l.Rate}); err != nil {
		return r, err
	}
	if err := fleet.Pause(ctx, warm+calm); err != nil {
		return r, err
	}
	faulted := time.Now()
	if err := goWrong(ctx); err != nil {
		return r, err
	}
	if err := fleet.Pause(ctx, after); err != nil {
		return r, err
	}
	for _, m := range f.Members("") {
		if !m.Running() {
			continue // replaced; one that has died is told below
		}
		if err := m.WaitReady(ctx, time.Minute); err != nil {
			return r, err
		}
	}
	if err := f.Simulator.WaitSent(ctx, settleWithin); err != nil {
		return r, err
	}
	unsettled := settle(ctx, f)
	if err := f.Died(); err != nil {
		return r, err
	}
	if err := r.judge(ctx, f, begun, faulted); err != nil {
		return r, err
	}
	left, err := f.Left(ctx)
	switch {
	case err != nil:
		return r, err
	case r.Events == 0:
		return r, errors.New("there were no events")
	case r.Lost+r.Wrong+r.Inversions > 0:
		return r, fmt.Errorf("%d are lost, %d wrong, %d out of order", r.Lost, r.Wrong, r.Inversions)
	case left.Any():
		return r, fmt.Errorf("left: %v: %w", left, unsettled)
	}
	return r, verify(ctx, f)
}

// judge compares everything with the truth.
func (r *Row) judge(ctx context.Context, f *fleet.Fleet, begun, faulted time.Time) error {
	events, err := f.Simulator.Events(ctx)
	if err != nil {
		return err
	}
	rows, err := f.Rows(ctx)
	if err != nil {
		return err
	}
	untrue, _, err := f.Untrue(ctx)
	if err != nil {
		return err
	}
	regressed, _, err := f.Regressed(ctx)
	if err != nil {
		return err
	}
	lost, inversions := fleet.Lost(events, rows), fleet.Inversions(rows)
	r.Events, r.Lost, r.Wrong, r.Inversions = len(events), len(lost), len(untrue)+len(regressed), len(inversions)
	for _, found := range [][]string{lost, texts(untrue), regressed, inversions} {
		r.Findings = append(r.Findings, found[:min(3, len(found))]...)
	}
	received := times(rows, func(e *storage.EventRow) time.Time { return e.ReceivedAt })
	settled := times(rows, func(e *storage.EventRow) time.Time { return e.ProcessedAt })
	r.Intake, r.Settling = longest(received, faulted, time.Now()), longest(settled, faulted, time.Now())
	r.CalmIntake, r.CalmSettling = longest(received, begun.Add(warm), faulted), longest(settled, begun.Add(warm), faulted)
	r.P99 = P99(rows)
	return r.readLogs(f, faulted)
}

// settle makes parked entities due and waits until no work is left. The error says what is.
func settle(ctx context.Context, f *fleet.Fleet) error {
	var left fleet.Left
	return fleet.WaitFor(ctx, settleWithin, func() string { return left.String() }, func() (bool, error) {
		if _, err := f.Streams.RetryParked(ctx, fleet.Source); err != nil {
			return false, nil // Redis may be away still
		}
		var err error
		if left, err = f.Left(ctx); err != nil || left.Any() {
			return false, nil
		}
		events, err := f.Simulator.Events(ctx)
		if err != nil {
			return false, err
		}
		rows, err := f.Rows(ctx)
		return len(fleet.Lost(events, rows)) == 0, err
	})
}

// verify compares all there is with the provider, as an operator does.
func verify(ctx context.Context, f *fleet.Fleet) error {
	cmd, err := f.Command(ctx, fleet.Reconciler, "verify")
	if err != nil {
		return err
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("verify: %w\n%s", err, said)
	}
	return nil
}

// times are those of all rows that have one, in order.
func times(rows []*storage.EventRow, of func(*storage.EventRow) time.Time) (all []time.Time) {
	for _, r := range rows {
		if at := of(r); !at.IsZero() {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// longest is the longest time between two of the times, the second of which is between from
// and until.
func longest(all []time.Time, from, until time.Time) (most time.Duration) {
	for i := 1; i < len(all); i++ {
		if all[i].After(from) && all[i].Before(until) {
			most = max(most, all[i].Sub(all[i-1]))
		}
	}
	return most
}

// P99 is the 99th percentile of the time from the receipt of an event until it was settled; 0
// of none.
func P99(rows []*storage.EventRow) time.Duration {
	var all []time.Duration
	for _, r := range rows {
		if !r.ProcessedAt.IsZero() {
			all = append(all, r.ProcessedAt.Sub(r.ReceivedAt))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

func texts[T fmt.Stringer](list []T) (out []string) {
	for _, t := range list {
		out = append(out, t.String())
	}
	return out
}

// mostLines is how many sorts of lines are named.
const mostLines = 12

// readLogs counts what the members have logged since. A line that is not JSON is an error.
func (r *Row) readLogs(f *fleet.Fleet, since time.Time) error {
	counts := map[string]int{}
	for _, m := range f.Members("") {
		text, err := os.ReadFile(filepath.Join(f.Dir(), m.Name+".log"))
		if err != nil {
			return fmt.Errorf("read the log of %s: %w", m.Name, err)
		}
		for line := range bytes.Lines(text) {
			var l struct {
				Time  time.Time
				Level string
				Msg   string
				More  int
			}
			if err := json.Unmarshal(line, &l); err != nil {
				return fmt.Errorf("log of %s: %w: %s", m.Name, err, line)
			}
			if l.Time.After(since) {
				r.Lines, r.LeftOut = r.Lines+1, r.LeftOut+l.More
				counts[m.Name+": "+l.Level+" "+l.Msg]++
			}
		}
	}
	var sorts []string
	for what := range counts {
		sorts = append(sorts, what)
	}
	slices.SortFunc(sorts, func(a, b string) int { return counts[b] - counts[a] })
	for _, what := range sorts[:min(mostLines, len(sorts))] {
		r.Most += fmt.Sprintf("  %4d × %s\n", counts[what], what)
	}
	return nil
}
