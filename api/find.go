package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// foundEntity is an entity that has the id that was looked for.
type foundEntity struct {
	Source     string            `json:"source"`
	Kind       string            `json:"kind"`
	ID         string            `json:"id"`
	Parents    map[string]string `json:"parents,omitempty" doc:"Ids of its parents."`
	Status     string            `json:"status,omitempty"`
	VerifiedAt moment            `json:"verified_at,omitzero" doc:"The state is known to have been the provider's at this time. Absent if it was never fetched, or is erased."`
	DeletedAt  moment            `json:"deleted_at,omitzero" doc:"Since when the provider has it no longer."`
	ErasedAt   moment            `json:"erased_at,omitzero" doc:"Since when it is erased here."`
	Link       string            `json:"link" doc:"Address of this one."`
}

func newFoundEntity(d *storage.Document) foundEntity {
	e := foundEntity{
		Source: d.Key.Source, Kind: d.Key.Kind, ID: d.Key.ID, Parents: d.Parents, Status: d.Status,
		VerifiedAt: momentOf(d.VerifiedAt), DeletedAt: momentOf(d.DeletedAt), Link: linkTo(d),
	}
	if d.Erased != nil {
		e.ErasedAt = momentOf(d.Erased.At)
	}
	return e
}

func (r *reader) registerFind(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "find-entities", Method: http.MethodGet, Path: "/v1/entities",
		Summary: "Find the entities that have an id, of any source and kind", Tags: []string{"entities"},
		Description: "Deleted and erased ones are among them, and one whose first fetch has not succeeded yet, without `verified_at`. Of a kind whose ids are unique under their parents only, 51 at most are named.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.findEntities)
}

type findEntitiesInput struct {
	ID string `query:"id" required:"true" maxLength:"255" doc:"The provider's id of the entities." example:"bord_1"`
}

type findEntitiesOutput struct {
	Body struct {
		Items []foundEntity `json:"items" nullable:"false" doc:"By source and kind. Empty if the mirror has none."`
	}
}

func (r *reader) findEntities(ctx context.Context, in *findEntitiesInput) (*findEntitiesOutput, error) {
	if err := event.CheckID(in.ID); err != nil {
		return nil, invalid("query.id", in.ID, "%v", err)
	}
	out := &findEntitiesOutput{}
	out.Body.Items = []foundEntity{}
	for _, name := range r.sources.names() {
		src := r.sources.get(name)
		if src == nil {
			continue // it was removed from the settings a moment ago
		}
		for _, k := range src.Provider.Kinds() {
			docs, err := r.withID(ctx, k, event.Key{Source: name, Kind: k.Name, ID: in.ID})
			if err != nil {
				return nil, r.storeProblem(ctx, "look for an entity by its id", err)
			}
			for _, d := range docs {
				out.Body.Items = append(out.Body.Items, newFoundEntity(d))
			}
		}
	}
	return out, nil
}

// withID returns the entities of a kind that have a plain id.
func (r *reader) withID(ctx context.Context, kind *provider.Kind, plain event.Key) ([]*storage.Document, error) {
	var docs []*storage.Document
	switch doc, err := r.store.Entity(ctx, plain); {
	case err == nil:
		docs = append(docs, doc)
	case !errors.Is(err, storage.ErrNotFound):
		return nil, err
	}
	if !kind.Qualified && !kind.InScopes() {
		return docs, nil
	}
	under, err := r.store.Namesakes(ctx, plain.Source, plain.Kind, plain.ID, mostCandidates+1)
	return append(docs, under...), err
}

// linkTo is the address of an entity, with its parents where its id needs them.
func linkTo(d *storage.Document) string {
	link := "/v1/entities/" + url.PathEscape(d.Key.Source) + "/" + url.PathEscape(d.Key.Kind) + "/" + url.PathEscape(d.Key.ID)
	if d.Key.Under == "" {
		return link
	}
	query := url.Values{}
	for name, id := range d.Parents {
		if name == accountKind {
			query.Set(accountKind, id)
		} else {
			query.Add("parent", name+"/"+id)
		}
	}
	slices.Sort(query["parent"])
	return link + "?" + query.Encode()
}
