package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Difference is an entity whose mirror is not the truth.
type Difference struct {
	Kind, ID string
	// Mirror and Truth are the states; nil where there is none.
	Mirror, Truth []byte
	// Under and Parent are its parents in the mirror and in truth, where
	// that differs.
	Under  map[string]string
	Parent string
}

func (d Difference) String() string {
	if d.Parent != "" {
		return fmt.Sprintf("%s/%s is under %s, in the mirror under %v", d.Kind, d.ID, d.Parent, d.Under)
	}
	return fmt.Sprintf("%s/%s\n  mirror %s\n  truth  %s", d.Kind, d.ID, orDefault(string(d.Mirror), "has none"), orDefault(string(d.Truth), "has none"))
}

// Untrue compares every document of the mirror with the truth, and the other way
// round every entity with a GET of its own, and returns what differs and how many
// were compared.
func (f *Fleet) Untrue(ctx context.Context) (bad []Difference, compared int, err error) {
	c, err := f.comparison(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer c.client.Close()
	for _, k := range c.definition.Kinds() {
		for filter := (storage.EntityFilter{Source: f.plan.Source, Kind: k.Name, Limit: 200}); ; {
			page, err := f.Store.Entities(ctx, filter)
			if err != nil {
				return nil, 0, fmt.Errorf("read the mirror: %w", err)
			}
			for _, doc := range page.Items {
				if err := c.compare(ctx, doc); err != nil {
					return nil, 0, err
				}
			}
			if filter.Cursor = page.NextCursor; filter.Cursor == "" {
				break
			}
		}
	}
	c.unseen()
	return c.bad, len(c.seen), nil
}

// comparison is one look at mirror and truth.
type comparison struct {
	definition *provider.Definition
	client     *provider.Client
	truth      map[string]sim.Truth
	seen       map[string]bool
	bad        []Difference
}

func (f *Fleet) comparison(ctx context.Context) (*comparison, error) {
	definition, err := f.Definition()
	if err != nil {
		return nil, err
	}
	truth, err := f.Simulator.Truth(ctx)
	if err != nil {
		return nil, err
	}
	client, err := provider.NewClient(definition, provider.ClientOptions{BaseURL: "http://" + f.Simulator.Addr + "/v1", Key: APIKey})
	if err != nil {
		return nil, err
	}
	return &comparison{definition: definition, client: client, truth: truth, seen: map[string]bool{}}, nil
}

// Definition is the one of the fleet's provider.
func (f *Fleet) Definition() (*provider.Definition, error) {
	d, err := provider.Load(orDefault(f.plan.Definition, f.plan.Provider))
	if err != nil || !f.plan.Scoped {
		return d, err
	}
	return d.Scoped()
}

func (c *comparison) compare(ctx context.Context, doc *storage.Document) error {
	kind, id := doc.Key.Kind, doc.Key.ID
	c.seen[kind+"/"+id] = true
	line, listed := c.truth[kind+"/"+id]
	if listed && line.Deleted {
		if doc.DeletedAt.IsZero() {
			c.bad = append(c.bad, Difference{Kind: kind, ID: id, Mirror: doc.Raw})
		}
		return nil
	}
	want, err := c.want(ctx, doc, line, listed)
	if err != nil {
		return fmt.Errorf("the truth of %s/%s: %w", kind, id, err)
	}
	switch {
	case string(want.Raw) != string(doc.Raw) || !doc.DeletedAt.IsZero():
		c.bad = append(c.bad, Difference{Kind: kind, ID: id, Mirror: doc.Raw, Truth: want.Raw})
	case listed && line.Parent != "" && line.Parent != id && !slices.Contains(slices.Collect(maps.Values(doc.Parents)), line.Parent):
		c.bad = append(c.bad, Difference{Kind: kind, ID: id, Mirror: doc.Raw, Truth: want.Raw, Under: doc.Parents, Parent: line.Parent})
	}
	return nil
}

// want reads the truth as a worker would. What it does not list, being computed
// from others, is asked of the API.
func (c *comparison) want(ctx context.Context, doc *storage.Document, line sim.Truth, listed bool) (*provider.Snapshot, error) {
	if listed {
		return c.definition.Read(doc.Key.Kind, line.State)
	}
	return c.client.Fetch(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, "comparison")
}

// unseen adds what the mirror should have and has not: every entity with a GET of its
// own.
func (c *comparison) unseen() {
	for name, t := range c.truth {
		k := c.definition.Kind(t.Kind)
		if k != nil && k.Shape == provider.ShapeEntity && !c.seen[name] && !t.Deleted {
			c.bad = append(c.bad, Difference{Kind: t.Kind, ID: t.ID, Truth: t.State})
		}
	}
}

// Regressed returns where the mirror showed a version after a newer one, and how many
// states it has looked at, of entities with a GET of their own: every version of
// these is known. A kind of which the truth has nothing never changes, as the
// instruments of a market.
//
// A list inside an entity may be longer than its GET shows. A worker asks for the whole
// list afterwards, and the entity may have changed meanwhile. So the version of a state
// is that of its first request.
func (f *Fleet) Regressed(ctx context.Context) (bad []string, shown int, err error) {
	definition, err := f.Definition()
	if err != nil {
		return nil, 0, err
	}
	truth, err := f.Simulator.Truth(ctx)
	if err != nil {
		return nil, 0, err
	}
	changes := map[string]bool{} // by kind
	for _, t := range truth {
		changes[t.Kind] = true
	}
	versions := map[string]map[string][]int{} // entity, what the first request shows → versions
	last := map[string]int{}
	var failed error
	err = f.Database.Shown(ctx, func(s Shown) {
		name := s.Kind + "/" + s.ID
		if k := definition.Kind(s.Kind); k == nil || k.Shape != provider.ShapeEntity || !changes[s.Kind] || failed != nil {
			return
		}
		if versions[name] == nil {
			if versions[name], failed = f.versions(ctx, definition, s.Kind, s.ID); failed != nil {
				return
			}
		}
		shown++
		all, known := versions[name][firstShown(s.Raw)]
		i := slices.IndexFunc(all, func(v int) bool { return v >= last[name] })
		switch {
		case !known:
			bad = append(bad, fmt.Sprintf("%s: claim %d showed what it never was: %s", name, s.Claim, s.Raw))
		case i < 0:
			bad = append(bad, fmt.Sprintf("%s: claim %d showed version %d after %d", name, s.Claim, all[len(all)-1], last[name]))
		default:
			last[name] = all[i]
		}
	})
	if failed != nil {
		err = failed
	}
	return bad, shown, err
}

// versions are the states of an entity as a worker reads them, with their
// numbers.
func (f *Fleet) versions(ctx context.Context, definition *provider.Definition, kind, id string) (map[string][]int, error) {
	history, err := f.Simulator.History(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	all := map[string][]int{}
	for _, h := range history {
		snap, err := definition.Read(kind, h.State)
		if err != nil {
			return nil, fmt.Errorf("read version %d of %s/%s: %w", h.Version, kind, id, err)
		}
		first := firstShown(snap.Raw)
		all[first] = append(all[first], h.Version)
	}
	return all, nil
}

// firstShown is what of a state its first request answers: all but the lists inside an
// object of Stripe that have more than ten elements.
func firstShown(raw []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return string(raw)
	}
	cut := false
	for name, v := range members {
		var list struct {
			Object string            `json:"object"`
			Data   []json.RawMessage `json:"data"`
		}
		if json.Unmarshal(v, &list) == nil && list.Object == "list" && len(list.Data) > 10 {
			members[name], cut = nil, true
		}
	}
	if !cut {
		return string(raw)
	}
	text, _ := json.Marshal(members) // JSON already
	return string(text)
}
