package command

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"strings"
	"time"
)

var changesCommand = Command{
	Name:  "changes",
	Short: "Follow what changes in the mirror, and what becomes of commands, one line a change",
	About: `From now on, until it is interrupted; --after snapshot begins with all that the mirror holds,
--after CURSOR with what came after that. At its end it prints the cursor to go on with to
standard error. A cursor from which nothing can be read any more is never good again: begin
with --after snapshot.`,
	Example: "tarn changes --source lemon --kind order,account",
	Wrong:   "nothing can be read from the cursor any more",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := &following{}
		set.StringVar(&f.source, "source", "", "of this `SOURCE`; default: the only one there is")
		set.StringVar(&f.kinds, "kind", "", "only of entities of these `KINDS`, with commas between")
		set.StringVar(&f.types, "type", "", "entity or command: only changes of entities, or what becomes of commands; default: both or, with --kind, entities")
		set.StringVar(&f.after, "after", "now", "begin behind this `CURSOR`, or: now, snapshot")
		set.BoolVar(&f.once, "once", false, "end when there are no more for now")
		return connected(set, func(ctx context.Context, c *connection, _ []string) error { return c.changes(ctx, f) })
	},
}

// following has the flags of the command.
type following struct {
	source, kinds, types, after string
	once                        bool
}

// changeAnswer is what the command reads of a change.
type changeAnswer struct {
	Type, Subject string
	Time          time.Time
	Data          struct {
		Version                  int64
		Status, Kind, Op, Reason string
	}
}

// line is the change for people: when, what, which entity and version, its status; of a
// command what it does, and why it is not done.
func (a changeAnswer) line() string {
	text := fmt.Sprintf("%s  %s  %s  version %d", at(a.Time), a.Type[strings.LastIndexByte(a.Type, '.')+1:], a.Subject, a.Data.Version)
	if a.Data.Status != "" {
		text += "  " + a.Data.Status
	}
	if a.Data.Op != "" {
		text += "  " + a.Data.Kind + " " + a.Data.Op
	}
	if a.Data.Reason != "" {
		text += "  " + a.Data.Reason
	}
	return printable(text)
}

// changesWait is how long one request waits for a change, changesAtOnce how many an answer
// has at most.
const changesWait, changesAtOnce = "30s", "500"

// changes prints changes as they come, until ctx ends.
func (c *connection) changes(ctx context.Context, f *following) error {
	if f.source == "" {
		if err := c.onlySource(ctx, f); err != nil {
			return err
		}
	}
	q := url.Values{"source": {f.source}, "after": {f.after}, "limit": {changesAtOnce}}
	if f.kinds != "" {
		q["kind"] = strings.Split(f.kinds, ",")
	}
	if f.types != "" {
		q["type"] = strings.Split(f.types, ",")
	}
	defer func() {
		if after := q.Get("after"); after != f.after {
			_, _ = fmt.Fprintf(c.env.Err, "go on with --after %s\n", printable(after))
		}
	}()
	for {
		var page struct {
			Items []json.RawMessage
			After string
			More  bool
		}
		_, err := c.get(ctx, &page, q, "changes")
		switch {
		case ctx.Err() != nil: // interrupted, as it is meant to end
			return nil
		case isRefused(err, "cursor-gone"):
			_, _ = fmt.Fprintf(c.env.Err, "tarn changes: %v\n", err)
			return errWrong
		case err != nil:
			return err
		}
		for _, raw := range page.Items {
			if err := c.change(raw); err != nil {
				return err
			}
		}
		q.Set("after", page.After)
		if f.once && !page.More {
			return nil
		}
		if !f.once {
			q.Set("wait", changesWait)
		}
	}
}

// change prints one.
func (c *connection) change(raw json.RawMessage) error {
	if c.json {
		c.line(raw)
		return nil
	}
	var a changeAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("%s answered a change that cannot be read: %w", c.api, err)
	}
	c.env.printf("%s\n", a.line())
	return nil
}

// onlySource fills in the source, if there is one.
func (c *connection) onlySource(ctx context.Context, f *following) error {
	var fleet struct {
		Sources []struct{ Source string }
	}
	if _, err := c.get(ctx, &fleet, nil, "fleet"); err != nil {
		return err
	}
	if len(fleet.Sources) == 1 {
		f.source = fleet.Sources[0].Source
		return nil
	}
	var names []string
	for _, s := range fleet.Sources {
		names = append(names, s.Source)
	}
	return misused("which source? --source is one of %s", strings.Join(names, ", "))
}
