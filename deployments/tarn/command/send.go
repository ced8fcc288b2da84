package command

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

var sendCommand = Command{
	Name: "send", Args: "SOURCE KIND OP",
	Short: "Ask for a change at the provider, and wait for it",
	About: `tarn provider show lists the operations of each kind. The key names the wish: the same key
again is the same change, so a command line that failed is repeated with its --key.`,
	Example: `tarn send lemon order cancel --id bord_1 --parent account=cusa_1 --key cancel-bord_1
tarn send lemon order create --ref o-42 --parent account=cusa_1 --body @order.json`,
	Wrong: "the change was not made, or is not over in time",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		w := wish{}
		set.StringVar(&w.key, "key", "", "the `KEY` of the wish, 1 to 255 bytes; default: a random one, which is printed")
		set.StringVar(&w.id, "id", "", "`ID` of the entity to be changed")
		set.StringVar(&w.ref, "ref", "", "your own `NAME` for the entity: of a create always, later in the place of its id")
		set.Var(&w.parents, "parent", "a parent of the entity, as `KIND=ID`; may be repeated")
		set.Var(&w.fields, "field", "a field to be set to a text, as `NAME=TEXT`; may be repeated")
		set.StringVar(&w.body, "body", "", "the fields to be set, as a `JSON` object, or @FILE that holds it")
		set.BoolVar(&w.bulk, "bulk", false, "let everything more urgent go first")
		wait := set.Duration("wait", 10*time.Second, "how long to wait until it is over, as a `TIME`, 55s at most")
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			if *wait < 0 || *wait > 55*time.Second {
				return misused("--wait %s: want 0s to 55s", *wait)
			}
			body, err := w.request(args)
			if err != nil {
				return err
			}
			if c.key = w.key; c.key == "" {
				c.key = "tarn-" + strings.ToLower(rand.Text())
				_, _ = fmt.Fprintf(c.env.Err, "key %s\n", c.key)
			}
			q := url.Values{}
			if *wait > 0 {
				q.Set("wait", wait.String())
			}
			var got commandAnswer
			raw, err := c.call(ctx, http.MethodPost, q, body, &got, changesPath)
			if err != nil {
				return err
			}
			if err := c.command(got, raw); err != nil || got.State == "done" {
				return err
			}
			if *wait > 0 {
				_, _ = fmt.Fprintf(c.env.Err, "it goes on; tarn command %s --follow waits for it\n", printable(got.ID))
				return errWrong
			}
			return nil
		})
	},
}

// wish is what the flags of send say.
type wish struct {
	key, id, ref, body string
	parents, fields    texts
	bulk               bool
}

// request is the body of the request.
func (w *wish) request(args []string) (map[string]any, error) {
	parents, err := w.parents.pairs("parent")
	if err != nil {
		return nil, err
	}
	given, err := w.fields.pairs("field")
	if err != nil {
		return nil, err
	}
	out := map[string]any{"source": args[0], "kind": args[1], "op": args[2]}
	for name, value := range map[string]string{"id": w.id, "ref": w.ref} {
		if value != "" {
			out[name] = value
		}
	}
	if len(parents) > 0 {
		out["parents"] = parents
	}
	if w.bulk {
		out["bulk"] = true
	}
	text, err := secret(w.body)
	switch {
	case err != nil:
		return nil, err
	case text != "" && len(given) > 0:
		return nil, misused("give --body or --field, not both")
	case text != "":
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, misused("--body is no JSON object: %w", err)
		}
		out["body"] = json.RawMessage(text)
	case len(given) > 0:
		out["body"] = given
	}
	return out, nil
}
