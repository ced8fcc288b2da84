package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Store is what the api needs of a storage.Store.
type Store interface {
	storage.Reader
	storage.Letters
	storage.FeedReader
	storage.Subscriptions
	// Requeued notes, for recovery, the entries of redriven work.
	Requeued(ctx context.Context, again []storage.Requeue) error
	// Discrepancies lists the findings of sweeps.
	Discrepancies(ctx context.Context, f storage.DiscrepancyFilter) (storage.Page[*storage.Discrepancy], error)
	// CreateTasks, Task, Tasks and CancelTask start, show and end the reconciler's
	// work.
	CreateTasks(ctx context.Context, tasks []*storage.Task) error
	Task(ctx context.Context, id string) (*storage.Task, error)
	Tasks(ctx context.Context, f storage.TaskFilter) (storage.Page[*storage.Task], error)
	CancelTask(ctx context.Context, id string) (bool, error)
	// Erase, Clear and Enlist erase, Unerase and Unlist restore, Erasures lists.
	Erase(ctx context.Context, ref event.Ref, m storage.Marker) (*storage.Document, error)
	Clear(ctx context.Context, k event.Key, after string, at time.Time) (storage.Cleared, error)
	Enlist(ctx context.Context, e storage.Erasure) error
	Unerase(ctx context.Context, k, with event.Key) (bool, error)
	Unlist(ctx context.Context, k event.Key) error
	Erasures(ctx context.Context, seen int64) (list []storage.Erasure, version int64, err error)
	// Note adds to the audit.
	Note(ctx context.Context, notes []storage.Note) error
	// Commands returns the part that keeps commands.
	Commands() storage.Commands
	// Ping reports whether the database answers.
	Ping(ctx context.Context) error
}

// reader answers questions about the mirror.
type reader struct {
	sources *accounts
	store   Store
	queue   Queue
	log     *slog.Logger
	traces  telemetry.TraceURL
	// leaving is closed when the server shuts down: waiting requests are answered.
	leaving <-chan struct{}
	// looks are shared by all requests that wait.
	looks looks
	// actors are the names of those who may act, as the audit has them.
	actors []string
}

// The parameters that operations share are exported since huma finds embedded
// structs by that; nothing outside uses them.

// EntityPath names one entity in a path. Its parts arrive escaped: the router splits the
// path and does not unescape it, so an id may hold a slash.
type EntityPath struct {
	KindPath
	ID string `path:"id" maxLength:"765" doc:"The provider's id of the entity, percent-escaped if necessary. Of a kind without ids of its own (positions, financials): the id of its parent."`
}

// KindPath names a kind of a source in a path.
type KindPath struct {
	Source string `path:"source" doc:"Name of the source, as configured." example:"lemon"`
	Kind   string `path:"kind" doc:"Kind of entity, as the provider's definition names it." example:"order"`
}

// Page selects one page of a list.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most items on the page."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before, with the same filters."`
}

// Between selects by time.
type Between struct {
	From time.Time `query:"from" doc:"Not before, RFC 3339. Write + as %2B."`
	To   time.Time `query:"to" doc:"Before, RFC 3339."`
}

func (b Between) check() error {
	if !b.From.IsZero() && !b.To.IsZero() && !b.From.Before(b.To) {
		return invalid("query.to", b.To.Format(time.RFC3339), "is not after from")
	}
	return nil
}

// kind returns a kind, or a 404 for sources and kinds that are not configured, so that a
// typing error does not look like an empty mirror.
func (r *reader) kind(p KindPath) (*account, *provider.Kind, error) {
	src, err := r.source(p.Source)
	if err != nil {
		return nil, nil, err
	}
	kind := src.Provider.Kind(p.Kind)
	if kind == nil {
		known, _ := r.sources.knownBeside(mention{source: p.Source, kind: p.Kind})
		no := newProblem(http.StatusNotFound, "", fmt.Sprintf("source %q has no kind %q; %s", p.Source, p.Kind, listKnown(known)))
		no.Known = known
		return nil, nil, no
	}
	return src, kind, nil
}

// source returns a source, or a 404 for one that is not configured.
func (r *reader) source(name string) (*account, error) {
	src := r.sources.get(name)
	if src == nil {
		no := newProblem(http.StatusNotFound, "", fmt.Sprintf("no source %q is configured here; %s", name, listKnown(r.sources.names())))
		no.Known = r.sources.names()
		return nil, no
	}
	return src, nil
}

// key checks the path of an entity and returns its key.
func (r *reader) key(p EntityPath) (event.Key, error) {
	if _, _, err := r.kind(p.KindPath); err != nil {
		return event.Key{}, err
	}
	id, err := pathID(p.ID)
	return event.Key{Source: p.Source, Kind: p.Kind, ID: id}, err
}

// pathID unescapes an id and refuses one that no provider could have.
func pathID(escaped string) (string, error) { return pathPart("path.id", escaped) }

// pathPart is pathID of a part of the path that has another name.
func pathPart(location, escaped string) (string, error) {
	id, err := url.PathUnescape(escaped)
	if err == nil {
		err = event.CheckID(id)
	}
	if err != nil {
		return "", invalid(location, escaped, "%v", err)
	}
	return id, nil
}

// entityKey reads an entity named as source/kind/id, or source/kind@parents/id
// where the id is unique under its parents only; "" names none.
func (r *reader) entityKey(ctx context.Context, location, text string) (event.Key, error) {
	if text == "" {
		return event.Key{}, nil
	}
	key, err := event.ParseKey(text)
	if err != nil {
		return event.Key{}, invalid(location, text, "want source/kind/id")
	}
	_, kind, err := r.kind(KindPath{Source: key.Source, Kind: key.Kind})
	if err != nil {
		return key, nil // records outlive the configuration
	}
	return r.only(ctx, kind, key, nil)
}
