package provider

import (
	"net/url"
	"slices"
	"strings"
)

// endpoint is a path under the API's address with its parameters. Both may have
// placeholders.
type endpoint struct {
	path  template
	query params
}

// given reports whether the definition has the endpoint.
func (e endpoint) given() bool { return e.path != nil }

// names returns the placeholders, each once: those of the path, then those that only
// the parameters have.
func (e endpoint) names() []string {
	names := e.path.names()
	for _, p := range e.query {
		for _, name := range p.value.names() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// own returns the placeholder of the id of what is asked for: the last of the path,
// or of the parameters if the path has none. "" if neither has one.
func (e endpoint) own() string {
	names := e.path.names()
	if len(names) == 0 {
		names = e.names()
	}
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// template is a text with placeholders, "/accounts/{account}/orders/{order}", cut at
// them: text, name, text, name …
type template []string

// names returns the placeholders in the order of the text.
func (t template) names() []string {
	var names []string
	for i := 1; i < len(t); i += 2 {
		names = append(names, t[i])
	}
	return names
}

// path returns the text as a path: the values of its placeholders percent-escaped.
func (t template) path(value func(name string) string) string {
	return t.fill(func(name string) string { return url.PathEscape(value(name)) })
}

// fill returns the text with the values of its placeholders.
func (t template) fill(value func(name string) string) string {
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			part = value(part)
		}
		b.WriteString(part)
	}
	return b.String()
}

// params are query parameters, in the order of the file.
type params []param

type param struct {
	name  string
	value template
}

// has reports whether there is a parameter of that name.
func (p params) has(name string) bool {
	return slices.ContainsFunc(p, func(one param) bool { return one.name == name })
}

// fill returns the parameters with the values of their placeholders.
func (p params) fill(value func(name string) string) url.Values {
	out := make(url.Values, len(p))
	for _, one := range p {
		out.Set(one.name, one.value.fill(value))
	}
	return out
}

// fixed are parameters without placeholders.
func (p params) fixed() url.Values { return p.fill(func(string) string { return "" }) }

// path returns a member that is a path with placeholders. Nil if absent.
func (s *section) pathTemplate(name string) template {
	v := s.text(name)
	if v == "" {
		return nil
	}
	s.checkPath(name, v)
	if strings.Contains(v, "?") {
		s.fail(name, "is %q: parameters go into query", v)
	}
	return s.template(name, v)
}

// template cuts the text of a member at its placeholders.
func (s *section) template(name, text string) template {
	var t template
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "{")
		t = append(t, before)
		if !found {
			break
		}
		placeholder, behind, closed := strings.Cut(after, "}")
		if !closed || !placeholderName.MatchString(placeholder) || slices.Contains(t.names(), placeholder) {
			s.fail(name, "is %q: want each placeholder once and as {name}", text)
			return t
		}
		t, rest = append(t, placeholder), behind
	}
	for i := 0; i < len(t); i += 2 {
		if strings.ContainsRune(t[i], '}') {
			s.fail(name, "is %q: a } has no {", text)
			break
		}
	}
	return t
}

// params returns a member that is a mapping of query parameters, whose values may
// have placeholders.
func (s *section) params(name string) params {
	var out params
	sub := s.sub(name)
	for _, k := range sub.names {
		out = append(out, param{k, sub.template(k, sub.text(k))})
	}
	return out
}

// fixedParams is params for a request that nothing fills a placeholder of.
func (s *section) fixedParams(name string) params {
	sub := s.sub(name)
	var out params
	for _, k := range sub.names {
		v := sub.text(k)
		out = append(out, param{k, template{v}})
	}
	return out
}
