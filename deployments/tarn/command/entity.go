package command

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

var entityCommand = Command{
	Name: "entity", Args: "SOURCE KIND ID",
	Short: "Show an entity of the mirror, or fetch it now",
	About: `Shows its state as the provider wrote it, how fresh it is, and its newest events; and whether the work of
an event was discarded that the state may lack.`,
	Example: "tarn entity lemon order bord_1 --sync",
	Wrong:   "the mirror knows that it is behind the provider",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "parent")
		sync := set.Bool("sync", false, "fetch it from the provider first, and wait for it; needs an operator's token")
		wait := set.Duration("wait", 10*time.Second, "how long --sync waits, as a `TIME`, 30s at most")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			if *sync {
				if err := c.sync(ctx, q, *wait, args); err != nil {
					return err
				}
			}
			return c.entity(ctx, q, args)
		})
	},
}

type entityAnswer struct {
	Source, Kind, ID, Status string
	Parents                  map[string]string
	State                    json.RawMessage
	Terminal                 bool
	DeletedAt                time.Time `json:"deleted_at"`
	SyncedAt                 time.Time `json:"synced_at"`
	VerifiedAt               time.Time `json:"verified_at"`
	Behind                   *struct {
		Since  time.Time
		Reason string
		Parked *parkedAnswer
	}
	Discarded *struct {
		At            time.Time
		Letter, Event string
	}
}

// sync fetches an entity and waits until it is written.
func (c *connection) sync(ctx context.Context, q url.Values, wait time.Duration, key []string) error {
	waiting := url.Values{"wait": {wait.String()}}
	for name, values := range q {
		waiting[name] = values
	}
	var got syncAnswer
	_, err := c.call(ctx, "POST", waiting, nil, &got, "entities", key[0], key[1], key[2], "sync")
	switch {
	case err != nil:
		return err
	case got.Status == "synced":
		return nil
	case got.Status == "failed":
		return fmt.Errorf("not fetched: workers gave %s up: %s", printable(got.ID), printable(got.Error))
	}
	why := ""
	if got.Parked != nil {
		why = "\n  " + printable(got.Parked.why())
	}
	return fmt.Errorf("not fetched within %s: it is %s as %s%s\n  %s/v1/syncs/%[3]s says what becomes of it, tarn status what stands in the way",
		wait, printable(got.Status), printable(got.ID), why, c.api)
}

// syncAnswer is what the command reads of the answer to a sync.
type syncAnswer struct {
	Status, ID, Error string
	Parked            *parkedAnswer
}

// newest is how many events of an entity are shown.
const newest = 10

func (c *connection) entity(ctx context.Context, q url.Values, key []string) error {
	var e entityAnswer
	raw, err := c.get(ctx, &e, q, "entities", key[0], key[1], key[2])
	if err != nil {
		return err
	}
	if c.json {
		c.line(raw)
	} else {
		c.describe(e)
		err = listing[eventAnswer]{
			path: []string{"entities", key[0], key[1], key[2], "events"}, query: q, most: newest,
			heads: []string{"RECEIVED", "EVENT", "ID", "STATUS"},
			row:   func(e eventAnswer) []string { return []string{at(e.ReceivedAt), e.Type, e.ID, e.Status} },
			none:  "no event names it",
		}.print(ctx, c)
	}
	if err == nil && e.Behind != nil {
		return errWrong
	}
	return err
}

func (c *connection) describe(e entityAnswer) {
	field := func(name, value string) {
		if value != "" {
			c.env.printf("%-10s %s\n", name, printable(value))
		}
	}
	field("entity", e.Source+" "+e.Kind+" "+e.ID)
	for _, name := range slices.Sorted(maps.Keys(e.Parents)) {
		field("of "+name, e.Parents[name])
	}
	field("status", e.Status+map[bool]string{true: ", which is final"}[e.Terminal && e.Status != ""])
	field("deleted", at(e.DeletedAt))
	field("fetched", at(e.SyncedAt))
	field("true at", at(e.VerifiedAt))
	if e.Behind != nil {
		field("behind", "since "+at(e.Behind.Since)+": "+e.Behind.Reason)
		if e.Behind.Parked != nil {
			field("", e.Behind.Parked.why())
		}
	}
	if d := e.Discarded; d != nil {
		field("discarded", fmt.Sprintf("work of event %s was discarded at %s (%s): the state may lack it", d.Event, at(d.At), d.Letter))
		field("", fmt.Sprintf("tarn entity %s %s %s --sync fetches it again", e.Source, e.Kind, e.ID))
	}
	var state bytes.Buffer
	if json.Indent(&state, e.State, "", "  ") == nil && len(e.State) > 0 {
		c.env.printf("\n%s\n\n", state.String())
	}
}
