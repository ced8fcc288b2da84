package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The ids of some kinds are unique under their parents only. An id alone is then looked
// up in the mirror. The answer is the one entity that has it, or a 409 with all that do.
//
// Of a kind within scopes, an id alone names the source's own entity if the mirror has one,
// and otherwise the one within some scope.

// Above names the parents of an entity.
type Above struct {
	Account string   `query:"account" doc:"Id of the entity's account: short for parent=account/…. Needed where the mirror has several entities with the id, and to sync one it does not have."`
	Parent  []string `query:"parent,explode" maxItems:"8" doc:"A parent of the entity, as kind/id; may be repeated." example:"person/cusp_1"`
}

// parents returns those given, nil if none are.
func (in *Above) parents() (map[string]string, error) {
	if in.Account == "" && len(in.Parent) == 0 {
		return nil, nil
	}
	given := map[string]string{}
	if in.Account != "" {
		given[accountKind] = in.Account
	}
	for _, text := range in.Parent {
		kind, id, err := parseParent(text)
		if err != nil {
			return nil, err
		}
		given[kind] = id
	}
	return given, nil
}

// candidate is one of several entities that have the id.
type candidate struct {
	Parents map[string]string `json:"parents" doc:"Ids of its parents."`
	Link    string            `json:"link" doc:"Address of this one."`
}

// mostCandidates is how many entities with one id an answer names.
const mostCandidates = 50

// only returns the key of the one entity that a plain id and some of its parents
// name. It is the plain key where ids are unique without parents, and where the
// mirror has no such entity.
func (r *reader) only(ctx context.Context, kind *provider.Kind, key event.Key, given map[string]string) (event.Key, error) {
	if !kind.Qualified && !kind.InScopes() || key.Under != "" {
		return key, nil
	}
	if ref := kind.Ref(key.Source, key.ID, given); ref.Key.Under != "" {
		return ref.Key, nil
	}
	if kind.InScopes() {
		switch _, err := r.known(ctx, key); {
		case err == nil:
			return key, nil
		case !errors.Is(err, storage.ErrNotFound):
			return key, r.storeProblem(ctx, "read entity", err)
		}
	}
	docs, err := r.store.Namesakes(ctx, key.Source, key.Kind, key.ID, mostCandidates+1)
	if err != nil {
		return key, r.storeProblem(ctx, "look for an entity by its id", err)
	}
	docs = slices.DeleteFunc(docs, func(d *storage.Document) bool { return !holds(d.Parents, given) })
	switch len(docs) {
	case 0:
		return key, nil
	case 1:
		return docs[0].Key, nil
	}
	return key, ambiguous(key, docs)
}

// holds reports whether parents are those given, as far as they are.
func holds(parents, given map[string]string) bool {
	for name, id := range given {
		if parents[name] != id {
			return false
		}
	}
	return true
}

func ambiguous(key event.Key, docs []*storage.Document) error {
	p := newProblem(http.StatusConflict, problems.Ambiguous,
		fmt.Sprintf("%d entities have the id %q: say which with ?account= or ?parent=kind/id", len(docs), key.ID))
	if len(docs) > mostCandidates {
		docs = docs[:mostCandidates]
		p.Detail = fmt.Sprintf("more than %d entities have the id %q: say which with ?account= or ?parent=kind/id", mostCandidates, key.ID)
	}
	for _, d := range docs {
		p.Candidates = append(p.Candidates, candidate{Parents: d.Parents, Link: linkTo(d)})
	}
	return p
}

// named returns the key of the entity that a path and the parents beside it name.
// A parent that no entity of the kind has is refused.
func (r *reader) named(ctx context.Context, p EntityPath, in *Above) (event.Key, error) {
	key, err := r.key(p)
	if err != nil {
		return key, err
	}
	_, kind, err := r.kind(p.KindPath)
	if err != nil {
		return key, err
	}
	given, err := in.parents()
	if err != nil {
		return key, err
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := hasParent(kind, "query.parent", name+"/"+given[name], name); err != nil {
			return key, err
		}
	}
	plain := key
	if key, err = r.only(ctx, kind, key, given); err != nil || len(given) == 0 && !kind.Qualified {
		return key, err
	}
	if kind.Qualified && key == plain {
		return key, problem(http.StatusNotFound, problems.NotYet,
			"no entity %s has been fetched yet, or there is none at the provider", unfound(key, given))
	}
	return key, r.underGiven(ctx, key, given)
}

// underGiven answers 404 if the mirror has the entity under other parents than
// those given: what is asked for is not that one.
func (r *reader) underGiven(ctx context.Context, key event.Key, given map[string]string) error {
	if key.Under != "" || len(given) == 0 {
		return nil
	}
	doc, err := r.known(ctx, key)
	switch {
	case err == nil && !holds(doc.Parents, given):
		return problem(http.StatusNotFound, problems.NotYet, "no entity %s has been fetched yet, or there is none at the provider", unfound(key, given))
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return r.storeProblem(ctx, "read entity", err)
	}
	return nil
}

// unfound is an entity as it was asked for.
func unfound(key event.Key, given map[string]string) string {
	text := key.String()
	for _, name := range slices.Sorted(maps.Keys(given)) {
		text += " under " + name + " " + given[name]
	}
	return text
}

// parentsIn returns the parents that qualify a key, nil if none do or the
// definition no longer says so.
func (r *reader) parentsIn(key event.Key) map[string]string {
	src := r.sources.get(key.Source)
	if key.Under == "" || src == nil {
		return nil
	}
	kind := src.Provider.Kind(key.Kind)
	if kind == nil {
		return nil
	}
	parents, _ := kind.ParentsIn(key)
	return parents
}
