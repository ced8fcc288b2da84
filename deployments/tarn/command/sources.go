package command

import (
	"context"
	"flag"
	"strings"
)

var pauseCommand = Command{
	Name: "pause", Args: "SOURCE",
	Short:   "Ask a provider for nothing until resumed; webhooks are taken and wait",
	Example: "tarn pause lemon --reason 'their maintenance window'",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return reasoned(set, func(ctx context.Context, c *connection, reason map[string]string, args []string) error {
			return c.act(ctx, reason, args[0], "pause")
		})
	},
}

// reasoned is connected for what needs a reason, which is given as the body of the request.
func reasoned(set *flag.FlagSet, do func(ctx context.Context, c *connection, reason map[string]string, args []string) error) func(context.Context, *Env, []string) error {
	reason := set.String("reason", "", "`WHY`, for the next reader. Required")
	return connected(set, func(ctx context.Context, c *connection, args []string) error {
		if strings.TrimSpace(*reason) == "" {
			return misused("--reason is missing: say why, for the next reader")
		}
		return do(ctx, c, map[string]string{"reason": *reason}, args)
	})
}

var resumeCommand = Command{
	Name: "resume", Args: "SOURCE",
	Short:   "End a pause",
	Example: "tarn resume lemon",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		accept := set.Bool("accept-deletions", false, "for the next hour, known entities that are not found count as deleted, without proof that the right account is asked")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			return c.act(ctx, map[string]bool{"accept_deletions": *accept}, args[0], "resume")
		})
	},
}

var retryCommand = Command{
	Name: "retry", Args: "SOURCE",
	Short:   "Make all parked work of a source due now",
	Example: "tarn retry lemon",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			var got struct {
				Source   string
				Entities int
			}
			raw, err := c.post(ctx, &got, nil, "sources", args[0], "retry")
			switch {
			case err != nil:
				return err
			case c.json:
				c.line(raw)
			default:
				c.env.printf("%s: %s tried again now\n", printable(got.Source), count(got.Entities, "entity is", "entities are"))
			}
			return nil
		})
	},
}

// act changes the state of a source and prints it.
func (c *connection) act(ctx context.Context, body any, source, act string) error {
	var s sourceAnswer
	raw, err := c.post(ctx, &s, body, "sources", source, act)
	switch {
	case err != nil:
		return err
	case c.json:
		c.line(raw)
	case s.Paused:
		c.env.printf("%s is paused (%s) by %s: %s\n", printable(s.Source), printable(s.Kind), printable(s.By), printable(s.Reason))
	default:
		c.env.printf("%s runs\n", printable(s.Source))
	}
	return nil
}
