package command

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

var events = Command{
	Name: "events", Args: "[ID]",
	Short: "List the event log, or tell one event's story",
	About: `Without an id: the newest events first. With --follow: what comes, as it comes, the oldest
first, until it is interrupted. With an id: when it came, what it names, which fetch covered
it; --follow waits until it is settled.`,
	Example: "tarn events --source lemon --status dead --since 24h",
	Wrong:   "the event whose story was told is a dead letter",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source", "kind", "entity", "type", "status", "note").between().limited()
		follow := set.Bool("follow", false, "go on with what comes")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 1 {
				return c.story(ctx, args[0], set.Lookup("source").Value.String(), *follow)
			}
			q, err := f.query(c.env.Now())
			switch {
			case err != nil:
				return err
			case *follow:
				return c.follow(ctx, q)
			}
			return listing[eventAnswer]{
				path: []string{"events"}, query: q, most: f.limit, heads: eventHeads, row: eventAnswer.row, none: "no event",
			}.print(ctx, c)
		})
	},
}

// eventAnswer is what the command reads of an event.
type eventAnswer struct {
	ID, Source, Type, Status, Error, Note string
	CreatedAt                             time.Time `json:"created_at"`
	ReceivedAt                            time.Time `json:"received_at"`
	ProcessedAt                           time.Time `json:"processed_at"`
	TraceID                               string    `json:"trace_id"`
	TraceURL                              string    `json:"trace_url"`
	Attempts                              int
	Duplicates                            int64
	OutOfOrder                            bool `json:"out_of_order"`
	Overtaken, Lagging, Unnamed, Undated  bool
	PayloadDiffers                        bool `json:"payload_differs"`
	ParentsDiffer                         bool `json:"parents_differ"`
	Entities                              []struct {
		Kind, ID, Status string
		LastError        string    `json:"last_error"`
		NextAttemptAt    time.Time `json:"next_attempt_at"`
		CoveredBy        *struct {
			Claim     int64
			FetchedAt time.Time `json:"fetched_at"`
		} `json:"covered_by"`
	}
}

// settled reports whether nothing more will become of the event by itself.
func (e eventAnswer) settled() bool { return e.Status != "pending" && e.Status != "retrying" }

var eventHeads = []string{"RECEIVED", "SOURCE", "TYPE", "ID", "STATUS", "ABOUT", "ERROR"}

func (e eventAnswer) row() []string {
	about := e.Note
	if len(e.Entities) > 0 {
		about = e.Entities[0].Kind + " " + e.Entities[0].ID
	}
	return []string{at(e.ReceivedAt), e.Source, e.Type, e.ID, e.Status, about, e.Error}
}

// pollEvery is the time between two looks at what is followed.
const pollEvery = time.Second

// late is how much later than others the row of an event may be written.
const late = 30 * time.Second

// follow prints events as they are logged, until ctx ends.
func (c *connection) follow(ctx context.Context, q url.Values) error {
	from := c.env.Now()
	if !q.Has("from") {
		q.Set("from", from.UTC().Format(time.RFC3339Nano))
	}
	type id struct{ source, id string }
	seen := map[id]time.Time{}
	for {
		var fresh []eventAnswer
		var raws []json.RawMessage
		err := each(ctx, c, 1<<30, q, func(e eventAnswer, raw json.RawMessage) bool {
			if _, known := seen[id{e.Source, e.ID}]; !known {
				seen[id{e.Source, e.ID}] = e.ReceivedAt
				fresh, raws = append(fresh, e), append(raws, raw)
			}
			return true
		}, "events")
		switch {
		case ctx.Err() != nil: // interrupted, as it is meant to end
			return nil
		case err != nil:
			return err
		}
		for i, e := range slices.Backward(fresh) {
			if c.json {
				c.line(raws[i])
				continue
			}
			c.env.printf("%s\n", printable(strings.TrimSpace(strings.Join(e.row(), "  "))))
		}
		if len(fresh) > 0 {
			from = fresh[0].ReceivedAt.Add(-late)
			for k, received := range seen {
				if received.Before(from) {
					delete(seen, k)
				}
			}
			q.Set("from", from.UTC().Format(time.RFC3339Nano))
		}
		if !loops.Sleep(ctx, pollEvery) {
			return nil
		}
	}
}

// story tells what became of one event, once it is settled if follow is set.
func (c *connection) story(ctx context.Context, id, source string, follow bool) error {
	q := url.Values{}
	if source != "" {
		q.Set("source", source)
	}
	var e eventAnswer
	raw, err := c.get(ctx, &e, q, "events", id)
	for follow && (err != nil && isRefused(err, "not-found") || err == nil && !e.settled()) {
		if !loops.Sleep(ctx, pollEvery) {
			return ctx.Err()
		}
		raw, err = c.get(ctx, &e, q, "events", id)
	}
	if err != nil {
		return err
	}
	if c.json {
		c.line(raw)
	} else {
		c.tell(e)
	}
	if e.Status == "dead" {
		return errWrong
	}
	return nil
}

func (c *connection) tell(e eventAnswer) {
	c.env.printf("%s\n", printable(fmt.Sprintf("%s %s of %s: %s", e.Type, e.ID, e.Source, e.Status)))
	step := func(t time.Time, format string, args ...any) {
		if t.IsZero() {
			return
		}
		c.env.printf("  %s  %s\n", t.UTC().Format("2006-01-02 15:04:05.000Z"), printable(fmt.Sprintf(format, args...)))
	}
	step(e.CreatedAt, "made at the provider")
	step(e.ReceivedAt, "received%s", map[bool]string{true: fmt.Sprintf(", and %d times again", e.Duplicates)}[e.Duplicates > 0])
	for _, o := range e.Entities {
		if o.CoveredBy != nil {
			step(o.CoveredBy.FetchedAt, "%s %s fetched (fetch %d of it): %s", o.Kind, o.ID, o.CoveredBy.Claim, o.Status)
		}
	}
	step(e.ProcessedAt, "settled")
	for _, o := range e.Entities {
		if o.CoveredBy == nil || o.CoveredBy.FetchedAt.IsZero() {
			text := fmt.Sprintf("%s %s: %s", o.Kind, o.ID, o.Status)
			if !o.NextAttemptAt.IsZero() {
				text += fmt.Sprintf(", next try %s, after %s", at(o.NextAttemptAt), o.LastError)
			}
			c.env.printf("  %s\n", printable(text))
		}
	}
	if e.Attempts > 0 {
		c.env.printf("  %s\n", printable(fmt.Sprintf("%d failed attempts, the last: %s", e.Attempts, e.Error)))
	}
	if odd := e.odd(); odd != "" {
		c.env.printf("  %s\n", printable(odd))
	}
	if e.TraceID != "" {
		c.env.printf("  trace %s\n", printable(cmp.Or(e.TraceURL, e.TraceID)))
	}
}

// odd names the flags of an event.
func (e eventAnswer) odd() string {
	var odd []string
	for _, f := range []struct {
		set  bool
		text string
	}{
		{e.OutOfOrder, "came after a newer event"},
		{e.Overtaken, "the entity was past it"},
		{e.Lagging, "the provider did not show it in time"},
		{e.PayloadDiffers, "came again with another body"},
		{e.ParentsDiffer, "names other parents than the mirror"},
		{e.Unnamed, "does not name what it is about"},
		{e.Undated, "its time cannot be read"},
		{e.Note != "", "note " + e.Note},
	} {
		if f.set {
			odd = append(odd, f.text)
		}
	}
	return strings.Join(odd, "; ")
}
