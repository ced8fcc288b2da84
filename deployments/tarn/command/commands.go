package command

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// changesPath is where the api has commands.
const changesPath = "commands"

// commandAnswer is what the commands read of a command of the api: a change at the provider.
type commandAnswer struct {
	ID, Key, Source, Kind, Op, Ref, Entity, State, By, Reason string
	Held                                                      bool
	N                                                         int64
	At                                                        time.Time
	DueAt                                                     time.Time `json:"due_at"`
	EndedAt                                                   time.Time `json:"ended_at"`
	WaitsFor                                                  []string  `json:"waits_for"`
	Attempts                                                  []struct {
		At        time.Time
		Status    int
		Error     string
		RequestID string `json:"request_id"`
	}
	Unclear *struct {
		Since    time.Time
		Strategy string
	}
	Asked *struct {
		Since      time.Time
		Reason     string
		Candidates []string
	}
	Result *struct {
		Status int
		ID     string
		At     time.Time
		Body   json.RawMessage
	}
	CoveredBy *struct {
		Claim     int64
		FetchedAt time.Time `json:"fetched_at"`
	} `json:"covered_by"`
	TraceID  string `json:"trace_id"`
	TraceURL string `json:"trace_url"`
}

func (c commandAnswer) over() bool {
	return c.State == "done" || c.State == "dead" || c.State == "cancelled" || c.State == "discarded"
}

// what names the change: "create order o1 (bord_1)".
func (c commandAnswer) what() string {
	text := c.Op + " " + c.Kind + " " + cmp.Or(c.Ref, c.Entity)
	if c.Ref != "" && c.Entity != "" {
		text += " (" + c.Entity + ")"
	}
	return text
}

// trouble says what stands in the way, in a few words.
func (c commandAnswer) trouble() string {
	switch {
	case c.Held:
		return "held until an operator releases the source's commands"
	case c.Asked != nil:
		return c.Asked.Reason
	case c.Reason != "":
		return c.Reason
	case len(c.WaitsFor) > 0:
		return "waits for the id of " + strings.Join(c.WaitsFor, ", ")
	case c.Unclear != nil:
		return "it is being found out what became of it, by " + cmp.Or(c.Unclear.Strategy, "the next strategy")
	case !c.over() && len(c.Attempts) > 0:
		return c.Attempts[len(c.Attempts)-1].Error
	}
	return ""
}

var changesList = Command{
	Name:    changesPath,
	Short:   "List the changes asked for at the provider, newest first",
	Example: "tarn commands --state dead --source lemon",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source", "kind", "op", "entity", "ref", "state").between().limited()
		asked := set.Bool("asked", false, "those that wait for an operator's word: short for --state asked")
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			if *asked {
				if q.Has("state") {
					return misused("give --asked or --state, not both")
				}
				q.Set("state", "asked")
			}
			return listing[commandAnswer]{
				path: []string{changesPath}, query: q, most: f.limit,
				heads: []string{"ASKED FOR", "ID", "SOURCE", "CHANGE", "STATE", "TRIED", "BY", "WHY"},
				row: func(c commandAnswer) []string {
					return []string{at(c.At), c.ID, c.Source, c.what(), c.State, fmt.Sprint(len(c.Attempts)), c.By, c.trouble()}
				},
				none: "no change was asked for",
			}.print(ctx, c)
		})
	},
}

var changeShow = Command{
	Name: "command", Args: "ID",
	Short:   "Show one change asked for at the provider, with its attempts",
	Example: "tarn command cmd_0af7651916cd43dd8448eb211c80319c --follow",
	Wrong:   "the change was not made, or waits for an operator's word",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		follow := set.Bool("follow", false, "wait until it is over, or waits for an operator")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			q := url.Values{}
			if *follow {
				q.Set("wait", followWait.String())
			}
			for {
				var got commandAnswer
				raw, err := c.get(ctx, &got, q, changesPath, args[0])
				if err != nil {
					return err
				}
				if !*follow || got.over() || got.Asked != nil {
					return c.command(got, raw)
				}
			}
		})
	},
}

// followWait is how long one request waits for the end of a change. It is less than what
// proxies commonly allow.
const followWait = 25 * time.Second

// command prints a command. One that was not done is wrong.
func (c *connection) command(got commandAnswer, raw json.RawMessage) error {
	if c.json {
		c.line(raw)
	} else {
		c.tellChange(got)
	}
	if got.State == "dead" || got.State == "asked" {
		return errWrong
	}
	return nil
}

func (c *connection) tellChange(got commandAnswer) {
	say := func(format string, args ...any) { c.env.printf("%s\n", printable(fmt.Sprintf(format, args...))) }
	step := func(t time.Time, format string, args ...any) {
		say("  %s  %s", t.UTC().Format("2006-01-02 15:04:05.000Z"), fmt.Sprintf(format, args...))
	}
	say("%s: %s", got.ID, got.State)
	say("  %s of %s, number %d there, key %s", got.what(), got.Source, got.N, got.Key)
	step(got.At, "asked for by %s", got.By)
	for _, a := range got.Attempts {
		text := a.Error
		if a.Status != 0 && text == "" {
			text = fmt.Sprintf("HTTP %d", a.Status)
		}
		if a.RequestID != "" {
			text += " (request " + a.RequestID + ")"
		}
		step(a.At, "%s", text)
	}
	switch r := got.Result; {
	case r == nil:
	case r.Status >= http.StatusMultipleChoices:
		step(r.At, "refused: %s", r.Body)
	default:
		step(r.At, "answered%s", map[bool]string{true: ", id " + r.ID}[r.ID != ""])
	}
	if v := got.CoveredBy; v != nil {
		step(v.FetchedAt, "fetched (fetch %d of it): the mirror shows it", v.Claim)
	}
	if got.over() {
		step(got.EndedAt, "%s", strings.TrimSuffix(got.State+": "+got.Reason, ": "))
	} else if why := got.trouble(); why != "" {
		say("  %s", why)
	}
	if !got.DueAt.IsZero() && !got.over() {
		say("  looked at again %s", at(got.DueAt))
	}
	if got.Asked != nil {
		for _, id := range got.Asked.Candidates {
			say("  it may have created %s", id)
		}
		say("  look at the provider, then: tarn commands resolve %s done [--id ID], or absent", got.ID)
	}
	if got.TraceID != "" {
		say("  trace %s", cmp.Or(got.TraceURL, got.TraceID))
	}
}

var changeCancel = Command{
	Name: changesPath + " cancel", Args: "ID",
	Short:   "Take a change back that was not sent yet",
	Example: "tarn commands cancel cmd_0af7651916cd43dd8448eb211c80319c",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			var got commandAnswer
			raw, err := c.call(ctx, http.MethodDelete, nil, nil, &got, changesPath, args[0])
			if err != nil {
				return err
			}
			return c.command(got, raw)
		})
	},
}

var changeRetry = Command{
	Name: changesPath + " retry", Args: "ID",
	Short:   "Ask for a dead change again, as it was",
	Example: "tarn commands retry cmd_0af7651916cd43dd8448eb211c80319c",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			return c.actOnChange(ctx, nil, args[0], "retry")
		})
	},
}

var changeDiscard = Command{
	Name: changesPath + " discard", Args: "ID",
	Short:   "Give a change up that is dead or waits for an operator's word",
	Example: "tarn commands discard cmd_0af7651916cd43dd8448eb211c80319c --reason 'the customer has withdrawn it'",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		reason := set.String("reason", "", "`WHY`, for the next reader. Required")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			if strings.TrimSpace(*reason) == "" {
				return misused("--reason is missing: say why, for the next reader")
			}
			return c.actOnChange(ctx, map[string]string{"reason": *reason}, args[0], "discard")
		})
	},
}

var changeResolve = Command{
	Name: changesPath + " resolve", Args: "ID OUTCOME",
	Short: "Say what became of a change whose answer was lost: done or absent",
	About: `done: the provider has made the change. absent: it has not, and the change is sent again.
Look at the provider first: absent of what was done makes it twice.`,
	Example: "tarn commands resolve cmd_0af7651916cd43dd8448eb211c80319c done --id bord_1",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		created := set.String("id", "", "with done, of a create: the `ID` of what it created")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			if args[1] != "done" && args[1] != "absent" {
				return misused("%q is no outcome: want done or absent", args[1])
			}
			body := map[string]string{"outcome": args[1]}
			if *created != "" {
				body["id"] = *created
			}
			return c.actOnChange(ctx, body, args[0], "resolve")
		})
	},
}

// actOnChange has the api act on a change, and prints it.
func (c *connection) actOnChange(ctx context.Context, body map[string]string, id, act string) error {
	var send any
	if body != nil {
		send = body
	}
	var got commandAnswer
	raw, err := c.post(ctx, &got, send, changesPath, id, act)
	if err != nil {
		return err
	}
	return c.command(got, raw)
}
