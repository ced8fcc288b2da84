package provider

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Names of kinds are part of keys, collections and URLs; placeholders are the
// provider's own words.
var (
	plainName       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	placeholderName = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,63}$`)
)

func (d *Definition) parseKinds(s *section) {
	if len(s.names) > maxKinds {
		s.fail("", "has %d kinds: a definition has at most %d", len(s.names), maxKinds)
		return
	}
	for _, name := range s.names {
		if !plainName.MatchString(name) {
			s.fail(name, "is no name of a kind: want lower-case letters, digits and _")
		}
		k := d.parseKind(name, s.sub(name))
		d.kinds = append(d.kinds, k)
		d.byName[name] = k
	}
	for _, k := range d.kinds {
		d.checkLent(s, k)
		if k.ElementKey != "" && len(d.Under(k)) == 0 {
			s.fail(k.Name, "has the element %q, which is the parent of no kind", k.ElementKey)
		}
	}
	if len(s.names) == 0 {
		s.fail("", "is empty: name at least one kind")
	}
	if len(s.r.errs) == 0 {
		d.checkReached(s)
	}
}

// checkReached refuses lists of entities that no sweep comes to.
func (d *Definition) checkReached(s *section) {
	reached := map[*Kind]bool{}
	var reach func([]*Kind)
	reach = func(kinds []*Kind) {
		for _, k := range kinds {
			if !reached[k] {
				reached[k] = true
				reach(d.Under(k))
			}
		}
	}
	reach(d.Roots())
	for _, k := range d.kinds {
		if k.Listable() && !reached[k] {
			s.fail(k.Name, "has a list that needs {%s}, and no list leads to such ids, so it would never be read: give the kind they are of a list, or leave this one out",
				joinNames(k.list.names()))
		}
	}
}

// Which ids of a kind are unique: all, as the provider gives them; or those under
// the same parents.
const (
	idsOfProvider = "provider"
	idsOfParents  = "parents"
)

// checkLent wants a singleton or list to be qualified exactly if the kind that
// lends it its id is.
func (d *Definition) checkLent(s *section, k *Kind) {
	if k.Shape == ShapeEntity || len(k.ParentKeys) == 0 {
		return
	}
	for _, lender := range d.kinds {
		if lender.Shape == ShapeEntity && lender.IDKey == k.IDKey && slices.Equal(lender.ParentKeys, k.ParentKeys) && lender.Qualified != k.Qualified {
			s.fail(k.Name, "has the ids of %s, so both need the same ids:, %s or %s", lender.Name, idsOfProvider, idsOfParents)
		}
	}
}

func (d *Definition) parseKind(name string, s *section) *Kind {
	k := &Kind{
		Name:        name,
		Shape:       Shape(s.choice("shape", string(ShapeEntity), string(ShapeSingleton), string(ShapeList))),
		Every:       s.duration("every", 0),
		VerifyAfter: s.duration("verify_after", 0),
		ReadLag:     s.duration("read_lag", 2*time.Second),
		status:      s.jsonPath("status"),
		history:     s.jsonPath("history"),
		deleted:     s.jsonPath("deleted"),
		proof:       s.jsonPaths("proof"),
		statuses:    s.texts("statuses"),
		terminal:    s.texts("terminal"),
		volatile:    s.jsonPaths("volatile"),
		secret:      s.jsonPaths("secret"),
		unordered:   s.flag("unordered"),
		Qualified:   s.choice("ids", idsOfProvider, idsOfParents) == idsOfParents,
		get:         endpoint{path: s.pathTemplate("get")},
		list:        endpoint{path: s.pathTemplate("list")},
		id:          s.jsonPath("id"),
		answer:      s.jsonPath("answer"),
	}
	gone := s.sub("gone_after")
	k.GoneKnown = gone.duration("known", 5*time.Second)
	k.GoneUnknown = gone.duration("unknown", 10*time.Minute)
	gone.done()
	k.parseElement(s)
	if k.id == nil && (k.Shape == ShapeEntity || k.ElementKey != "") {
		k.id = []string{"id"}
	}
	k.parseLists(s, d.api)
	k.checkPaths(s)
	k.parseComplete(s, d.api)
	k.checkStatuses(s)
	k.parseWriting(s, &d.api)
	s.done()
	return k
}

// parseLists reads the parameters of the kind's requests and the pages of its list.
// Without list_query, the parameters of query go with the list too.
func (k *Kind) parseLists(s *section, api apiSpec) {
	query, name := s.params("query"), "query"
	if k.get.given() {
		k.get.query = query
	}
	if k.list.given() {
		k.list.query = query
	}
	list := s.params("list_query")
	if s.value["list_query"] != nil {
		switch {
		case k.Shape != ShapeEntity:
			s.fail("list_query", "is for a kind that has both get and list: a %s has one request, and query goes with it", k.Shape)
		case !k.list.given():
			s.fail("list_query", "does nothing without list")
		}
		k.list.query, name = list, "list_query"
	}
	if !k.list.given() {
		if s.sub("pagination").value != nil {
			s.fail("pagination", "does nothing without list")
		}
		return
	}
	k.pages = s.pagination(api, "list")
	s.checkQuery(name, k.list.query, k.pages, "")
}

// parseElement reads what the definition says of the elements of the kind's list:
// of a list kind, the context key of their ids; of an entity, whether they show its
// whole state.
func (k *Kind) parseElement(s *section) {
	if k.Shape != ShapeEntity {
		k.ElementKey = s.text("element")
		return
	}
	k.PartialElements = s.choice("element", "whole", "partial") == "partial"
	if s.value["element"] != nil && !k.list.given() {
		s.fail("element", "does nothing without list")
	}
}

// checkPaths takes the names of ids from the paths and parameters. The last
// placeholder of the path is the entity's own id, or the parent's for a singleton or
// list; if the path has none, the last one of the parameters is.
func (k *Kind) checkPaths(s *section) {
	main, other := "get", "list"
	e := k.get
	if k.Shape == ShapeList {
		main, other, e = "list", "get", k.list
	}
	if !e.given() {
		s.fail(main, "is missing")
		return
	}
	if k.Shape != ShapeEntity && s.value[other] != nil {
		s.fail(other, "is not for a %s", k.Shape)
	}
	if k.Shape != ShapeList && k.unordered {
		s.fail("unordered", "is for lists only")
	}
	if k.Shape == ShapeList && len(k.proof) > 0 {
		s.fail("proof", "is not for a list: its array proves it")
	}
	if k.Shape == ShapeList && k.answer != nil {
		s.fail("answer", "is not for a list: where its elements are is said by items in pagination")
	}
	for _, p := range k.proof {
		if slices.Contains(p, "*") {
			s.fail("proof", `holds %q: a path to one value has no "*"`, p)
		}
	}
	names := e.names()
	if k.ElementKey != "" && (k.Shape != ShapeList || len(names) > 0) {
		s.fail("element", "is for lists without parents only")
	}
	if len(names) == 0 {
		if k.Shape == ShapeEntity {
			s.fail(main, "has no placeholder for the id, as in /accounts/{account}")
		}
		return
	}
	k.IDKey = e.own()
	if k.IDKey == "id" {
		s.fail(main, "has the placeholder {id}: write the name under which events carry the id of %s, as {%s}", article(k.Name), k.Name)
	}
	if len(names) > 1 {
		k.ParentKeys = slices.DeleteFunc(names, func(name string) bool { return name == k.IDKey })
	}
	if k.Qualified && len(k.ParentKeys) == 0 {
		s.fail("ids", "is %q: the path of %s has no parents, as in /accounts/{account}/orders/{order}", idsOfParents, k.Name)
	}
	k.checkList(s)
}

// checkList wants a list of entities to be under the parents that the GET of one
// needs, since its elements are asked for under these. A list may need more, in its
// own parameters.
func (k *Kind) checkList(s *section) {
	if !k.Listable() {
		return
	}
	if inPath := k.list.path.names(); !holdsAll(k.ParentKeys, inPath) || !holdsAll(k.list.names(), k.ParentKeys) {
		s.fail("list", "has the placeholders %q: want those of get without the id, %q", k.list.names(), k.ParentKeys)
		return
	}
	if slices.Contains(k.list.names(), k.IDKey) {
		s.fail("list", "needs {%s}, the id of one entity: give list_query, which goes with the list in place of query", k.IDKey)
	}
}

// joinNames puts placeholders into a sentence, but for the outer braces.
func joinNames(names []string) string { return strings.Join(names, "}, {") }

// article puts a name of a kind into a sentence.
func article(name string) string {
	if strings.ContainsRune("aeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

func (k *Kind) checkStatuses(s *section) {
	for _, t := range k.terminal {
		if !slices.Contains(k.statuses, t) {
			s.fail("terminal", "holds %q, which is not among statuses", t)
		}
	}
	if len(k.statuses) > 0 && k.status == nil && k.history == nil {
		s.fail("statuses", "has no source: want status, history or both")
	}
	if k.Shape == ShapeList && (k.status != nil || k.history != nil) {
		s.fail("status", "is not for a list: its elements have no common status")
	}
	if s.value["read_lag"] != nil && k.VerifyAfter == 0 {
		s.fail("read_lag", "does nothing without verify_after")
	}
}

func (d *Definition) parseFamilies(s *section) {
	for _, name := range s.names {
		d.families[name] = d.parseFamily(s.sub(name))
	}
}

// checkNames refuses kinds that no event of the envelope can name. A context may hold
// any id. Otherwise there are the ids of envelope.ids, and that of the one object.
func (d *Definition) checkNames(s *section, f *family) {
	if d.envelope.context.is() || len(f.touches) == 0 {
		return
	}
	if !d.envelope.objectTyp.is() && d.envelope.objectID.is() && len(f.touches[0]) == 0 {
		s.fail("touches", `begins with "*": an object without envelope.object.type is of the first kind, so name that`)
	}
	named := map[string]bool{}
	for i, t := range f.touches {
		for j, k := range t {
			named[k.IDKey] = true
			if k.IDKey != "" && !d.givesID(k, i == 0 && j == 0) {
				s.fail("touches", "holds %q, whose id no event of this family gives: say under envelope.ids where {%s} stands, or leave the kind to sweeps", k.Name, k.IDKey)
			}
			if lacking := d.lacking(k.ParentKeys, f); len(lacking) > 0 {
				s.fail("touches", "holds %q, whose path needs {%s}: an event with one object names no parents; say under envelope.ids where these stand, or leave the kind to sweeps",
					k.Name, strings.Join(lacking, "}, {"))
			}
		}
	}
	for _, k := range f.derived {
		lacking := d.lacking(append(slices.Clone(k.ParentKeys), k.IDKey), f)
		lacking = slices.DeleteFunc(lacking, func(key string) bool { return key == "" || key == k.IDKey && named[key] })
		if len(lacking) > 0 {
			s.fail("derived", "holds %q, which is under {%s}: events of this family carry no such id; say under envelope.ids where it stands, or leave the kind to sweeps",
				k.Name, strings.Join(lacking, "}, {"))
		}
	}
}

// givesID reports whether events of an envelope without a context can give the id of a
// kind. first: it is the first kind that their family touches.
func (d *Definition) givesID(k *Kind, first bool) bool {
	e := &d.envelope
	return e.gives(k.IDKey) || e.objectID.is() && (first || e.objectTyp.is())
}

// lacking are those of some names of ids that events of a family cannot give beside
// the kinds they touch. An object without a type of its own is of the first kind.
func (d *Definition) lacking(keys []string, f *family) (lacking []string) {
	e := &d.envelope
	object := ""
	if e.objectID.is() && !e.objectTyp.is() && len(f.touches[0]) > 0 {
		object = f.touches[0][0].IDKey
	}
	for _, key := range keys {
		if !e.gives(key) && key != object {
			lacking = append(lacking, key)
		}
	}
	return lacking
}

// gives reports whether there is a further id of that name.
func (s *envelopeSpec) gives(name string) bool {
	return slices.ContainsFunc(s.ids, func(p idPlace) bool { return string(p.name) == name })
}

// checkFilled refuses kinds whose placeholders nothing can ever fill: no event gives
// them, and no list finds them.
func (d *Definition) checkFilled(s *section) {
	e := &d.envelope
	if e.context.is() {
		return
	}
	for _, k := range d.kinds {
		if d.reachable(k, nil) {
			continue
		}
		touched := false
		for _, f := range d.families {
			touched = touched || slices.ContainsFunc(f.touches, func(t touch) bool { return slices.Contains(t, k) }) || slices.Contains(f.derived, k)
		}
		var lacking []string
		for _, key := range append(slices.Clone(k.ParentKeys), k.IDKey) {
			if !e.gives(key) && !(key == k.IDKey && e.objectTyp.is() && k.Shape == ShapeEntity) {
				lacking = append(lacking, key)
			}
		}
		if !touched && len(lacking) > 0 {
			s.fail(k.Name, "can never be fetched: nothing fills {%s}; say under envelope.ids where it stands in events, or give the kind a list under parents that have one", strings.Join(lacking, "}, {"))
		}
	}
}

// reachable reports whether lists lead to entities of the kind. way are the kinds that
// led there.
func (d *Definition) reachable(k *Kind, way []*Kind) bool {
	if !k.findable() || slices.Contains(way, k) {
		return false
	}
	needs := k.needs()
	if len(needs) == 0 {
		return true
	}
	return slices.ContainsFunc(d.kinds, func(p *Kind) bool {
		key := p.UnderKey()
		return key != "" && p.findable() && slices.Equal(append(slices.Clone(p.needs()), key), needs) && d.reachable(p, append(way, k))
	})
}

func (d *Definition) parseFamily(s *section) *family {
	f := &family{derived: d.kindsNamed(s, "derived", s.texts("derived"))}
	for _, k := range f.derived {
		if k.Every == 0 {
			s.fail("derived", "holds %q, which has no every", k.Name)
		}
	}
	f.touches = d.parseTouches(s)
	d.checkNames(s, f)
	d.parseImplies(s, f)
	s.done()
	return f
}

func (d *Definition) parseTouches(s *section) []touch {
	n := s.get("touches")
	if n == nil || n.Kind != yaml.SequenceNode {
		s.fail("touches", "is missing: want a list of kinds, the primary first, or [] for a family whose events name nothing")
		return nil
	}
	var touches []touch
	for _, e := range n.Content {
		if e.Kind == yaml.MappingNode {
			sub := s.r.section(e, s.path("touches"))
			kinds := d.kindsNamed(sub, "first_of", sub.texts("first_of"))
			if len(kinds) == 0 {
				sub.fail("first_of", "is missing")
			}
			sub.done()
			touches = append(touches, kinds)
			continue
		}
		name, _ := scalar(e)
		if name == everyOther {
			touches = append(touches, touch{})
			continue
		}
		if k := d.byName[name]; k != nil {
			touches = append(touches, touch{k})
			continue
		}
		s.r.fail(e, s.path("touches"), `holds %s: want a kind, {first_of: [kind, …]} or "*"`, describe(e))
	}
	return touches
}

// parseImplies reads which statuses the types of a family speak of: "suffix",
// each status of the primary kind that is the last step of a type; or a
// mapping where the two differ.
func (d *Definition) parseImplies(s *section, f *family) {
	n := s.get("implies")
	if n == nil {
		return
	}
	if len(f.touches) == 0 || len(f.touches[0]) != 1 {
		s.fail("implies", "needs one kind as the first of touches")
		return
	}
	f.of, f.implies = f.touches[0][0], map[string]string{}
	if word, ok := scalar(n); ok {
		if word != "suffix" {
			s.fail("implies", `is %q: want "suffix" or a mapping`, word)
		} else if len(f.of.statuses) == 0 {
			s.fail("implies", "says nothing: give %s its statuses", f.of.Name)
		}
		for _, status := range f.of.statuses {
			f.implies[status] = status
		}
		return
	}
	sub := s.r.section(n, s.path("implies"))
	for _, what := range sub.names {
		status := sub.text(what)
		if !slices.Contains(f.of.statuses, status) {
			sub.fail(what, "is %q, which is no status of %s", status, f.of.Name)
		}
		f.implies[what] = status
	}
}

func (d *Definition) kindsNamed(s *section, key string, names []string) []*Kind {
	var kinds []*Kind
	for _, name := range names {
		k := d.byName[name]
		if k == nil {
			s.fail(key, "holds %q, which is no kind", name)
			continue
		}
		kinds = append(kinds, k)
	}
	return kinds
}
