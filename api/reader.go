package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Store is what the api needs of a storage.Store.
type Store interface {
	storage.Reader
	storage.Letters
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
	// Note adds to the audit.
	Note(ctx context.Context, notes []storage.Note) error
	// Ping reports whether the database answers.
	Ping(ctx context.Context) error
}

// reader answers questions about the mirror.
type reader struct {
	sources *accounts
	store   Store
	queue   Queue
	log     *slog.Logger
	// leaving is closed when the server shuts down: waiting requests are answered.
	leaving <-chan struct{}
	// looks are shared by all requests that wait.
	looks looks
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
		return nil, nil, problem(http.StatusNotFound, "", "source %q has no kind %q", p.Source, p.Kind)
	}
	return src, kind, nil
}

// source returns a source, or a 404 for one that is not configured.
func (r *reader) source(name string) (*account, error) {
	src := r.sources.get(name)
	if src == nil {
		return nil, problem(http.StatusNotFound, "", "no source %q is configured here", name)
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
func pathID(escaped string) (string, error) {
	id, err := url.PathUnescape(escaped)
	if err == nil {
		err = event.CheckID(id)
	}
	if err != nil {
		return "", invalid("path.id", escaped, "%v", err)
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
