package command

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// erasedAnswer is what the commands read of an erased entity.
type erasedAnswer struct {
	Source, Kind, ID, By, With, Job string
	ErasedAt                        time.Time `json:"erased_at"`
	Children                        bool
}

// restoredAnswer is what they read of a restored one.
type restoredAnswer struct{ ID, Job string }

// enlistedAnswer is what they read of what was erased.
type enlistedAnswer struct {
	Entity, By, With string
	ErasedAt         time.Time `json:"erased_at"`
	Children         bool
}

var eraseCommand = Command{
	Name: "erase", Args: "SOURCE KIND ID",
	Short: "Erase an entity's data, or all of an account's",
	About: `Removes what the mirror has of the entity, and what events, dead letters and differences hold of
it. A marker stays: later events of it are kept without their payload, and the provider is not
asked for it, until tarn restore. With --children all that is under it is erased too, also what
appears later; the progress of the job is shown. Asks for the id again, unless --yes is given.`,
	Example: "tarn erase lemon account cusa_1 --children",
	Wrong:   "the job failed for some of it",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "parent")
		children := set.Bool("children", false, "erase all that is under it too")
		yes := set.Bool("yes", false, "do not ask")
		noWait := set.Bool("no-wait", false, "do not wait for the job")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			what := "erased"
			if *children {
				q.Set("children", "true")
				what = "erased with all that is under it"
			}
			if err := c.confirm(*yes, args, what+": what the mirror has of it cannot be had back but from the provider"); err != nil {
				return err
			}
			return c.erase(ctx, q, args, *noWait)
		})
	},
}

func (c *connection) erase(ctx context.Context, q url.Values, key []string, noWait bool) error {
	var e erasedAnswer
	raw, err := c.call(ctx, http.MethodDelete, q, nil, &e, "entities", key[0], key[1], key[2])
	if err != nil {
		return err
	}
	if c.json && (!e.Children || e.Job == "" || noWait) {
		c.line(raw)
		return nil
	}
	if !c.json {
		c.env.printf("%s\n", printable(fmt.Sprintf("%s %s %s: erased since %s%s", e.Source, e.Kind, e.ID, at(e.ErasedAt), map[bool]string{true: " by " + e.By}[e.By != ""])))
		if e.Job != "" {
			c.env.printf("%s\n", printable("job "+e.Job+" looks a second time"))
		}
	}
	if !e.Children || e.Job == "" || noWait {
		return nil
	}
	return c.oneTask(ctx, jobs, e.Job, true)
}

var restoreCommand = Command{
	Name: "restore", Args: "SOURCE KIND ID",
	Short: "Let an erased entity come back, with what was erased with it",
	About: `Removes the marker and has the entity fetched from the provider. What was erased with it comes back too,
by a job whose progress is shown. What was erased of events stays erased. Asks for the id again,
unless --yes is given.`,
	Example: "tarn restore lemon account cusa_1",
	Wrong:   "the job failed for some of it",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "parent")
		yes := set.Bool("yes", false, "do not ask")
		noWait := set.Bool("no-wait", false, "do not wait for the job")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			if err := c.confirm(*yes, args, "restored: it is fetched from the provider again, with what was erased with it"); err != nil {
				return err
			}
			var got restoredAnswer
			raw, err := c.call(ctx, http.MethodPost, q, nil, &got, "entities", args[0], args[1], args[2], "restore")
			switch {
			case err != nil:
				return err
			case got.Job != "" && !*noWait:
				return c.oneTask(ctx, jobs, got.Job, true)
			case c.json:
				c.line(raw)
			default:
				c.env.printf("%s\n", printable(fmt.Sprintf("%s %s %s: restored; it is fetched as %s", args[0], args[1], args[2], got.ID)))
			}
			return nil
		})
	},
}

var erasuresCommand = Command{
	Name:    "erasures",
	Short:   "List what operators have erased",
	Example: "tarn erasures --source lemon",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source").limited()
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			return listing[enlistedAnswer]{
				path: []string{"erasures"}, query: q, most: f.limit,
				heads: []string{"ERASED", "ENTITY", "AND WHAT IS UNDER IT", "BY", "WITH"},
				row: func(e enlistedAnswer) []string {
					return []string{at(e.ErasedAt), e.Entity, map[bool]string{true: "yes", false: "no"}[e.Children], e.By, e.With}
				},
				none: "nothing was erased",
			}.print(ctx, c)
		})
	},
}

// confirm asks for the id of an entity once more, since what follows cannot be undone.
func (c *connection) confirm(yes bool, key []string, what string) error {
	if yes {
		return nil
	}
	_, _ = fmt.Fprintf(c.env.Err, "%s %s %s will be %s.\nType its id to go on: ", printable(key[0]), printable(key[1]), printable(key[2]), what)
	line := ""
	if c.env.In != nil {
		line, _ = bufio.NewReader(c.env.In).ReadString('\n') // what was typed before an error counts
	}
	if strings.TrimSpace(line) != key[2] {
		return fmt.Errorf("that is not the id: nothing is done; --yes does it without asking")
	}
	return nil
}
