package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// A filter that names something that does not exist would select nothing, and a typing
// error would look like good news. So what a filter names must be known: to the settings,
// to a definition, or to a record, since records outlive both. Records are looked at only
// for what the settings and definitions do not know.

// mention is a source, or a kind or an event type of a source, that a request names. For a
// kind or type the source may be "": that of any.
type mention struct {
	// location is where it stands in the request: "query.kind".
	location                string
	source, kind, eventType string
}

// mentions are those of the fields that most filters have; at is "query" or "body". What is
// "" is not mentioned.
func mentions(at, source, kind, eventType string, entity event.Key) (all []mention) {
	add := func(m mention, value string) {
		if value != "" {
			all = append(all, m)
		}
	}
	add(mention{location: at + ".source", source: source}, source)
	add(mention{location: at + ".kind", source: source, kind: kind}, kind)
	add(mention{location: at + ".type", source: source, eventType: eventType}, eventType)
	add(mention{location: at + ".entity", source: entity.Source}, entity.Source)
	add(mention{location: at + ".entity", source: entity.Source, kind: entity.Kind}, entity.Kind)
	return all
}

// what names the sort of thing, value the thing.
func (m mention) what() (sort, value string) {
	switch {
	case m.kind != "":
		return "kind", m.kind
	case m.eventType != "":
		return "event type", m.eventType
	}
	return "source", m.source
}

// records reports whether a list has an item of a mention.
type records func(ctx context.Context, m mention) (bool, error)

// mustKnow returns the answer to the first mention that is not known. of looks into the
// list that is asked for.
func (r *reader) mustKnow(ctx context.Context, of records, all []mention) error {
	for _, m := range all {
		known, judged := r.sources.knownBeside(m)
		sort, value := m.what()
		if !judged || slices.Contains(known, value) {
			continue
		}
		there, err := of(ctx, m)
		if err == nil && !there && value == m.source {
			there, err = r.wasConfigured(ctx, m.source)
		}
		if err != nil {
			return err
		}
		if !there {
			return unknownValue(m.location, sort, value, known)
		}
	}
	return nil
}

// knownBeside returns the names that a mention may have. They judge it only if they are
// all that there are: the kinds of a former source are not known, and few providers say
// which event types they have.
func (a *accounts) knownBeside(m mention) (known []string, judged bool) {
	names := a.names()
	if m.kind == "" && m.eventType == "" {
		return names, true
	}
	judged = true
	for _, name := range names {
		src := a.get(name)
		if src == nil || m.source != "" && m.source != name {
			continue
		}
		if m.kind != "" {
			for _, k := range src.Provider.Kinds() {
				known = append(known, k.Name)
			}
			continue
		}
		types := src.Provider.WebhookTypes()
		judged = judged && len(types) > 0
		known = append(known, types...)
	}
	slices.Sort(known)
	return slices.Compact(known), judged && len(known) > 0
}

// wasConfigured reports whether a source that is not configured ever was. The event log is
// asked first: a Redis that was emptied remembers no source.
func (r *reader) wasConfigured(ctx context.Context, name string) (bool, error) {
	logged, err := r.store.Events(ctx, storage.EventFilter{Source: name, Limit: 1})
	if err != nil {
		return false, r.storeProblem(ctx, "look for events of "+name, err)
	}
	if len(logged.Items) > 0 {
		return true, nil
	}
	former, err := r.queue.Former(ctx, r.sources.names())
	if err != nil {
		return false, r.queueProblem(ctx, "read the sources there were", err)
	}
	return slices.Contains(former, name), nil
}

func (r *reader) inEvents(ctx context.Context, m mention) (bool, error) {
	found, err := r.store.Events(ctx, storage.EventFilter{Source: m.source, Kind: m.kind, Type: m.eventType, Limit: 1})
	return hasItems(ctx, r, found, err)
}

func (r *reader) inLetters(ctx context.Context, m mention) (bool, error) {
	found, err := r.store.Letters(ctx, storage.LetterFilter{Source: m.source, Kind: m.kind, Type: m.eventType, Limit: 1})
	return hasItems(ctx, r, found, err)
}

func (r *reader) inDiscrepancies(ctx context.Context, m mention) (bool, error) {
	found, err := r.store.Discrepancies(ctx, storage.DiscrepancyFilter{Source: m.source, Kind: m.kind, Limit: 1})
	return hasItems(ctx, r, found, err)
}

// inTasks looks into a list of tasks of some kinds.
func (r *reader) inTasks(kinds []string) records {
	return func(ctx context.Context, m mention) (bool, error) {
		found, err := r.store.Tasks(ctx, storage.TaskFilter{Kinds: kinds, Source: m.source, Limit: 1})
		return hasItems(ctx, r, found, err)
	}
}

func (r *reader) inAudit(ctx context.Context, m mention) (bool, error) {
	found, err := r.store.Acts(ctx, storage.NoteFilter{Source: m.source, Limit: 1})
	return hasItems(ctx, r, found, err)
}

// inParked looks for work of a kind that no definition has: it waits until one does.
func (r *reader) inParked(ctx context.Context, m mention) (bool, error) {
	if m.kind == "" {
		return false, nil
	}
	f := stream.WaitingFilter{Sources: r.sources.names(), Kind: m.kind, Limit: 1}
	if m.source != "" {
		f.Sources = []string{m.source}
	}
	for {
		found, err := r.queue.Waiting(ctx, f)
		switch {
		case err != nil:
			return false, r.parkedProblem(ctx, err)
		case len(found.Items) > 0 || found.NextCursor == "":
			return len(found.Items) > 0, nil
		}
		f.Cursor = found.NextCursor
	}
}

func hasItems[T any](ctx context.Context, r *reader, found storage.Page[T], err error) (bool, error) {
	if err != nil {
		return false, r.storeProblem(ctx, "look for what a filter names", err)
	}
	return len(found.Items) > 0, nil
}

// knownStatus refuses a status that entities of the kind cannot have, if its definition
// says which they can, and that none has.
func (r *reader) knownStatus(ctx context.Context, source string, k *provider.Kind, status string) error {
	known := k.Statuses()
	if status == "" || len(known) == 0 || slices.Contains(known, status) {
		return nil
	}
	found, err := r.store.Entities(ctx, storage.EntityFilter{Source: source, Kind: k.Name, Status: status, Limit: 1})
	there, err := hasItems(ctx, r, found, err)
	if err != nil || there {
		return err
	}
	return unknownValue("query.status", "status of a "+k.Name, status, known)
}

// knownActor refuses the name of a token that is not configured and has done nothing.
func (r *reader) knownActor(ctx context.Context, by string) error {
	if by == "" || slices.Contains(r.actors, by) {
		return nil
	}
	found, err := r.store.Acts(ctx, storage.NoteFilter{By: by, Limit: 1})
	there, err := hasItems(ctx, r, found, err)
	if err != nil || there {
		return err
	}
	return unknownValue("query.by", "token", by, r.actors)
}

// knownSweep refuses the id of a sweep that there is not, and that found nothing.
func (r *reader) knownSweep(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	switch t, err := r.store.Task(ctx, id); {
	case err == nil && slices.Contains(sweepKinds, t.Kind):
		return nil
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return r.storeProblem(ctx, "read sweep", err)
	}
	found, err := r.store.Discrepancies(ctx, storage.DiscrepancyFilter{SweepID: id, Limit: 1})
	there, err := hasItems(ctx, r, found, err)
	if err != nil || there {
		return err
	}
	return noTask("sweep", shownID(id))
}

// Bounds of what an answer says of known values.
const (
	mostKnown     = 200 // as a list
	mostKnownText = 20  // in words
)

// unknownValue is the answer to a value that is not known. sort says of what it is.
func unknownValue(location, sort, value string, known []string) *Problem {
	p := newProblem(http.StatusBadRequest, problems.Unknown, fmt.Sprintf("%s: there is no %s %q; %s", location, sort, value, listKnown(known)))
	p.Known = known[:min(len(known), mostKnown)]
	p.Errors = []*huma.ErrorDetail{{Message: "is not known", Location: location, Value: value}}
	return p
}

// listKnown says which values are known.
func listKnown(known []string) string {
	switch {
	case len(known) == 0:
		return "none is known"
	case len(known) > mostKnownText:
		return fmt.Sprintf("%s and %d more are known", strings.Join(known[:mostKnownText], ", "), len(known)-mostKnownText)
	}
	return "known: " + strings.Join(known, ", ")
}

// oneOf begins the library's message about a value that is not one of those that the
// document lists.
const oneOf = `expected value to be one of "`

// unknownEnums is the answer to a request of which only values are wrong that are none of
// those that the document lists. Nil: something else is wrong, or nothing.
func unknownEnums(errs []error) *Problem {
	var all []*huma.ErrorDetail
	var known []string
	for _, err := range errs {
		var e huma.ErrorDetailer
		if !errors.As(err, &e) {
			return nil
		}
		detail := *e.ErrorDetail()
		list, ok := strings.CutPrefix(detail.Message, oneOf)
		if !ok {
			return nil
		}
		if known == nil {
			known = strings.Split(strings.TrimSuffix(list, `"`), ", ")
		}
		all = append(all, &detail)
	}
	if len(all) == 0 {
		return nil
	}
	first := all[0]
	p := newProblem(http.StatusBadRequest, problems.Unknown, fmt.Sprintf("%s: %q is not known; %s", first.Location, fmt.Sprint(first.Value), listKnown(known)))
	p.Known, p.Errors = known, all
	return p
}
