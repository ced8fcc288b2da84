package command

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

var findCommand = Command{
	Name: "find", Args: "ID",
	Short:   "Find the entities that have an id, of any source and kind",
	Example: "tarn find bord_1",
	Wrong:   "the mirror has none",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error { return c.find(ctx, args[0]) })
	},
}

// foundAnswer is an entity that has the id.
type foundAnswer struct {
	Source, Kind, ID, Status string
	Parents                  map[string]string
	VerifiedAt               time.Time `json:"verified_at"`
	DeletedAt                time.Time `json:"deleted_at"`
	ErasedAt                 time.Time `json:"erased_at"`
}

// state is its status, or why it has none.
func (f foundAnswer) state() string {
	switch {
	case !f.ErasedAt.IsZero():
		return "erased"
	case !f.DeletedAt.IsZero():
		return "deleted"
	case f.VerifiedAt.IsZero():
		return "not fetched yet"
	}
	return f.Status
}

// above is its parents, as --parent takes them.
func (f foundAnswer) above() string {
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(f.Parents)) {
		all = append(all, kind+"/"+f.Parents[kind])
	}
	return strings.Join(all, " ")
}

func (c *connection) find(ctx context.Context, id string) error {
	var got struct{ Items []json.RawMessage }
	if _, err := c.get(ctx, &got, url.Values{"id": {id}}, "entities"); err != nil {
		return err
	}
	t := newTable(c.env.Out, "SOURCE", "KIND", "ID", "UNDER", "STATUS", "TRUE AT")
	for _, raw := range got.Items {
		if c.json {
			c.line(raw)
			continue
		}
		var f foundAnswer
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("%s answered an item that cannot be read: %w", c.api, err)
		}
		t.row(f.Source, f.Kind, f.ID, f.above(), f.state(), at(f.VerifiedAt))
	}
	switch {
	case len(got.Items) == 0:
		if !c.json {
			c.env.printf("the mirror has no entity %s\n", printable(id))
		}
		return errWrong
	case !c.json:
		t.flush()
	}
	return nil
}
