package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/reconciler"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/process"
)

// different is the exit status of a verify that found differences.
const different = process.Status(3)

// kinds are the kinds given on the command line, repeated or with commas.
type kinds []string

// String is for package flag.
func (k *kinds) String() string { return strings.Join(*k, ",") }

// Set is for package flag.
func (k *kinds) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*k = append(*k, name)
		}
	}
	return nil
}

// day is a point in time given on the command line.
type day struct{ time.Time }

// String is for package flag.
func (d *day) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.RFC3339)
}

// Set is for package flag. A duration counts back from now.
func (d *day) Set(text string) error {
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		d.Time = time.Now().Add(-ago)
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			d.Time = t
			return nil
		}
	}
	return errors.New("want a time such as 2026-03-01, 2026-03-01T09:00:00Z or 72h (ago)")
}

func verifyCommand() process.Command {
	var source string
	var o reconciler.VerifyOptions
	var names kinds
	var asJSON bool
	return process.Command{
		Name: "verify", Short: "is the mirror right? compares, repairs nothing",
		About: `Compares everything the provider has with the mirror and says what differs. It
repairs nothing and needs no workers. It checks each difference twice, so an event
in flight causes none.

If it is cut off by a signal, it says what was compared and what was not; likewise if
the source is paused by hand, or otherwise for more than five minutes.

Exit status: 0 compared and in sync, 3 different, 4 not known (cut off, source paused,
or not everything could be compared), 1 error.
`,
		Flags: func(set *flag.FlagSet) {
			set.StringVar(&source, "source", "", "`NAME` of a source; needed if there are several")
			set.Var(&names, "kind", "`KIND` to compare, repeated or with commas; default all")
			set.BoolVar(&asJSON, "json", false, "answer with one JSON object in place of a table")
		},
		Run: func(ctx context.Context, p *process.Process) error {
			name, err := oneSource(p, source)
			if err != nil {
				return err
			}
			o.Kinds = names
			var report *reconciler.Report
			err = once(ctx, p, identity.Options{ReadOnly: true}, func(ctx context.Context, t *tools) (err error) {
				report, err = t.VerifyOnce(ctx, name, o)
				return err
			})
			if err != nil && ctx.Err() != nil {
				report, err = nothingCompared(name, err), nil
			}
			if err != nil {
				return err
			}
			return answer(p, report, asJSON)
		},
	}
}

// answer writes the report. Its error is the exit status.
func answer(p *process.Process, report *reconciler.Report, asJSON bool) error {
	write := report.WriteTable
	if asJSON {
		write = report.WriteJSON
	}
	if err := write(p.Stdout); err != nil {
		return err
	}
	switch {
	case len(report.Differences) > 0:
		return different
	case report.CutOff != "":
		return process.CutOff
	case !report.InSync():
		p.Logger.Error(fmt.Sprintf("%d lists or entities could not be compared, see above", report.Unknown))
		return process.CutOff
	}
	return nil
}

// nothingCompared is the report of a verify that was stopped before it began.
func nothingCompared(source string, cause error) *reconciler.Report {
	return &reconciler.Report{
		Source: source, Kinds: map[string]int64{}, Differences: []reconciler.ReportDifference{},
		CutOff: "nothing was compared: " + cause.Error(),
	}
}

func backfillCommand() process.Command {
	var source string
	var since day
	var names kinds
	var o reconciler.BackfillOptions
	return process.Command{
		Name: "backfill", Short: "fills a mirror, or what it lacks",
		About: `Walks everything the provider lists and has the workers fetch what the mirror
lacks or has in another state, behind all other work. Workers must be running. If it
is cut off, the same command resumes it. Shows a bar on a terminal, lines of JSON
otherwise; while nothing moves, it says what it waits for.

Lists that could not be read whole, and entities that could not be fetched, are named
at the end with the reason, the first 100 of each.

Exit status: 0 filled, 4 cut off, 1 error, or not all could be fetched.
`,
		Flags: func(set *flag.FlagSet) {
			set.StringVar(&source, "source", "", "`NAME` of a source; needed if there are several")
			set.Var(&names, "kind", "`KIND` to fill, repeated or with commas; default all")
			set.Var(&since, "since", "only what events since a `TIME` name: 2026-03-01, 2026-03-01T09:00:00Z, or 72h ago as 72h")
			set.Float64Var(&o.Rate, "rate", 0, "most list pages asked for in a second, a `NUMBER`; default: what the budget allows")
		},
		Run: func(ctx context.Context, p *process.Process) error {
			name, err := oneSource(p, source)
			if err != nil {
				return err
			}
			o.Source, o.Kinds, o.Since, o.Out = name, names, since.Time, p.Stdout
			return once(ctx, p, identity.Options{ReadOnly: true, Await: true}, func(ctx context.Context, t *tools) error { return t.Backfill(ctx, o) })
		},
	}
}

// once is with for a command that ends. It ends early, with an error, if Redis and the
// database are not of one fleet. A command may have other settings than the fleet, so it
// never decides what the fleet is: part is ReadOnly.
func once(ctx context.Context, p *process.Process, part identity.Options, do func(context.Context, *tools) error) error {
	return with(ctx, p, part, func(ctx context.Context, t *tools) error {
		return t.keeper.Guard(ctx, func(ctx context.Context) error { return do(ctx, t) })
	})
}

// oneSource is the source named, or the only one.
func oneSource(p *process.Process, name string) (string, error) {
	known := slices.Sorted(maps.Keys(p.Config.Sources))
	switch {
	case name == "" && len(known) == 1:
		return known[0], nil
	case name == "":
		return "", fmt.Errorf("several sources are configured: say which with --source: %s", strings.Join(known, ", "))
	case !slices.Contains(known, name):
		return "", fmt.Errorf("no source %q is configured; there are %s", name, strings.Join(known, ", "))
	}
	return name, nil
}
