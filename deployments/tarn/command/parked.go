package command

import (
	"context"
	"flag"
	"fmt"
	"time"
)

// parkedAnswer is an entity that waits. In the answer about the entity itself it has no
// source, kind and id.
type parkedAnswer struct {
	Source, Kind, Entity string
	Reason, Class, Error string
	FailedAt             time.Time `json:"failed_at"`
	NextAttemptAt        time.Time `json:"next_attempt_at"`
	Attempts             []struct{ At time.Time }
	Waiting              int
}

// since is the first failure that is known of it, zero if it has not failed: it waits for
// its turn.
func (p parkedAnswer) since() time.Time {
	switch {
	case p.Reason == "backlog":
		return time.Time{}
	case len(p.Attempts) > 0:
		return p.Attempts[0].At
	}
	return p.FailedAt
}

// why says in words why it waits.
func (p parkedAnswer) why() string {
	text := fmt.Sprintf("it waits (%s), tried %s, next try %s", p.Reason, count(len(p.Attempts), "time", "times"), at(p.NextAttemptAt))
	if p.Error != "" {
		text += ": " + p.Error
	}
	return text
}

var parkedCommand = Command{
	Name:  "parked",
	Short: "List the entities that wait, why, and until when; or retry them now",
	About: `Those that are tried first come first. With --retry the entities that the flags select are
made due now; their attempts are counted as usual.`,
	Example: "tarn parked --source lemon --reason failed",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source", "kind", "entity", "reason", "class").limited()
		retry := set.Bool("retry", false, "try them now; needs an operator's token")
		all := set.Bool("all", false, "with --retry: all that wait; needed if no other flag selects")
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			given, err := f.given(c.env.Now())
			if err != nil {
				return err
			}
			if *retry {
				return c.retryParked(ctx, given, *all)
			}
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			return listing[parkedAnswer]{
				path: []string{"parked"}, query: q, most: f.limit,
				heads: []string{"NEXT TRY", "ENTITY", "REASON", "TRIED", "WAITING", "ERROR"},
				row: func(p parkedAnswer) []string {
					return []string{at(p.NextAttemptAt), p.Source + "/" + p.Kind + "/" + p.Entity, p.Reason, fmt.Sprint(len(p.Attempts)), fmt.Sprint(p.Waiting), p.Error}
				},
				none: "nothing waits for a retry",
			}.print(ctx, c)
		})
	},
}

func (c *connection) retryParked(ctx context.Context, selected map[string]string, all bool) error {
	if len(selected) == 0 && !all {
		return misused("give flags that select, or --all")
	}
	body := map[string]any{}
	for name, value := range selected {
		body[name] = value
	}
	if all {
		body["all"] = true
	}
	var got struct{ Entities int }
	raw, err := c.post(ctx, &got, body, "parked", "retry")
	switch {
	case err != nil:
		return err
	case c.json:
		c.line(raw)
	default:
		c.env.printf("%s tried again now\n", count(got.Entities, "entity is", "entities are"))
	}
	return nil
}
