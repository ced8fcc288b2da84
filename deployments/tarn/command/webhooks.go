package command

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"time"
)

// hookAnswer is what the commands read of a subscription. Without Webhook it is a consumer
// that reads.
type hookAnswer struct {
	Source, Consumer string
	Snapshot         bool
	Lag              struct {
		Positions int64
		Seconds   float64
	}
	Webhook *struct {
		Status, By, Reason, Error, Announces string
		Until                                time.Time
		Parked                               int64
	}
}

// state says in words whether it is sent changes, and what keeps it from that.
func (a hookAnswer) state() string {
	w := a.Webhook
	text := w.Status
	switch w.Status {
	case "active":
		if a.Snapshot {
			text += ", a snapshot"
		}
	case "waiting":
		text += " until " + at(w.Until)
	default:
		if w.By != "" {
			text += " by " + w.By
		}
		if w.Reason != "" {
			text += ": " + w.Reason
		}
	}
	return text
}

var hooksList = Command{
	Name:  "webhooks",
	Short: "List the outgoing webhooks, how far each is behind, and what holds it up",
	About: `POSITIONS is how many positions the feed has that were not sent, BEHIND for how long the oldest
change has waited, or a snapshot has been under way. PARKED entities were refused and wait for their next try. The
state is active; waiting: the receiver does not answer; paused; or disabled: it has answered 410.`,
	Example: "tarn webhooks",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, _ []string) error { return c.webhooks(ctx) })
	},
}

var hooksPause = Command{
	Name: "webhooks pause", Args: "NAME",
	Short:   "Send nothing to a webhook until resumed; what changes waits in the feed",
	Example: "tarn webhooks pause billing --reason 'the receiver moves'",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return reasoned(set, func(ctx context.Context, c *connection, reason map[string]string, args []string) error {
			return c.steer(ctx, reason, args[0], "pause")
		})
	},
}

var hooksResume = Command{
	Name: "webhooks resume", Args: "NAME",
	Short:   "Send to a webhook again that is paused or disabled; what is parked is due at once",
	Example: "tarn webhooks resume billing",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			return c.steer(ctx, nil, args[0], "resume")
		})
	},
}

var hooksRewind = Command{
	Name: "webhooks rewind", Args: "NAME",
	Short: "Send to a webhook from another place of the feed",
	About: `What is sent again has the same ids. With --after now, what waits is never sent. A cursor from which
nothing can be read any more is never good again: rewind to snapshot.`,
	Example: "tarn webhooks rewind billing --after K2WQ7ZJ4.18347.PX6L3QYA",
	Wrong:   "nothing can be read from the cursor any more",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		after := set.String("after", "snapshot", "begin behind this `CURSOR`, or: now, snapshot")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			err := c.steer(ctx, map[string]string{"after": *after}, args[0], "rewind")
			if isRefused(err, "cursor-gone") {
				_, _ = fmt.Fprintf(c.env.Err, "tarn webhooks rewind: %v\n", err)
				return errWrong
			}
			return err
		})
	},
}

// webhooks prints those among the subscriptions.
func (c *connection) webhooks(ctx context.Context) error {
	var list struct{ Items []json.RawMessage }
	if _, err := c.get(ctx, &list, nil, "subscriptions"); err != nil {
		return err
	}
	t := newTable(c.env.Out, "NAME", "SOURCE", "STATE", "POSITIONS", "BEHIND", "PARKED", "LAST ERROR")
	for _, raw := range list.Items {
		var a hookAnswer
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("%s answered a subscription that cannot be read: %w", c.api, err)
		}
		switch {
		case a.Webhook == nil:
		case c.json:
			c.line(raw)
		default:
			t.row(a.Consumer, a.Source, a.state(), fmt.Sprint(a.Lag.Positions), span(a.Lag.Seconds), fmt.Sprint(a.Webhook.Parked), a.Webhook.Error)
		}
	}
	switch {
	case c.json:
	case t.rows == 0:
		c.env.printf("no webhook is configured\n")
	default:
		t.flush()
	}
	return nil
}

// steer asks for what the reconciler that sends does.
func (c *connection) steer(ctx context.Context, body any, name, act string) error {
	var got struct{ Consumer, Asked string }
	raw, err := c.post(ctx, &got, body, "subscriptions", name, act)
	switch {
	case err != nil:
		return err
	case c.json:
		c.line(raw)
	default:
		c.env.printf("%s: the reconciler does the %s within seconds\n", printable(got.Consumer), printable(got.Asked))
	}
	return nil
}
