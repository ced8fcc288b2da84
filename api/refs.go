package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

// boundRef is an application's name for an entity, as the API shows it.
type boundRef struct {
	Source  string            `json:"source"`
	Kind    string            `json:"kind"`
	Ref     string            `json:"ref" doc:"The application's own name."`
	ID      string            `json:"id,omitempty" doc:"Id of the entity. Absent while it is not known."`
	Parents map[string]string `json:"parents,omitempty" doc:"Ids of the entity's parents."`
	By      string            `json:"by,omitempty" doc:"What says so: the id of a command, or the name of an operator's token."`
	At      moment            `json:"at,omitzero" doc:"Since when."`
}

func newRef(r *storage.Ref) boundRef {
	out := boundRef{Source: r.Lane.Source, Kind: r.Lane.Kind, ID: r.Entity.ID, Parents: r.Parents, By: r.By, At: momentOf(r.At)}
	out.Ref, _ = storage.RefOfLane(r.Lane)
	return out
}

func (r *reader) registerRefs(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-ref", Method: http.MethodGet, Path: "/v1/refs/{source}/{kind}/{ref}",
		Summary: "Find an entity by the application's name for it", Tags: []string{"commands"},
		Security: needs(Viewer), Errors: itemErrors,
	}, r.getRef)
}

func (o *operator) registerRefs(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "link-ref", Method: http.MethodPut, Path: "/v1/refs/{source}/{kind}/{ref}",
		Summary: "Have a ref name an entity", Tags: []string{"commands"},
		Description: "For an entity that was not created by a command. Commands that wait for the ref go on. One that names another entity already names this one from then on.",
		Security:    needs(Operator), Errors: commandErrors,
	}, o.linkRef)
}

// RefPath names a ref in a path.
type RefPath struct {
	KindPath
	Ref string `path:"ref" maxLength:"765" doc:"The application's name for the entity, percent-escaped if necessary." example:"sku-42"`
}

type refOutput struct{ Body boundRef }

func (r *reader) getRef(ctx context.Context, in *struct{ RefPath }) (*refOutput, error) {
	name, err := r.refIn(in.RefPath)
	if err != nil {
		return nil, err
	}
	found, err := r.store.Commands().Ref(ctx, storage.RefLane(in.Source, in.Kind, name))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, problem(http.StatusNotFound, "", "no %s of %s was ever named %q", in.Kind, in.Source, name)
	case err != nil:
		return nil, r.storeProblem(ctx, "read ref", err)
	}
	return &refOutput{Body: newRef(found)}, nil
}

// refIn returns the ref that a path names.
func (r *reader) refIn(p RefPath) (string, error) {
	if _, _, err := r.kind(p.KindPath); err != nil {
		return "", err
	}
	name, err := pathPart("path.ref", p.Ref)
	return name, err
}

type linkRefInput struct {
	RefPath
	Body struct {
		ID      string            `json:"id" minLength:"1" doc:"Id of the entity."`
		Parents map[string]string `json:"parents,omitempty" doc:"Ids of its parents. Default: those that the mirror has."`
	}
}

func (o *operator) linkRef(ctx context.Context, in *linkRefInput) (*refOutput, error) {
	name, err := o.refIn(in.RefPath)
	if err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	_, kind, err := o.kind(in.KindPath)
	if err != nil {
		return nil, err
	}
	key, err := o.only(ctx, kind, event.Key{Source: in.Source, Kind: in.Kind, ID: in.Body.ID}, in.Body.Parents)
	if err != nil {
		return nil, err
	}
	doc, err := o.known(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, problem(http.StatusNotFound, problems.NotYet, "%s is not in the mirror: check the id, or have it fetched first with POST /v1/entities/…/sync", key)
	case err != nil:
		return nil, o.storeProblem(ctx, "read entity", err)
	}
	desk := o.desk()
	before, err := desk.Commands.Ref(ctx, storage.RefLane(in.Source, in.Kind, name))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, o.storeProblem(ctx, "read ref", err)
	}
	bound, err := desk.Link(ctx, outbound.Link{
		Source: in.Source, Kind: in.Kind, Ref: name, ID: key.ID, Parents: doc.Parents, By: actor(ctx),
	})
	if err != nil {
		return nil, o.commandProblem(ctx, "link a ref", err)
	}
	was := map[string]string{}
	if before != nil && !before.Entity.IsZero() {
		was["id"] = before.Entity.ID
	}
	o.record(ctx, act{
		source: in.Source, did: "link", to: fmt.Sprintf("%s/%s/%s to %s", in.Source, in.Kind, name, key.ID),
		before: was, after: map[string]string{"id": bound.Entity.ID},
	})
	return &refOutput{Body: newRef(bound)}, nil
}
