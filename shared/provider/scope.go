package provider

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"

	"golang.org/x/net/http/httpguts"

	"github.com/tarn-sync/tarn/shared/event"
)

// A platform may see what belongs to others: the accounts that are connected to it. One
// key reads all of them, a header says which one is meant, and each event says where it
// is from. Such an account is a scope. What a scope means is in the package comment.

// scopeSpec says what the scopes of a provider are. The zero scopeSpec: it has none.
type scopeSpec struct {
	at     place  // of the scope's id in an event
	header string // canonical: it has the id in requests
	of     string // the kind whose ids the scopes are
	// key is the context key of that kind's ids.
	key string
}

// scopeGiven is the name under which an event keeps the scope whose list showed it, where
// its payload does not say.
const scopeGiven = "api.scope"

// fixedHeaders are headers that a request has for reasons of its own. None of them can
// say which scope is meant.
var fixedHeaders = []string{
	"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie",
	"Expect", "Host", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Range", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "User-Agent",
}

// parseScope reads api.scope.
func (spec *apiSpec) parseScope(s *section, l layout) {
	if s.value == nil {
		return
	}
	spec.scope = scopeSpec{at: s.onePlace("id", l), of: s.required("of")}
	name := s.required("header")
	if !spec.scope.at.is() {
		s.fail("id", "is missing: want the place where an event has the id of the scope, as in id: account")
	}
	if name != "" {
		spec.scope.header = spec.scopeHeader(s, name)
	}
	s.done()
}

func (spec *apiSpec) scopeHeader(s *section, name string) string {
	s.checkHeader("header", name)
	header := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case slices.Contains(fixedHeaders, header):
		s.fail("header", "is %q, which requests have for another reason: want the header by which the provider tells scopes apart, as in Stripe-Account", name)
	case spec.auth.style == authHeader && textproto.CanonicalMIMEHeaderKey(spec.auth.header) == header:
		s.fail("header", "is %q, which auth sets to the key: want the header by which the provider tells scopes apart", name)
	case spec.headers[header] != nil:
		s.fail("header", "is %q, which api.headers sets for all requests: leave it out there", name)
	}
	return header
}

// checkScope wants the kind of the scopes to be listed under nothing: its list says which
// scopes there are. Kinds within a scope are qualified by it alone.
func (d *Definition) checkScope(s *section) {
	if !d.HasScope() {
		return
	}
	spec := &d.api.scope
	of := d.byName[spec.of]
	switch {
	case of == nil:
		s.fail("of", "is %q, which is no kind: want the kind whose ids the scopes are, as in of: account", spec.of)
		return
	case !of.Listable():
		s.fail("of", "is %q, which has no list, so that no sweep would know its scopes: give kinds.%[1]s a list", spec.of)
	case len(of.needs()) > 0:
		s.fail("of", "is %q, whose list is under {%s}: want a kind with a list under nothing", spec.of, joinNames(of.needs()))
	}
	spec.key = of.IDKey
	for _, k := range d.kinds {
		if k.Qualified && !k.namesScope(spec.key) {
			s.fail("of", "is %q, and the ids of %s are unique under their parents only (ids: %s), which does not go with a scope: leave out api.scope, or put {%s} into the paths of %[2]s",
				spec.of, k.Name, idsOfParents, spec.key)
		}
	}
}

// namesScope reports whether requests for the kind name the scope by themselves, in
// path or parameters, so that it is not within one.
func (k *Kind) namesScope(key string) bool {
	return k.IDKey == key || slices.Contains(k.ParentKeys, key) || slices.Contains(k.needs(), key)
}

// HasScope reports whether sources of the provider may be scoped.
func (d *Definition) HasScope() bool { return d.api.scope.header != "" }

// Scoped returns the definition for a source that sees the accounts connected to it: its
// events say which one they are about, and so do its keys and requests. It is an error
// if the definition has no api.scope.
func (d *Definition) Scoped() (*Definition, error) {
	if !d.HasScope() {
		return nil, fmt.Errorf("provider %s has no scopes: leave scoped out, or say in the definition, under api.scope, where events and requests name them", d.Name)
	}
	scoped := *d
	scoped.scoped = true
	scoped.kinds, scoped.byName, scoped.families = nil, map[string]*Kind{}, map[string]*family{}
	for _, k := range d.kinds {
		within := *k
		if !k.namesScope(d.api.scope.key) {
			within.scope = d.api.scope.key
		}
		within.writing.ops = opsOf(&within)
		scoped.kinds, scoped.byName[k.Name] = append(scoped.kinds, &within), &within
	}
	for name, f := range d.families {
		scoped.families[name] = f.withKinds(scoped.byName)
	}
	return &scoped, nil
}

// withKinds returns the family with other kinds of the same names.
func (f *family) withKinds(byName map[string]*Kind) *family {
	swap := func(kinds []*Kind) []*Kind {
		out := make([]*Kind, len(kinds))
		for i, k := range kinds {
			out[i] = byName[k.Name]
		}
		return out
	}
	out := *f
	out.derived, out.touches = swap(f.derived), make([]touch, len(f.touches))
	for i, t := range f.touches {
		out.touches[i] = swap(t)
	}
	if f.of != nil {
		out.of = byName[f.of.Name]
	}
	return &out
}

// ScopeKind returns the kind whose entities are the scopes, nil if the definition is not
// Scoped.
func (d *Definition) ScopeKind() *Kind {
	if !d.scoped {
		return nil
	}
	return d.byName[d.api.scope.of]
}

// ScopeOf returns the scope that an entity stands or falls with: the one it is within,
// or the one that it is itself or is asked for by. "": none, it is the platform's own.
func (d *Definition) ScopeOf(ref event.Ref) string {
	k := d.Kind(ref.Key.Kind)
	if !d.scoped || k == nil {
		return ""
	}
	key := d.api.scope.key
	switch {
	case k.scope != "":
		return k.scopeIn(ref.Key)
	case k.IDKey == key:
		return ref.Key.ID
	}
	return ref.Parents[key]
}

// ScopeOfList returns the scope whose entities a list has, "" of the platform's own list.
func (d *Definition) ScopeOfList(key ListKey) string {
	if !d.scoped {
		return ""
	}
	return key.Parents[d.api.scope.key]
}

// ScopeHeader returns the header by which a request for an entity names its scope. Two
// empty texts: it names none.
func (d *Definition) ScopeHeader(ref event.Ref) (name, value string) {
	if k := d.Kind(ref.Key.Kind); k != nil && k.scope != "" {
		if value = k.scopeIn(ref.Key); value != "" {
			return d.api.scope.header, value
		}
	}
	return "", ""
}

// InScopes reports whether entities of the kind may be within scopes: a key says which
// one, and one without is the platform's own.
func (k *Kind) InScopes() bool { return k.scope != "" }

// HasParent reports whether entities of the kind may have a parent of that name.
func (k *Kind) HasParent(name string) bool {
	return slices.Contains(k.ParentKeys, name) || name != "" && name == k.scope
}

// scopeIn returns the scope that a key names, "" if it names none.
func (k *Kind) scopeIn(key event.Key) string {
	if k.scope == "" || key.Under == "" {
		return ""
	}
	ids, err := key.Qualifiers()
	if err != nil || len(ids) != 1 {
		return ""
	}
	return ids[0]
}

// CheckScope reports why an id from outside cannot be that of a scope: it cannot be an
// id at all (event.CheckID), or holds something else than the letters, digits and marks
// that RFC 9110 allows in a token, since it becomes the value of a header.
func CheckScope(id string) error {
	if err := event.CheckID(id); err != nil {
		return fmt.Errorf("scope: %w", err)
	}
	if !httpguts.ValidHeaderFieldName(id) { // a token, as the name of a header is
		return fmt.Errorf("scope %q: want letters, digits and marks such as _ and - only", id)
	}
	return nil
}

// readScope reads the scope of an event. An event without one is the platform's own.
// bad: what is there can be no scope's id, so that nothing may be asked for.
func (d *Definition) readScope(o *origin, s *scratch) (scope string, bad bool, wrong *EnvelopeError) {
	if !d.scoped {
		return "", false, nil
	}
	spec := &d.api.scope
	f, wrong := o.at(&spec.at.parts[0])
	if wrong != nil {
		return "", false, wrong
	}
	listed := o.given[scopeGiven]
	switch {
	case f.isText:
		scope = f.text
	case f.is():
		scope, _ = o.texts.id(f.value)
	default:
		scope = listed
		if scope == "" {
			return "", false, nil
		}
	}
	if CheckScope(scope) != nil {
		return "", true, nil
	}
	if listed != "" && listed != scope {
		return "", false, malformed("%s is %.40q in the list of %s %.40q", &spec.at, scope, spec.of, listed)
	}
	// For paths of kinds that name it. It is no entity that the event names.
	s.ids = append(s.ids, namedID{name: []byte(spec.key), id: scope, taken: true})
	return scope, false, nil
}

// scopeListed returns what is given of an event that a list of a scope showed. Nil of a
// list that is under none.
func scopeListed(scope string) map[string]string {
	if scope == "" {
		return nil
	}
	return map[string]string{scopeGiven: scope}
}

// keepGiven returns what an event keeps of the values outside its payload: not the scope
// if the payload has it too, so that it is the event that a webhook brings.
func (d *Definition) keepGiven(o *origin) map[string]string {
	if o.given[scopeGiven] == "" {
		return o.given
	}
	if f, wrong := o.at(&d.api.scope.at.parts[0]); wrong != nil || !f.is() {
		return o.given
	}
	kept := maps.Clone(o.given)
	delete(kept, scopeGiven)
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// setScope names the scope in the headers of a request.
func (spec *scopeSpec) setScope(h http.Header, scope string) {
	if scope != "" {
		h[spec.header] = []string{scope}
	}
}
