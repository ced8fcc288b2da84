package provider

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// methods are the keys of an operation that hold its path, with the HTTP method each
// stands for.
var methods = []struct{ key, method string }{
	{"post", http.MethodPost}, {"put", http.MethodPut}, {"patch", http.MethodPatch}, {"delete", http.MethodDelete},
}

const (
	defaultSettle       = 10 * time.Second
	defaultWriteTimeout = 30 * time.Second
	// longestKey is the longest idempotency key where the definition does not say.
	longestKey = 255
)

// parseWrites reads api.writes.
func parseWrites(s *section) writesSpec {
	spec := writesSpec{
		given:    s.value != nil,
		encoding: s.choice("encoding", encodingJSON, encodingForm),
		key:      parseKey(s.sub("key")),
		busy:     s.statuses("busy"),
		timeout:  s.duration("timeout", defaultWriteTimeout),
	}
	s.done()
	return spec
}

// parseKey reads how requests carry an idempotency key, nil if they carry none.
func parseKey(s *section) *keySpec {
	if s.value == nil {
		return nil
	}
	spec := &keySpec{
		header: s.text("header"), longest: s.number("max", longestKey, 10_000), keep: s.duration("keep", 0),
		replaysErrors: s.flag("replays_errors"), replayed: s.text("replayed"),
	}
	if spec.header == "" {
		s.fail("header", "is missing: want the header that carries the key, as Idempotency-Key")
	} else {
		s.checkHeader("header", spec.header)
	}
	if spec.keep == 0 {
		s.fail("keep", "is missing: want how long the provider knows a key, as 24h; after it the same key is a new request")
	}
	if spec.replayed != "" {
		s.checkHeader("replayed", spec.replayed)
	}
	s.done()
	return spec
}

// statuses returns a member that is a list of HTTP statuses of failures.
func (s *section) statuses(name string) []int {
	var out []int
	for _, text := range s.texts(name) {
		status, err := strconv.Atoi(text)
		if err != nil || status < 400 || status > 499 {
			s.fail(name, "holds %q: want HTTP statuses from 400 to 499", text)
			continue
		}
		out = append(out, status)
	}
	return out
}

// parseWriting reads what the kind says of its writes.
func (k *Kind) parseWriting(s *section, api *apiSpec) {
	w := &k.writing
	w.ref, w.version = s.jsonPath("ref"), s.jsonPath("version")
	fields := s.sub("fields")
	w.write, w.fixed = fields.fieldPaths("write"), fields.fieldPaths("fixed")
	w.clear = fields.unsets("clear")
	fields.done()
	writes := s.sub("writes")
	for _, name := range []string{"ref", "version", "fields"} {
		if s.value[name] != nil && len(writes.names) == 0 {
			s.fail(name, "does nothing without writes")
		}
	}
	for _, p := range w.fixed {
		if slices.ContainsFunc(w.write, func(q rawjson.Path) bool { return slices.Equal(p, q) }) {
			fields.fail("fixed", "holds %q, which is in write too", p)
		}
	}
	if api.writes.encoding == encodingForm && w.clear != nil && *w.clear == jsonNull {
		fields.fail("clear", `is null, which a form cannot say: want the text that unsets a field, as ""`)
	}
	if len(writes.names) == 0 {
		if writes.value != nil {
			s.fail("writes", "is empty: name at least one operation, or leave it out")
		}
		return
	}
	if k.Shape != ShapeEntity {
		s.fail("writes", "is not for a %s: only entities with an id of their own are changed", k.Shape)
		return
	}
	for _, name := range writes.names {
		if !plainName.MatchString(name) {
			writes.fail(name, "is no name of an operation: want lower-case letters, digits and _")
		}
		w.ops = append(w.ops, k.parseOp(name, writes.sub(name), api))
	}
	if (len(w.fixed) > 0) && k.Op(OpCreate) == nil {
		fields.fail("fixed", "does nothing without a create: its fields are set there only")
	}
}

// jsonNull is JSON's null.
const jsonNull = "null"

// unsets returns a member that is the text which unsets a field, or null. Nil if absent.
func (s *section) unsets(name string) *string {
	n := s.get(name)
	if n == nil {
		return nil
	}
	text := jsonNull
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!null" {
		s.fail(name, `is %s: want "" or another text, or null`, describe(n))
		return nil
	}
	if n.Tag == "!!str" {
		text = string(appendJSONText(nil, n.Value))
	}
	return &text
}

// fieldPaths returns a member that is a list of paths into a body. A "*" at the end is
// every member there.
func (s *section) fieldPaths(name string) []rawjson.Path {
	var paths []rawjson.Path
	for _, v := range s.texts(name) {
		p, err := rawjson.ParsePath(v)
		switch {
		case err != nil:
			s.fail(name, "%v", err)
		case slices.Contains(p[:len(p)-1], "*") || p[0] == "*":
			s.fail(name, `holds %q: a "*" stands at the end only, as in metadata.*`, v)
		default:
			paths = append(paths, p)
		}
	}
	return paths
}

// parseOp reads one operation.
func (k *Kind) parseOp(name string, s *section, api *apiSpec) *Op {
	o := &Op{
		Name: name, kind: k,
		Settle: s.duration("settle", defaultSettle),
		Shows:  s.choice("answer", "none", "entity") == "entity",
		id:     s.jsonPath("id"),
		secret: s.jsonPaths("secret"),
		gone:   s.statuses("gone"),
		done:   s.texts("done"), moot: s.texts("moot"),
	}
	o.parsePath(s)
	o.parseBody(s)
	o.parseFind(s.sub("find"))
	o.parseUnclear(s, api)
	o.checkOp(s)
	s.done()
	return o
}

// parsePath reads method and path, whose placeholders the command must be able to fill.
func (o *Op) parsePath(s *section) {
	key := ""
	for _, m := range methods {
		if s.get(m.key) == nil {
			continue
		}
		if key != "" {
			s.fail(m.key, "is a second method: %s is there already", key)
			continue
		}
		key, o.Method = m.key, m.method
		o.path.path = s.pathTemplate(m.key)
	}
	o.path.query = s.fixedParams("query")
	if key == "" {
		s.fail("", "has no path: want one of post, put, patch and delete, as in {post: /orders}")
		return
	}
	k, own := o.kind, s.text("own_id")
	if own != "" && !o.Creates() {
		s.fail("own_id", "is for create only: later on an entity has its id")
	}
	o.OwnID = own
	if _, err := rawjson.ParsePath(own); own != "" && err != nil {
		s.fail("own_id", "%v", err)
	}
	for _, name := range o.path.path.names() {
		switch {
		case slices.Contains(k.ParentKeys, name):
		case name == k.IDKey && o.Creates() && own == "" && o.Method != http.MethodPut:
			s.fail(key, "needs {%s}, the id of what is not there yet: leave it out, or use put for an id of our own", name)
		case name == k.IDKey:
		default:
			s.fail(key, "has the placeholder {%s}, which nothing fills: want those of the kind's get, {%s}", name, joinNames(append(slices.Clone(k.ParentKeys), k.IDKey)))
		}
	}
	if !o.Creates() && !slices.Contains(o.path.path.names(), k.IDKey) {
		s.fail(key, "does not have {%s}: the path must say which %s is meant", k.IDKey, k.Name)
	}
}

// ownID reports whether the id of what is created is the ref.
func (o *Op) ownID() bool {
	return o.OwnID != "" || o.Creates() && slices.Contains(o.path.path.names(), o.kind.IDKey)
}

// parseBody reads which fields a body may have, and what it always has.
func (o *Op) parseBody(s *section) {
	w := &o.kind.writing
	switch {
	case s.value["fields"] != nil:
		o.fields = s.fieldPaths("fields")
	case o.Creates():
		o.fields = slices.Concat(w.write, w.fixed)
	case o.Name == OpUpdate:
		o.fields = w.write
	}
	s.ask("fields")
	if n := s.get("body"); n != nil {
		o.fixed = s.bodyOf("body", n)
	}
	if o.Method == http.MethodDelete && (len(o.fields) > 0 || o.fixed != nil) {
		s.fail("delete", "has a body: a DELETE is sent without one")
	}
	if o.Name == OpUpdate && len(o.fields) == 0 && o.fixed == nil {
		s.fail("", "has no field that it could change: name some under fields.write of the kind")
	}
	for _, p := range o.secret {
		if !o.takes(p) {
			s.fail("secret", "holds %q, which is no field of this body", p)
		}
	}
	if o.Creates() && w.ref != nil && o.takesExactly(w.ref) {
		s.fail("", "has the field %q, where the ref is put: leave it out of fields", w.ref)
	}
}

// bodyOf reads what a definition puts into a body: a mapping.
func (s *section) bodyOf(name string, n *yaml.Node) *bodyValue {
	if n.Kind != yaml.MappingNode {
		s.fail(name, "is %s: want a mapping such as {active: false}", describe(n))
		return nil
	}
	v, ok := bodyOfYAML(n)
	if !ok {
		s.fail(name, "holds what JSON has not: want texts, numbers, true, false, lists and mappings")
		return nil
	}
	return v
}

// parseFind reads how a list shows what was created.
func (o *Op) parseFind(s *section) {
	if s.value == nil {
		return
	}
	f := &findSpec{match: s.fieldPaths("match"), at: s.timePath("at")}
	o.FindAgain = s.choice("absent", "ask", "again") == "again"
	for _, name := range s.sub("query").names {
		value := s.sub("query").template(name, s.sub("query").text(name))
		for _, placeholder := range value.names() {
			if placeholder != findRef && !strings.HasPrefix(placeholder, findBody) {
				s.fail("query", "has the placeholder {%s}: want {ref}, or {body.FIELD} with a field of the body", placeholder)
			} else if field, ok := strings.CutPrefix(placeholder, findBody); ok && !o.takes(strings.Split(field, ".")) {
				s.fail("query", "has the placeholder {%s}, which is no field of the body", placeholder)
			}
		}
		f.query = append(f.query, param{name, value})
	}
	if !o.kind.Listable() {
		s.fail("", "does nothing without list: %s has no list of its entities", o.kind.Name)
	}
	for _, p := range f.match {
		if !o.takes(p) {
			s.fail("match", "holds %q, which is no field of the body", p)
		}
	}
	if len(f.match) == 0 && o.kind.writing.ref == nil {
		s.fail("match", "is missing: the kind has no ref in its states, so want the fields by which what was created is known again")
	}
	if len(f.match) > 0 && f.at == nil {
		s.fail("at", "is missing: fields alone also match what was there before; want the path of the time at which an entity was made")
	}
	s.done()
	o.find = f
}

// Placeholders of the parameters of find: the ref, and fields of the body.
const (
	findRef  = "ref"
	findBody = "body."
)

// timePath is jsonPath for a path that may lead to several times.
func (s *section) timePath(name string) rawjson.Path {
	v := s.text(name)
	if v == "" {
		return nil
	}
	p, err := rawjson.ParsePath(v)
	if err != nil {
		s.fail(name, "%v", err)
	}
	return p
}

// parseUnclear reads the strategies and the key that they need.
func (o *Op) parseUnclear(s *section, api *apiSpec) {
	own := parseKey(s.sub("key"))
	key := own
	if key == nil && o.Method != http.MethodDelete {
		key = api.writes.key
	}
	for i, word := range s.texts("unclear") {
		if !slices.Contains(strategies, word) {
			s.fail("unclear", "holds %q: want some of %s", word, strings.Join(strategies, ", "))
			continue
		}
		if word == string(ByAsk) && i != len(s.texts("unclear"))-1 {
			s.fail("unclear", "has ask before others: nothing is tried after it, so it is the last")
		}
		o.Unclear = append(o.Unclear, Strategy(word))
	}
	if s.value["unclear"] == nil {
		o.Unclear = o.usual(key)
	}
	if len(o.Unclear) == 0 {
		s.fail("unclear", "is empty: want some of %s", strings.Join(strategies, ", "))
	}
	if o.tries(ByKey) && key != nil {
		o.key, o.Keep, o.ReplaysErrors = key, key.keep, key.replaysErrors
	}
	if o.tries(ByKey) && key == nil {
		s.fail("unclear", "has key, but no header carries one: give key with its header, here or under api.writes")
	}
	if own != nil && !o.tries(ByKey) {
		s.fail("key", "does nothing: key is not among unclear")
	}
}

// usual are the strategies where a definition names none.
func (o *Op) usual(key *keySpec) []Strategy {
	switch {
	case o.Method == http.MethodDelete || o.Method == http.MethodPut && !o.Creates():
		return []Strategy{ByRepeat}
	case key != nil:
		return []Strategy{ByKey, ByAsk}
	}
	return []Strategy{ByAsk}
}

// checkOp refuses strategies that cannot tell anything, and what does nothing.
func (o *Op) checkOp(s *section) {
	k := o.kind
	if o.tries(ByRepeat) && o.Creates() && !o.ownID() {
		s.fail("unclear", "has repeat: a create that is sent twice makes two; it needs own_id, an id of our own")
	}
	byState := len(o.done) > 0 || o.Creates() && o.ownID() || o.Name == OpDelete
	if o.tries(ByLook) && !byState {
		s.fail("unclear", "has look, and nothing says what to look for: give done, the statuses that show it, or own_id for a create")
	}
	if !o.tries(ByLook) && (len(o.done) > 0 || len(o.moot) > 0) {
		s.fail("done", "does nothing: look is not among unclear")
	}
	for _, list := range []struct {
		key      string
		statuses []string
	}{{"done", o.done}, {"moot", o.moot}} {
		for _, status := range list.statuses {
			if !slices.Contains(k.statuses, status) {
				s.fail(list.key, "holds %q, which is not among the statuses of %s", status, k.Name)
			}
		}
	}
	for _, status := range o.moot {
		if slices.Contains(o.done, status) {
			s.fail("moot", "holds %q, which is in done too", status)
		}
	}
	if o.tries(ByFind) && o.find == nil {
		s.fail("unclear", "has find, and nothing says how: give find, with the fields that match")
	}
	if o.find != nil && (!o.Creates() || !o.tries(ByFind)) {
		s.fail("find", "does nothing: it is for a create with find among unclear")
	}
	if o.Creates() && o.id == nil && !o.ownID() {
		s.fail("id", "is missing: want the path of the new id in the answer")
	}
	if !o.Creates() && o.id != nil {
		s.fail("id", "is for create only: the id of what is changed is known")
	}
	if len(o.gone) > 0 && o.Name != OpDelete {
		s.fail("gone", "is for delete only: of anything else it is a failure that the entity is gone")
	}
}

// takes reports whether a field, or one above it, may be in the body.
func (o *Op) takes(field rawjson.Path) bool {
	return slices.ContainsFunc(o.fields, func(p rawjson.Path) bool { return covers(p, field) })
}

// takesExactly reports whether a field may be in the body by its own name.
func (o *Op) takesExactly(field rawjson.Path) bool {
	return slices.ContainsFunc(o.fields, func(p rawjson.Path) bool { return slices.Equal(p, field) })
}

// covers reports whether a path of a definition, whose last step may be "*", is that of a
// field or of one above it.
func covers(p, field rawjson.Path) bool {
	if len(p) > len(field) {
		return false
	}
	for i, step := range p {
		if step != field[i] && step != "*" {
			return false
		}
	}
	return true
}
