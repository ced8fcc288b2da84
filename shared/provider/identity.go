package provider

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// identitySpec says where the provider names the account of the key. No
// path: nowhere.
type identitySpec struct {
	path  string
	value rawjson.Path
}

func parseIdentity(s *section) identitySpec {
	if s.value == nil {
		return identitySpec{}
	}
	spec := identitySpec{path: s.required("path"), value: s.jsonPath("value")}
	s.checkPath("path", spec.path)
	if spec.value == nil {
		s.fail("value", "is missing: want the path of the account's id in the answer")
	}
	s.done()
	return spec
}

// HasIdentity reports whether the provider names the account of the key.
func (d *Definition) HasIdentity() bool { return d.api.identity.path != "" }

// Identity asks whose key it is: the id of the account that all answers are of.
// Errors are classed as Fetch's are; a provider that does not is a
// permanent one.
func (c *Client) Identity(ctx context.Context) (string, error) {
	if !c.def.HasIdentity() {
		return "", fate.Errorf(fate.Permanent, "identity: provider %s does not say whose key it is", c.def.Name)
	}
	path, rawQuery, _ := strings.Cut(c.def.api.identity.path, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return "", fate.Errorf(fate.Permanent, "identity: %w", err)
	}
	a, err := c.ask(ctx, call{kind: "identity", path: path, query: query, why: "identity"})
	if err != nil {
		return "", err
	}
	id, _ := a.doc.Root().At(c.def.api.identity.value).Text()
	if err := event.CheckID(id); err != nil {
		return "", fate.Errorf(fate.Transient, "identity: %s: %w", c.def.api.identity.value, err)
	}
	return id, nil
}

// Witnesses returns the kinds whose entities can prove, for an entity of the
// given kind, that the right account is asked, those that prove best first.
//
// They are those under the same root: an order, its account and its trades exist
// in one account. Kinds under no account, such as the instruments that can be
// traded, are the same in every account and prove nothing for an order; nor does
// a list without parents, which every account has. others are for a mirror that
// holds nothing under that root: the roots that are parents of other kinds, or
// all roots if none is.
func (d *Definition) Witnesses(kind string) (same, others []string) {
	k := d.Kind(kind)
	if k == nil {
		return nil, nil
	}
	var parents, roots []string
	for _, other := range d.kinds {
		switch {
		case other == k || other.Rootless():
		case other.root() == k.root() && len(other.ParentKeys) == 0 && other.Shape == ShapeEntity:
			parents = append(parents, other.Name)
		case other.root() == k.root():
			same = append(same, other.Name)
		case len(d.Under(other)) > 0:
			roots = append(roots, other.Name)
		case other.Shape == ShapeEntity && len(other.ParentKeys) == 0:
			others = append(others, other.Name)
		}
	}
	if len(roots) > 0 {
		others = roots
	}
	same = slices.Concat(parents, same)
	if !k.Rootless() {
		same = slices.Insert(same, 0, k.Name)
	}
	return same, others
}

// Rootless reports whether every account has exactly one of the kind, so that it
// is found under any account's key and proves nothing.
func (k *Kind) Rootless() bool { return k.Shape != ShapeEntity && k.IDKey == "" }

// root is the context key of the first parent, or of the kind itself if it has none.
func (k *Kind) root() string {
	switch {
	case len(k.ParentKeys) > 0:
		return k.ParentKeys[0]
	case k.IDKey != "":
		return k.IDKey
	}
	return k.ElementKey
}

// IsEmptyRoot reports whether a state is that of an empty list without parents,
// which every empty account has.
func (d *Definition) IsEmptyRoot(kind string, raw []byte) bool {
	k := d.Kind(kind)
	if k == nil || k.Shape != ShapeList || !k.Rootless() {
		return false
	}
	doc, err := rawjson.Parse(raw, rawjson.Options{})
	if err != nil || doc.Root().Kind() != rawjson.Array {
		return false
	}
	for range doc.Root().Elements() {
		return false
	}
	return true
}
