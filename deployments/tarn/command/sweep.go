package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

var sweepCommand = compare("sweep", "sweep", "Compare a provider's lists with the mirror and repair it", "tarn sweep lemon --kind order", false)

var backfillCommand = compare("backfill", "backfill", "Fill a mirror that is mostly empty, at the lowest priority", "tarn backfill lemon --since 720h --rate 10", true)

var gapsCommand = compare("gaps", "gaps", "Look for events that never came", "tarn gaps lemon --since 24h", true)

var verifyCommand = compare("verify", "verify", "Compare a provider's lists with the mirror and repair nothing", "tarn verify lemon", false)

// compare is a command that starts a comparison with the provider and waits for it.
func compare(name, mode, short, example string, back bool) Command {
	wrong := "a part of it failed, which the output names"
	if mode == "verify" {
		wrong = "mirror and provider differ, or a part was not compared"
	}
	return Command{
		Name: name, Args: "SOURCE",
		Short: short,
		About: `A reconciler does it. Its progress is shown until it is over; interrupting the command does not end it.
While a like one waits or runs, no second is started: the command says so, and shows that one.`,
		Example: example,
		Wrong:   wrong,
		New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
			var kinds texts
			if mode != "gaps" {
				set.Var(&kinds, "kind", "only this `KIND`; may be repeated")
			}
			since := new(string)
			if back {
				since = set.String("since", "", "how far back, as a `TIME` or a duration; default: as far as usual")
			}
			rate := set.Float64("rate", 0, "at most `N` requests a second, within the source's budget; 0: no limit of its own")
			noWait := set.Bool("no-wait", false, "do not wait for it")
			return connected(set, func(ctx context.Context, c *connection, args []string) error {
				body := map[string]any{"source": args[0], "mode": mode}
				if len(kinds) > 0 {
					body["kinds"] = kinds
				}
				if *rate != 0 {
					body["rate"] = *rate
				}
				if *since != "" {
					t, err := moment(*since, c.env.Now())
					if err != nil {
						return err
					}
					body["since"] = t
				}
				var started taskAnswer
				_, status, err := c.exchange(ctx, http.MethodPost, nil, body, &started, sweeps)
				if err != nil {
					return err
				}
				if status == http.StatusOK { // one that is made is a 202
					_, _ = fmt.Fprintln(c.env.Err, printable(started.joined()))
				}
				err = c.oneTask(ctx, sweeps, started.ID, !*noWait)
				if *noWait || mode != "verify" || err != nil && !errors.Is(err, errWrong) {
					return err
				}
				return errors.Join(err, c.differences(ctx, started.ID))
			})
		},
	}
}

type discrepancyAnswer struct {
	ID, Source, Kind, Entity, Event, Type, Status string
	Patch                                         json.RawMessage
	FoundAt                                       time.Time `json:"found_at"`
}

// mostDifferences is how many differences verify lists.
const mostDifferences = 1000

var driftHeads = []string{"FOUND", "TYPE", "STATUS", "ENTITY", "EVENT", "PATCH"}

func (d discrepancyAnswer) row() []string {
	of := d.Source // alone, where it is of no entity
	if d.Entity != "" {
		of += "/" + d.Kind + "/" + d.Entity
	}
	return []string{at(d.FoundAt), d.Type, d.Status, of, d.Event, string(d.Patch)}
}

// differences lists what a verify found, once each difference has its verdict: those that
// an event in flight explains are none.
func (c *connection) differences(ctx context.Context, id string) error {
	type found struct {
		discrepancyAnswer
		raw json.RawMessage
	}
	bar := newBar(c.env)
	defer bar.end()
	var all []found
	for {
		all = all[:0]
		open := 0
		if err := each(ctx, c, mostDifferences, url.Values{"sweep": {id}}, func(d discrepancyAnswer, raw json.RawMessage) bool {
			switch d.Status {
			case "dropped":
				return true
			case "suspected":
				open++
			}
			all = append(all, found{d, raw})
			return true
		}, "discrepancies"); err != nil {
			return err
		}
		if open == 0 {
			break
		}
		bar.show(0, fmt.Sprintf("%d differences may be explained by events on their way; waiting for the verdict", open))
		if !loops.Sleep(ctx, pollEvery) {
			return ctx.Err()
		}
	}
	bar.end()
	if len(all) == 0 {
		return nil
	}
	t := newTable(c.env.Out, driftHeads...)
	for _, d := range all {
		if c.json {
			c.line(d.raw)
		} else {
			t.row(d.row()...)
		}
	}
	if !c.json {
		t.flush()
	}
	return errWrong
}

var driftCommand = Command{
	Name:    "drift",
	Short:   "List differences found between provider and mirror, newest first",
	Example: "tarn drift --source lemon --status confirmed --since 24h",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source", "kind", "entity", "type", "status", "sweep").between().limited()
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			return listing[discrepancyAnswer]{
				path: []string{"discrepancies"}, query: q, most: f.limit,
				heads: driftHeads, row: discrepancyAnswer.row, none: "no difference",
			}.print(ctx, c)
		})
	},
}
