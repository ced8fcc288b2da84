package provider

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// layout is what of an envelope decides which places there can be.
type layout struct{ form, each bool }

// parseEnvelope also returns the section of further ids, whose names are checked once
// the kinds are known.
func parseEnvelope(s *section, signature signatureSpec) (envelopeSpec, *section) {
	spec := envelopeSpec{
		form:     s.choice("body", "json", "form") == "form",
		each:     s.each("each"),
		time:     s.timeFormat("time"),
		familyAt: s.text("family_at"),
	}
	if spec.familyAt == "" {
		spec.familyAt = "."
	}
	l := layout{form: spec.form, each: spec.each != nil}
	if l.form && l.each {
		s.fail("each", "is not for a form, which holds one event")
	}
	spec.parseID(s, l, signature)
	spec.eventType, spec.typePrefix = s.place("type", l), s.text("type_prefix")
	if !spec.eventType.is() {
		s.fail("type", "is missing")
	}
	spec.createdAt = s.onePlace("created_at", l)
	ids := spec.parseIDs(s, l)
	spec.parseRequire(s.sub("require"), l)
	spec.parseAnswers(s, l)
	s.done()
	return spec, ids
}

// timeFormat returns how times are written, or in which ways in turn: times are written
// in the first.
func (s *section) timeFormat(name string) timeFormat {
	known := slices.Sorted(maps.Keys(timeFormats))
	if n := s.value[name]; n == nil || n.Kind != yaml.SequenceNode {
		return timeFormats[s.choice(name, known...)]
	}
	var all []timeFormat
	for _, format := range s.texts(name) {
		if !slices.Contains(known, format) {
			s.fail(name, "holds %q: want one of %s", format, strings.Join(known, ", "))
			continue
		}
		all = append(all, timeFormats[format])
	}
	return firstTimeFormat(all)
}

func (spec *envelopeSpec) parseID(s *section, l layout, signature signatureSpec) {
	if old := s.value["id_header"]; old != nil {
		s.fail("id_header", "is written in another way: id: header:%s", old.Value)
		s.names = slices.DeleteFunc(s.names, func(name string) bool { return name == "id_header" })
		return
	}
	n := s.value["id"]
	if n == nil {
		s.fail("id", "is missing: want the place of the event's id, as in id: id or id: header:webhook-id; or %s, or %s", idBodyHash, idNone)
		return
	}
	if word, ok := scalar(n); ok && (word == idBodyHash || word == idNone) {
		spec.made = s.text("id")
		if l.each && spec.made == idNone {
			s.fail("id", "is %s: with each, a request that is sent again would make all its events again; want %s", idNone, idBodyHash)
		}
		return
	}
	spec.id = s.place("id", l)
	for i := range spec.id.parts {
		p := &spec.id.parts[i]
		p.outside = false // the log has the id itself
		if p.kind == inHeader && len(spec.id.parts) == 1 {
			spec.signedIDs = signature.signedIDs(p.header.text)
		}
	}
}

// parseIDs reads where the ids are of what events name.
func (spec *envelopeSpec) parseIDs(s *section, l layout) *section {
	spec.context = s.onePlace("context", l)
	if spec.context.is() {
		switch p := spec.context.parts[0]; {
		case l.form:
			s.fail("context", "is not for a form, which holds no object: give object or ids")
		case p.kind != inBody && p.kind != inElement:
			s.fail("context", "is %q: want the path of an object", p.text)
		case p.outside:
			s.fail("context", "is %q: with each, want the path of an object in the element, as in \"@.context\"", p.text)
		}
	}
	object := s.sub("object")
	spec.objectID, spec.objectTyp = object.place("id", l), object.place("type", l)
	if object.value != nil && !spec.objectID.is() {
		object.fail("id", "is missing: want the place of the object's id")
	}
	object.done()
	ids := s.sub("ids")
	for _, name := range ids.names {
		if !placeholderName.MatchString(name) {
			ids.fail(name, "is no name of an id: want the one that paths of kinds have in braces")
		}
		spec.ids = append(spec.ids, idPlace{name: []byte(name), at: ids.place(name, l)})
	}
	switch {
	case spec.context.is() && object.value != nil:
		s.fail("context", "is the path of the ids: want either context or object, not both")
	case !spec.context.is() && object.value == nil && len(spec.ids) == 0:
		s.fail("context", "is missing: want the path of an object of ids; or object, or ids")
	}
	return ids
}

func (spec *envelopeSpec) parseRequire(s *section, l layout) {
	for _, name := range s.names {
		n := s.get(name)
		p := s.part(n, name, name, l)
		want, ok := scalar(n)
		if !ok || want == "" {
			s.fail(name, "is %s: want a value, or the setting that has it, as in \"{mode}\"", describe(n))
			continue
		}
		r := requirement{place: p, want: want}
		if r.setting = s.setting(name, want); r.setting != "" {
			r.want = ""
		}
		spec.require = append(spec.require, r)
	}
}

// setting returns the name of the setting that a text leaves a value to, "" if it is
// the value itself.
func (s *section) setting(name, text string) string {
	if !strings.ContainsAny(text, "{}") {
		return ""
	}
	setting, ok := strings.CutPrefix(text, "{")
	setting, closed := strings.CutSuffix(setting, "}")
	if !ok || !closed || !plainName.MatchString(setting) {
		s.fail(name, "is %q: want a value, or one setting of the source, as in \"{mode}\"", text)
		return ""
	}
	return setting
}

// each returns a member that is the way to the events of a request. Nil if absent.
func (s *section) each(name string) *eachSpec {
	text := s.text(name)
	switch {
	case text == "":
		return nil
	case text == ".":
		return &eachSpec{text: "body", steps: rawjson.Path{}}
	}
	steps, err := rawjson.ParsePath(text)
	if err != nil {
		s.fail(name, `%v; want "." for a body that is an array`, err)
	}
	return &eachSpec{text: text, steps: steps}
}

// place returns a member that is a place or a list of places. Without parts if absent.
func (s *section) place(name string, l layout) (p place) {
	n := s.get(name)
	if n == nil {
		return p
	}
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		if nodes = n.Content; len(nodes) == 0 {
			s.fail(name, "is an empty list: want at least one place")
		}
	}
	for _, n := range nodes {
		if n.Kind == yaml.MappingNode && len(n.Content) > 0 && n.Content[0].Value == "first_of" {
			p.parts = append(p.parts, s.firstOf(n, name, l))
			continue
		}
		text, ok := scalar(n)
		if !ok || text == "" {
			s.r.fail(n, s.path(name), "is %s: want a place such as data.id, header:Name or text:word", describe(n))
			text = "-"
		}
		p.parts = append(p.parts, s.part(n, name, text, l))
	}
	return p
}

// firstOf reads a part that is the first of several paths.
func (s *section) firstOf(n *yaml.Node, name string, l layout) part {
	sub := s.r.section(n, s.path(name))
	texts := sub.texts("first_of")
	sub.done()
	p := part{kind: isFirst, text: strings.Join(texts, " or ")}
	if len(texts) < 2 {
		sub.fail("first_of", "wants two paths at least")
	}
	for _, text := range texts {
		alternative := s.part(n, name, text, l)
		if alternative.kind != inBody && alternative.kind != inElement || alternative.outside {
			sub.fail("first_of", "holds %q: want paths in the event itself", text)
		}
		p.first = append(p.first, alternative)
	}
	return p
}

// onePlace is place for what is no list.
func (s *section) onePlace(name string, l layout) place {
	if n := s.value[name]; n != nil && n.Kind == yaml.SequenceNode {
		s.get(name)
		s.fail(name, "is a list: want one place")
		return place{}
	}
	return s.place(name, l)
}

// part reads one part of a place.
func (s *section) part(n *yaml.Node, name, text string, l layout) part {
	p := part{text: text}
	path, err := rawjson.Path(nil), error(nil)
	switch header, isHeader := strings.CutPrefix(text, headerPrefix); {
	case isHeader:
		s.checkHeader(name, header)
		p.kind, p.header, p.outside = inHeader, named(header), true
		return p
	case strings.HasPrefix(text, fixedPrefix):
		p.kind, p.fixed = isFixed, strings.TrimPrefix(text, fixedPrefix)
		if p.fixed == "" {
			s.r.fail(n, s.path(name), "is %q: want a text, as in text:order", text)
		}
		return p
	case l.form:
		p.kind = inForm
		return p
	case strings.HasPrefix(text, elementPrefix):
		if !l.each {
			s.r.fail(n, s.path(name), "is %q: @ begins a path in an element of each, and there is no each", text)
		}
		p.kind = inElement
		path, err = rawjson.ParsePath(strings.TrimPrefix(text, elementPrefix))
	case strings.HasPrefix(text, "@"):
		s.r.fail(n, s.path(name), "is %q: want a path in the element, as in \"@.id\"", text)
	default:
		p.kind, p.outside = inBody, l.each
		path, err = rawjson.ParsePath(text)
	}
	if err != nil {
		s.r.fail(n, s.path(name), "%v", err)
	} else if slices.Contains(path, "*") {
		s.r.fail(n, s.path(name), `is %q: a path to one value has no "*"`, text)
	}
	p.path = path
	return p
}

// checkListed refuses a list of events whose elements could not be read as events: they
// come without headers and without the rest of a request.
func (spec *envelopeSpec) checkListed(s *section) {
	if spec.made != "" {
		s.fail("path", "is of no use with envelope.id: %s: the id of an event in a list would not be that of its webhook", spec.made)
	}
	if spec.form {
		s.fail("path", "is of no use with envelope.body: form: events in a list are JSON")
	}
	check := func(key string, parts []part) {
		for _, p := range parts {
			if p.outside || p.kind == inHeader {
				s.fail("path", "is of no use with envelope.%s: events in a list come without headers and alone, so none would have %s", key, p.text)
			}
		}
	}
	check("id", spec.id.parts)
	check("type", spec.eventType.parts)
	check("created_at", spec.createdAt.parts)
	check("object.id", spec.objectID.parts)
	check("object.type", spec.objectTyp.parts)
	for _, r := range spec.require {
		check("require", []part{r.place})
	}
}

// checkIDs refuses further ids that no path is made of.
func (d *Definition) checkIDs(ids *section) {
	for _, name := range ids.names {
		if !d.envelope.keys[name] {
			ids.fail(name, "is used by nothing: no path of a kind has {%s}", name)
		}
	}
}
