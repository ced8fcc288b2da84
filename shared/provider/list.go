package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// pageDepth is how deep a page of events may be nested: each event as deep as
// one that comes by itself, and the page round it.
const pageDepth = envelopeDepth + 16

// fetchList asks for all pages of a list kind and joins their elements, each
// with its text as it came, to one array. It is as old as its first page.
func (c *Client) fetchList(ctx context.Context, k *Kind, call call) (*Snapshot, error) {
	elements, sentAt, err := c.elements(ctx, k.id, call)
	if err != nil {
		return nil, err
	}
	doc, err := rawjson.Parse(join(elements), rawjson.Options{})
	if err != nil {
		return nil, fate.Errorf(fate.Transient, "join pages: %w", err)
	}
	return c.interpret(k, doc, sentAt)
}

// elements asks for all pages of a list and returns the texts of its elements, and when
// the first page was asked for.
func (c *Client) elements(ctx context.Context, id rawjson.Path, call call) (elements [][]byte, sentAt time.Time, err error) {
	var size int64
	begin := func() { elements, size, sentAt = nil, 0, time.Time{} }
	err = c.walk(ctx, id, call, begin, func(p *page) error {
		if sentAt.IsZero() {
			sentAt = p.sentAt
		}
		for _, v := range p.items {
			elements = append(elements, v.Raw())
			size += int64(len(v.Raw()))
		}
		if size > c.opts.MaxBody {
			return fate.Errorf(fate.Permanent, "list is longer than %d bytes", c.opts.MaxBody)
		}
		return nil
	})
	return elements, sentAt, err
}

func join(elements [][]byte) []byte {
	out := append([]byte{'['}, bytes.Join(elements, []byte{','})...)
	return append(out, ']')
}

// page is one page of a list.
type page struct {
	items  []rawjson.Value
	next   string // "": the last page
	sentAt time.Time
}

// page asks for one page of a list. One that is longer than is read is an error
// that says how to ask again.
func (c *Client) page(ctx context.Context, id rawjson.Path, call call, cursor string) (*page, error) {
	spec := call.pages
	at, err := spec.request(cursor, c.sizes.of(call.kind, spec.limit, c.opts.Now))
	if err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	here, err := at.call(c.base, call)
	if err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	a, err := c.ask(ctx, here)
	if errors.Is(err, errTooLong) {
		return nil, c.tooLong(call, at, err)
	}
	if err != nil {
		return nil, err
	}
	if id == nil {
		id = rawjson.Path{"id"}
	}
	p := &page{sentAt: a.sentAt}
	if p.items, err = spec.elements(a.doc.Root()); err == nil {
		p.next, err = at.next(&pageAnswer{c.base, here, a, p.items, id})
	}
	var classed *fate.Error
	if err != nil && !errors.As(err, &classed) {
		err = fate.New(fate.Transient, err) // not a page
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Item is one entity in a list.
type Item struct {
	Ref      event.Ref
	Snapshot *Snapshot
	// Cut: a list inside the entity is not whole, as the definition's complete says.
	// Only a Fetch reads it to the end, so that the element is not comparable.
	Cut bool
}

// ListPage is one page of the entities of a kind.
type ListPage struct {
	Items []Item
	// Next is the cursor of the next page, "" after the last.
	Next string
	// Unread says why elements could not be read: they have no usable id, say.
	// They hide no other element, but a list that has one shows less than there
	// is, so nothing may be concluded from what it lacks.
	Unread []error
	// SentAt is when the page was asked for.
	SentAt time.Time
}

// ListPage asks for one page of the entities of a kind under their parents.
// cursor is "" for the first page. Only kinds that are Listable can be asked
// for. Errors are classed as Fetch's are.
func (c *Client) ListPage(ctx context.Context, key ListKey, cursor, why string) (*ListPage, error) {
	k := c.def.Kind(key.Kind)
	if k == nil || !k.Listable() {
		return nil, fate.Errorf(fate.Permanent, "list %s: provider %s does not list such a kind", key.Kind, c.def.Name)
	}
	call, err := k.fill(k.list, func(name string) string { return key.Parents[name] })
	if err != nil {
		return nil, fate.Errorf(fate.Permanent, "list %s: %w", key.Kind, err)
	}
	call.why, call.scope = why, k.scopeAmong(key.Parents)
	return c.listPage(ctx, k, key, call, cursor)
}

// listPage asks for one page of a list of entities.
func (c *Client) listPage(ctx context.Context, k *Kind, key ListKey, call call, cursor string) (*ListPage, error) {
	p, err := c.page(ctx, k.id, call, cursor)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", key.Kind, err)
	}
	out := &ListPage{Next: p.next, SentAt: p.sentAt}
	for i, v := range p.items {
		item, err := c.item(k, key, v, p.sentAt)
		if err != nil {
			out.Unread = append(out.Unread, fmt.Errorf("list %s: element %d: %w", key.Kind, i, err))
			continue
		}
		out.Items = append(out.Items, *item)
	}
	return out, nil
}

// ListKey names a list: the kind of its entities and their parents.
type ListKey struct {
	// Source goes into the keys of the items.
	Source string
	// Kind is the kind of the entities.
	Kind string
	// Parents are the ids that the list's path and parameters need, and the scope if
	// it is that of one. Nil if none.
	Parents map[string]string
}

// item reads one element. One without a usable id is an error: a sweep that
// passed over it in silence would call the mirror complete.
func (c *Client) item(k *Kind, key ListKey, v rawjson.Value, sentAt time.Time) (*Item, error) {
	id := idOf(v.At(k.id))
	if err := event.CheckID(id); err != nil {
		return nil, fate.Errorf(fate.Permanent, "element: %s: %w", k.id, err)
	}
	doc, err := rawjson.Parse(v.Raw(), rawjson.Options{})
	if err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	s, err := c.interpret(k, doc, sentAt)
	if err != nil {
		return nil, err
	}
	parents, _ := k.Parents(key.Parents) // a list may need more of them than the GET
	return &Item{Ref: k.Ref(key.Source, id, parents), Snapshot: s, Cut: k.cut(doc.Root())}, nil
}

// Elements returns the ids of the elements of a list, as fetched or as the
// mirror holds it, and why others have none that can be used.
func (d *Definition) Elements(kind string, raw []byte) (ids []string, unread []error) {
	k := d.Kind(kind)
	if k == nil || k.ElementKey == "" {
		return nil, []error{fmt.Errorf("elements of %s: provider %s has no kind of that name whose elements are parents of others", kind, d.Name)}
	}
	doc, err := rawjson.Parse(raw, rawjson.Options{})
	if err != nil {
		return nil, []error{fmt.Errorf("elements of %s: %w", kind, err)}
	}
	for i, v := range doc.Root().Elements() {
		id := idOf(v.At(k.id))
		if err := event.CheckID(id); err != nil {
			unread = append(unread, fmt.Errorf("elements of %s: element %d: %s: %w", kind, i, k.id, err))
			continue
		}
		ids = append(ids, id)
	}
	return ids, unread
}

// EventsPage is one page of the events a provider has kept.
type EventsPage struct {
	Events []*event.Event
	// Next is the cursor of the next page, "" after the last.
	Next string
	// Unread says why elements could not be read as events. They are no error
	// of the page: one bad event must not hide all that come after it.
	Unread []*EnvelopeError
	// SentAt is when the page was asked for; it is the events' ReceivedAt.
	SentAt time.Time
}

// EventsKey names a list of events.
type EventsKey struct {
	// Source goes into the events.
	Source string
	// Scope is the scope whose events are listed. "": the platform's own.
	Scope string
}

// EventsPage asks for one page of the events the provider has kept, in the
// order Definition.EventList says, none older than since. cursor is "" for the
// first page. Errors are classed as Fetch's are.
func (c *Client) EventsPage(ctx context.Context, key EventsKey, since time.Time, cursor, why string) (*EventsPage, error) {
	spec := c.def.api.events
	if spec.path == "" {
		return nil, fate.Errorf(fate.Permanent, "list events: provider %s keeps none", c.def.Name)
	}
	query := spec.query.fixed()
	if spec.since != "" && !since.IsZero() {
		query.Set(spec.since, c.def.envelope.writeTime(since))
	}
	p, err := c.page(ctx, c.def.envelope.id.only(), call{kind: "events", path: spec.path, query: query, pages: spec.pages, depth: pageDepth, scope: key.Scope, why: why}, cursor)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	out := &EventsPage{Next: p.next, SentAt: p.sentAt}
	for _, v := range p.items {
		e, err := c.def.listed(key, v.Raw(), p.sentAt)
		if err != nil {
			out.Unread = append(out.Unread, err)
			continue
		}
		out.Events = append(out.Events, e)
	}
	return out, nil
}
