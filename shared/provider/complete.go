package provider

import (
	"context"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// completion is a list inside an entity. Providers show its first elements there, and
// a flag that more follow; the rest has a list of its own.
type completion struct {
	at    rawjson.Path // in the entity
	items rawjson.Path // of the elements, from there
	more  rawjson.Path // of the flag, from there
	list  endpoint
	pages *paginationSpec
}

// cut reports whether the completion's list is not whole in a state.
func (p *completion) cut(state rawjson.Value) bool {
	return isTrue(state.At(p.at).At(p.more))
}

// cut reports whether a list in a state is not whole, so that the state says less
// than a Fetch.
func (k *Kind) cut(state rawjson.Value) bool {
	return slices.ContainsFunc(k.complete, func(p completion) bool { return p.cut(state) })
}

// whole returns an entity with every list inside it read to its end: the elements
// stand in the place of those shown, the flag says false, and every other byte is as it
// came. from is the call that answered with the entity.
func (c *Client) whole(ctx context.Context, k *Kind, entity *rawjson.Doc, from call) (*rawjson.Doc, error) {
	var edits []rawjson.Edit
	for _, part := range k.complete {
		if !part.cut(entity.Root()) {
			continue
		}
		inner := entity.Root().At(part.at)
		shown := inner.At(part.items)
		if shown.Kind() != rawjson.Array {
			return nil, fate.Errorf(fate.Transient, "the answer says that %s has more elements, and has %s in place of the first", part.at, shown.Kind())
		}
		elements, err := c.rest(ctx, k, part, from)
		if err != nil {
			return nil, fmt.Errorf("read %s to the end: %w", part.at, err)
		}
		edits = append(edits, rawjson.Edit{Value: shown, Text: join(elements)}, rawjson.Edit{Value: inner.At(part.more), Text: cleared(inner.At(part.more))})
	}
	if len(edits) == 0 {
		return entity, nil
	}
	text := entity.Replace(edits)
	if int64(len(text)) > c.opts.MaxBody {
		return nil, fate.Errorf(fate.Permanent, "the entity with its lists is longer than %d bytes", c.opts.MaxBody)
	}
	doc, err := rawjson.Parse(text, rawjson.Options{})
	if err != nil {
		return nil, fate.Errorf(fate.Transient, "join lists: %w", err)
	}
	return doc, nil
}

// cleared returns a flag as the provider writes one that is not set.
func cleared(flag rawjson.Value) []byte {
	if flag.Kind() == rawjson.Number {
		return []byte("0")
	}
	return []byte("false")
}

// rest returns all elements of a list inside an entity. That the list is not found is
// no word about the entity, which has just been answered with.
func (c *Client) rest(ctx context.Context, k *Kind, part completion, from call) ([][]byte, error) {
	call, err := k.fill(part.list, from.ids)
	if err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	call.kind, call.pages, call.scope, call.why = k.Name+"."+part.at.String(), part.pages, from.scope, from.why
	if err := c.opts.Page(ctx); err != nil {
		return nil, err
	}
	elements, _, err := c.elements(ctx, nil, call)
	if fate.Is(err, fate.Gone) {
		return nil, fate.New(fate.Transient, err)
	}
	return elements, err
}

// parseComplete reads kinds.X.complete.
func (k *Kind) parseComplete(s *section, api apiSpec) {
	n := s.get("complete")
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		s.fail("complete", "is %s: want a list such as [{at: lines, path: /invoices/{invoice}/lines}]", describe(n))
		return
	}
	if k.Shape == ShapeList {
		s.fail("complete", "is not for a list: all of its pages are read anyway")
	}
	for _, e := range n.Content {
		part := s.r.section(e, s.path("complete"))
		p := completion{
			at: part.jsonPath("at"), more: part.jsonPath("more"), items: part.jsonPath("items"),
			list: endpoint{path: part.pathTemplate("path"), query: part.params("query")},
		}
		if p.at == nil {
			part.fail("at", "is missing: want the path, in the entity, of the object with the first elements and the flag")
		}
		if !p.list.given() {
			part.fail("path", "is missing: want the path of the list that has all elements")
		}
		p.pages = part.pagination(api, "path")
		if p.items == nil {
			p.items = p.pages.items
		}
		if p.more == nil {
			p.more = rawjson.Path{"has_more"}
		}
		part.checkQuery("query", p.list.query, p.pages, "")
		k.checkCompletion(part, p)
		part.done()
		k.complete = append(k.complete, p)
	}
}

// checkCompletion refuses a list that could never be asked for, or that is inside
// another one that is read to the end.
func (k *Kind) checkCompletion(s *section, p completion) {
	for _, name := range p.list.names() {
		if name != k.IDKey && !slices.Contains(k.ParentKeys, name) {
			s.fail("path", "needs {%s}, which %s does not have: get of the kind has {%s}", name, article(k.Name), joinNames(k.get.names()))
		}
	}
	for _, other := range k.complete {
		if n := min(len(other.at), len(p.at)); slices.Equal(other.at[:n], p.at[:n]) {
			s.fail("at", "is %q, and another list is at %q: neither may be inside the other", p.at, other.at)
		}
	}
}
