package provider

import (
	"errors"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Parse reads a definition; file names it in errors, which give line and key.
func Parse(file string, text []byte) (*Definition, error) {
	r := &reader{file: file}
	root, err := r.open(text)
	if err != nil {
		return nil, err
	}
	s := r.section(root, "")
	signed := parseSignature(s.must("signature"))
	envelope, ids := parseEnvelope(s.must("envelope"), signed)
	api, scope := parseAPI(s.must("api"), envelope)
	d := &Definition{
		Name:      s.required("provider"),
		signature: signed,
		envelope:  envelope,
		api:       api,
		history:   parseHistory(s.sub("history")),
		byName:    map[string]*Kind{},
		families:  map[string]*family{},
		scratch:   &scratchPool{},
	}
	if d.Name != "" && !plainName.MatchString(d.Name) {
		s.fail("provider", "is %q: want lower-case letters, digits and _", d.Name)
	}
	kinds := s.must("kinds")
	d.parseKinds(kinds)
	d.envelope.keys = d.contextKeys()
	d.checkIDs(ids)
	d.checkScope(scope)
	d.parseFamilies(s.must("events"))
	d.checkFilled(kinds)
	if d.api.writes.given && !d.Writes() {
		s.fail("api", "has writes, and no kind has any: give one writes of its own, or leave them out")
	}
	s.done()
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return d, nil
}

// headerFields takes out what is filled into headers.
var headerFields = strings.NewReplacer("{principal}", "", "{justification}", "")

// contextKeys are the names that paths are made of.
func (d *Definition) contextKeys() map[string]bool {
	keys := map[string]bool{}
	for _, k := range d.kinds {
		for _, name := range append(slices.Clone(k.ParentKeys), k.IDKey, k.ElementKey) {
			keys[name] = name != ""
		}
	}
	return keys
}

func (s *section) checkHeader(key, name string) {
	if !httpguts.ValidHeaderFieldName(name) {
		s.fail(key, "%q is no name of a header", name)
	}
}

// parseAPI also returns the section of scopes, whose kind is checked once the kinds are
// known.
func parseAPI(s *section, envelope envelopeSpec) (apiSpec, *section) {
	spec := apiSpec{
		auth:    parseAuth(s),
		headers: http.Header{},
		pages:   parsePagination(s.sub("pagination"), cursorPages()),
		paged:   s.value["pagination"] != nil,
		errors:  parseErrors(s),

		rateHeaders: s.choice("rate_headers", slices.Sorted(maps.Keys(rateStyles))...), // none comes first
		probe:       s.required("probe"),
	}
	headers := s.sub("headers")
	for _, name := range headers.names {
		s.checkHeader("headers", name)
		value := headers.text(name)
		if !httpguts.ValidHeaderFieldValue(value) {
			headers.fail(name, "is %q: no value for a header", value)
		}
		if strings.ContainsAny(headerFields.Replace(value), "{}") {
			headers.fail(name, "is %q: only {principal} and {justification} are filled in", value)
		}
		spec.headers[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	}
	if name := spec.auth.keyHeader(); spec.headers[textproto.CanonicalMIMEHeaderKey(name)] != nil {
		s.fail("headers", "holds %q, which auth sets to the key: leave it out", name)
	}
	s.checkFixed("probe", spec.probe)
	spec.identity = parseIdentity(s.sub("identity"))
	events := s.sub("events")
	spec.events = eventsSpec{
		path: events.text("path"), since: events.text("since"), query: events.fixedParams("query"),
		newestFirst: events.choice("order", "oldest_first", "newest_first") == "newest_first",
		horizon:     events.duration("horizon", 0),
	}
	if events.value != nil {
		events.checkFixed("path", spec.events.path)
	}
	if spec.events.path != "" {
		envelope.checkListed(events)
	}
	if spec.events.path != "" {
		spec.events.pages = events.pagination(spec, "path")
		events.checkQuery("query", spec.events.query, spec.events.pages, spec.events.since)
	}
	events.done()
	spec.webhooks = parseWebhooks(s.sub("webhooks"), spec)
	spec.writes = parseWrites(s.sub("writes"))
	scope := s.sub("scope")
	spec.parseScope(scope, layout{form: envelope.form, each: envelope.each != nil})
	s.done()
	return spec, scope
}

// checkPath wants a path that is under the API's address: it can then never
// lead to another host, where the key must not go.
func (s *section) checkPath(name, path string) {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, " #\\") {
		s.fail(name, "is %q: want a path such as /accounts", path)
	}
}

// checkFixed wants a path without placeholders.
func (s *section) checkFixed(name, path string) {
	s.checkPath(name, path)
	if strings.ContainsAny(path, "{}") {
		s.fail(name, "is %q: nothing fills a placeholder here; want a path such as /accounts?limit=1", path)
	}
}

// checkQuery refuses parameters that something else sets for each request: those of
// the query would stand above it, so that the list comes at another size than is
// asked for, or its first page for ever. since is the name of the lower bound, "" if
// the list has none.
func (s *section) checkQuery(name string, query params, pages *paginationSpec, since string) {
	if since != "" && query.has(since) {
		s.fail(name, "holds %q, which the key since sets for each request: leave one of the two out", since)
	}
	for _, param := range pages.params() {
		if query.has(param) {
			s.fail(name, "holds %q, which api.pagination sets for each request: leave it out", param)
		}
	}
}

func parseHistory(s *section) historySpec {
	spec := historySpec{status: s.text("status"), at: s.text("at")}
	if spec.status == "" {
		spec.status = "status"
	}
	if spec.at == "" {
		spec.at = "timestamp"
	}
	s.done()
	return spec
}
