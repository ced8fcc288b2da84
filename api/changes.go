package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/problems"
)

const (
	// longestPoll is the most that a page may wait for a change.
	longestPoll = 60 * time.Second
	// pageBytes bounds a page. A single item may have more.
	pageBytes = 4 << 20
	// The values of after that are no cursors.
	afterSnapshot, afterNow = "snapshot", "now"
)

// changes delivers the feeds of all sources.
type changes struct {
	*reader
	hub       *hub
	consumers *consumers
	times     streamTimes
}

func newChanges(r *reader, o Options) *changes {
	return &changes{reader: r, hub: newHub(o.Store, r.view(), o.Logger), consumers: newConsumers(o), times: usualTimes}
}

// register declares GET /v1/changes.
func (c *changes) register(api huma.API) {
	schema := func(of reflect.Type) *huma.Schema { return api.OpenAPI().Components.Schemas.Schema(of, true, "") }
	huma.Register(api, huma.Operation{
		OperationID: "follow-changes", Method: http.MethodGet, Path: "/v1/changes",
		Summary: "Follow what changes in the mirror of a source", Tags: []string{"changes"},
		Description: "Every change of state, deletion and erasure of every entity, as CloudEvents. The consumer's rule: keep the greater version per subject.\n\n" +
			"So are commands, once they rest: `command.done`, `dead`, `asked`, `cancelled` and `discarded`; `resumed` says that one which was asked or dead is under way again. " +
			"Without `type` commands come to those who do not ask by `kind`. A snapshot has none: `GET /v1/commands?state=asked` lists those that wait for an operator.\n\n" +
			"The last state of each entity is delivered at least once; states between may be skipped; versions of an entity never decrease. " +
			"There is no order between entities.\n\n" +
			"`Accept: application/json` answers a page: ask again with its `after`, which may be stored with your own changes in one transaction. " +
			"`Accept: text/event-stream` answers server-sent events, and goes on: `id` is the cursor behind each. Without a name they are changes; " +
			"`bookmark` is a cursor without a change, `synced` ends a snapshot, `gone` ends the stream as a 410 would.\n\n" +
			"A 410 of type `cursor-gone` says that nothing can be read from the cursor any more, for a `reason`: `retention` (what came next is older than is kept), " +
			"`restored` (the database was restored from an older copy: drop all versions that you hold) or `unknown` (the feed has no such position: as `restored`). Do not send such a cursor again: begin with `resync`.",
		Security: needs(Viewer), Errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusServiceUnavailable,
		},
		Middlewares: huma.Middlewares{unhurried},
		Metadata:    map[string]any{streams: true},
		Responses: map[string]*huma.Response{"200": {
			Description: "A page, or a stream of events",
			Content: map[string]*huma.MediaType{
				"application/json":  {Schema: schema(reflect.TypeFor[changePage]())},
				"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString, Description: "Events whose data are changes, as the items of a page."}},
			},
		}},
	}, c.follow)
	schemas := api.OpenAPI().Components.Schemas.Map()
	schemas["Change"].Properties["data"] = &huma.Schema{
		Description: "The entity with its version, as GET /v1/entities/{source}/{kind}/{id} answers it. Of one that was erased only its name and version. " +
			"Of a command what GET /v1/commands/{id} answers.",
		OneOf: []*huma.Schema{schema(reflect.TypeFor[entity]()), schema(reflect.TypeFor[feed.ErasedEntity]()), schema(reflect.TypeFor[command]())},
	}
}

// unhurried lets an answer take its time: the limits of a connection are for answers that
// come at once. Reading is limited too, since the server looks for a client that goes.
func unhurried(ctx huma.Context, next func(huma.Context)) {
	control := http.NewResponseController(humagin.Unwrap(ctx).Writer)
	_ = control.SetReadDeadline(time.Time{}) // not supported by a recorder, in tests
	_ = control.SetWriteDeadline(time.Now().Add(longestPoll + answerWithin))
	next(ctx)
}

type changesInput struct {
	Source      string   `query:"source" required:"true" doc:"Name of the source, as configured." example:"lemon"`
	Kind        []string `query:"kind,explode" doc:"Only changes of these kinds. A cursor may go on with other kinds, except in a snapshot."`
	Type        []string `query:"type,explode" enum:"entity,command" doc:"Only changes of entities, or of commands: the part of their type behind dev.tarn. Without it: both, or entities alone if kind is given. A command is of the kind that it changes."`
	After       string   `query:"after" default:"snapshot" maxLength:"4096" doc:"What the consumer has: a cursor; snapshot: nothing, so begin with all that the mirror holds; now: only changes from here on."`
	LastEventID string   `header:"Last-Event-ID" doc:"Of a stream: the id of the last event received. It wins over after."`
	Accept      string   `header:"Accept" doc:"application/json or text/event-stream."`
	Limit       int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Of a page: most items on it."`
	Wait        string   `query:"wait" doc:"Of a page: how long to wait for a change if there is none, up to 60s." example:"30s"`
	Consumer    string   `query:"consumer" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]*$" doc:"A name under which GET /v1/subscriptions shows how far the consumer is."`
}

// streams reports whether the client wants server-sent events.
func (in *changesInput) streams() bool { return strings.Contains(in.Accept, "text/event-stream") }

// changePage is the answer to a client that does not want a stream.
type changePage struct {
	Items  []feed.Change `json:"items" nullable:"false"`
	After  string        `json:"after" doc:"The cursor behind them, for the next page."`
	More   bool          `json:"more" doc:"Whether there is more now. Otherwise ask with wait."`
	Synced bool          `json:"synced,omitempty" doc:"Whether a snapshot ends with this page: the consumer has all that the mirror held when it began."`
}

func (c *changes) follow(ctx context.Context, in *changesInput) (*huma.StreamResponse, error) {
	w, at, err := c.read(ctx, in)
	if err != nil {
		return nil, err
	}
	wait, err := parsePoll(in.Wait)
	if err != nil {
		return nil, err
	}
	leave, ok := c.hub.join(w.source)
	if !ok {
		return nil, huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, problems.Followers,
			"%d requests follow changes here, which is the most: try again, or another replica", c.hub.most),
			http.Header{"Retry-After": {strconv.Itoa(retryWhenAway)}})
	}
	consumer := c.consumers.named(w, in, actor(ctx))
	if !in.streams() {
		defer leave()
		return c.page(ctx, w, at, wait, consumer)
	}
	// The first part is read before the answer begins, so that an error is one.
	first, err := c.hub.next(ctx, w, at, nil)
	if err != nil {
		leave()
		return nil, c.changesProblem(ctx, w.source, err)
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		defer leave()
		newStream(c, out, w, at, consumer).run(out.Context(), first)
	}}, nil
}

// read checks what a request asks for.
func (c *changes) read(ctx context.Context, in *changesInput) (*wanted, place, error) {
	src, err := c.source(in.Source)
	if err != nil {
		return nil, place{}, err
	}
	w := &wanted{source: in.Source, filter: feed.NewFilter(in.Kind, in.Type), items: in.Limit, bytes: pageBytes}
	if in.streams() {
		w.items, w.bytes = streamItems, streamBytes
	}
	for _, k := range w.filter.Kinds() {
		if _, _, err := c.kind(KindPath{Source: in.Source, Kind: k}); err != nil {
			return nil, place{}, err
		}
	}
	w.walked = slices.Clone(w.filter.Kinds())
	for _, k := range src.Provider.Kinds() {
		if w.filter.Kinds() == nil {
			w.walked = append(w.walked, k.Name)
		}
	}
	slices.Sort(w.walked)
	w.walked = slices.DeleteFunc(w.walked, func(kind string) bool { return !w.filter.Entities(kind) })
	if slices.ContainsFunc(c.consumers.webhooks, func(to OutgoingWebhook) bool { return to.Source == w.source && to.Name == in.Consumer }) {
		return nil, place{}, invalid("query.consumer", in.Consumer, "is the name of a webhook: choose another")
	}
	at, err := c.place(ctx, w, in)
	if err != nil {
		return nil, place{}, c.changesProblem(ctx, in.Source, err)
	}
	return w, at, nil
}

// place reads where the consumer is.
func (c *changes) place(ctx context.Context, w *wanted, in *changesInput) (place, error) {
	text := in.After
	if in.streams() && in.LastEventID != "" {
		text = in.LastEventID
	}
	switch text {
	case afterSnapshot:
		return c.hub.begin(ctx, w)
	case afterNow:
		head, err := feed.Head(ctx, c.store, w.source)
		return place{Cursor: head}, err
	}
	at, err := parsePlace(text)
	if err != nil || at.walk == nil {
		return at, err
	}
	if at.walk.filter != w.filter.String() {
		return place{}, problem(http.StatusBadRequest, "", "the cursor is of a snapshot of other kinds or types (%s): go on with the same, or begin again", at.walk.filter)
	}
	return at, c.hub.checkWalk(ctx, w.source, at)
}

func parsePoll(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > longestPoll {
		return 0, invalid("query.wait", s, "want a duration from 0s to %s, like 30s", longestPoll)
	}
	return d, nil
}

// page answers a page, and waits for one that is not empty.
func (c *changes) page(ctx context.Context, w *wanted, at place, wait time.Duration, consumer *consumer) (*huma.StreamResponse, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	for after := (*ring)(nil); ; {
		next := c.hub.nextRing(w.source)
		p, err := c.hub.next(ctx, w, at, after)
		if err != nil {
			return nil, c.changesProblem(ctx, w.source, err)
		}
		at = p.next
		if len(p.items) > 0 || p.more || p.synced || wait == 0 {
			return c.answer(w, p, consumer), nil
		}
		select {
		case <-next.rung:
			after = next
		case <-late.C:
			return c.answer(w, p, consumer), nil
		case <-c.leaving:
			return c.answer(w, p, consumer), nil
		case <-ctx.Done():
			return nil, c.storeProblem(ctx, "wait for a change", ctx.Err())
		}
	}
}

// answer writes a page. Its items are JSON already.
func (c *changes) answer(w *wanted, p *part, consumer *consumer) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(out huma.Context) {
		_ = http.NewResponseController(humagin.Unwrap(out).Writer).SetWriteDeadline(time.Now().Add(answerWithin))
		out.SetHeader("Content-Type", "application/json")
		to := out.BodyWriter()
		_, err := to.Write([]byte(`{"items":[`))
		for i := 0; i < len(p.items) && err == nil; i++ {
			if i > 0 {
				_, err = to.Write([]byte(","))
			}
			if err == nil {
				_, err = to.Write(p.items[i].json)
			}
		}
		if err != nil {
			return // the client is gone
		}
		end := `],"after":` + strconv.Quote(p.next.String()) + `,"more":` + strconv.FormatBool(p.more || p.synced)
		if p.synced {
			end += `,"synced":true`
		}
		if _, err = to.Write([]byte(end + "}")); err == nil {
			consumer.sent(p.next)
		}
	}}
}

// changesProblem turns an error of the feed into an answer.
func (c *changes) changesProblem(ctx context.Context, source string, err error) error {
	var known huma.StatusError
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, feed.ErrCursor) {
		return problem(http.StatusBadRequest, "", "after (or Last-Event-ID) is no cursor that this feed gives out: send snapshot, now, or a cursor as it came")
	}
	g, other := c.gone(ctx, source, err)
	switch {
	case other != "":
		return problem(http.StatusBadRequest, "", "the cursor is of the source %s, not of %s", other, source)
	case g == nil:
		return c.storeProblem(ctx, "read changes", err)
	}
	p := newProblem(http.StatusGone, problems.CursorGone, g.says)
	p.Reason, p.Oldest, p.Resync = g.reason, g.oldest, "?after="+afterSnapshot
	return p
}

// lost says why a cursor is not good any more.
type lost struct {
	reason, says string
	oldest       int64
}

// reasonUnknown: the feed has no such position, and the generation is the one it has
// now. Nothing says whether the cursor was ever given out.
const reasonUnknown = "unknown"

// gone says why nothing can be read from a cursor, or which other source it is of. Nil:
// the error says something else.
func (c *changes) gone(ctx context.Context, source string, err error) (g *lost, other string) {
	var gone *feed.Gone
	switch {
	case errors.Is(err, feed.ErrOlder):
		c.log.ErrorContext(ctx, "changes cannot be followed", "source", source, "error", err)
		return &lost{reason: feed.Restored, says: "the database was restored from an older copy: drop all versions you hold and read everything again"}, ""
	case !errors.As(err, &gone):
		return nil, ""
	case gone.Reason == feed.Retention:
		return &lost{feed.Retention, "what follows the cursor is older than is kept: read everything again", gone.Oldest}, ""
	}
	for _, name := range c.sources.names() {
		if head, err := feed.Head(ctx, c.store, name); err == nil && head.Gen != "" && head.Gen == gone.Cursor.Gen {
			if name != source {
				return nil, name
			}
			if head.Position < gone.Cursor.Position {
				return &lost{reasonUnknown, "the feed has not come to that position, so the cursor is none or the database was restored: drop all versions you hold and read everything again", gone.Oldest}, ""
			}
		}
	}
	return &lost{feed.Restored, "the database was restored from an older copy: drop all versions you hold and read everything again", gone.Oldest}, ""
}
