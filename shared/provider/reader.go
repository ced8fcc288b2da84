package provider

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// maxErrors is how many errors of one file are reported.
const maxErrors = 20

// reader reads YAML strictly and gathers what is wrong, each with file, line
// and key, so that an author sees all of it at once.
type reader struct {
	file string
	errs []error
}

// maxDefinition is how long a definition may be, in bytes, and maxKinds how many kinds
// it may have. One that is longer is most likely no definition.
const (
	maxDefinition = 512 << 10
	maxKinds      = 1000
)

// open returns the one document of a file.
func (r *reader) open(text []byte) (*yaml.Node, error) {
	if len(text) > maxDefinition {
		return nil, fmt.Errorf("%s: is longer than %d bytes, which is the most that a definition may have", r.file, maxDefinition)
	}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: the file is empty", r.file)
		}
		return nil, fmt.Errorf("%s: %w", r.file, err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%d: want one YAML document in the file", r.file, more.Line)
	}
	if len(doc.Content) != 1 {
		return nil, fmt.Errorf("%s: the file is empty", r.file)
	}
	return doc.Content[0], nil
}

func (r *reader) fail(n *yaml.Node, key, format string, args ...any) {
	if len(r.errs) == maxErrors {
		return
	}
	if key == "" {
		key = "definition"
	}
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s: %s", r.file, n.Line, key, fmt.Sprintf(format, args...)))
}

// section is a YAML mapping whose members are asked for by name; whatever was
// not asked for by the time of done is unknown.
type section struct {
	r     *reader
	node  *yaml.Node      // where it begins: its own name, if it has one
	key   string          // its path from the root: "kinds.order"
	names []string        // of its members, in the order of the file
	asked []string        // those that may be there
	known map[string]bool // asked as a set
	name  map[string]*yaml.Node
	value map[string]*yaml.Node
}

func (r *reader) section(n *yaml.Node, key string) *section {
	s := &section{r: r, node: n, key: key, name: map[string]*yaml.Node{}, value: map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		r.fail(n, key, "is %s: want a mapping", describe(n))
		return s
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		switch {
		case name.Kind != yaml.ScalarNode || name.Tag != "!!str":
			r.fail(name, key, "has a key that is no text")
		case s.value[name.Value] != nil:
			r.fail(name, s.path(name.Value), "occurs twice")
		default:
			s.names = append(s.names, name.Value)
			s.name[name.Value], s.value[name.Value] = name, n.Content[i+1]
		}
	}
	return s
}

// path is the key of a member, from the root; with no name the section's own.
func (s *section) path(name string) string { return strings.Trim(s.key+"."+name, ".") }

func (s *section) fail(name, format string, args ...any) {
	n := s.node
	if v := s.name[name]; v != nil {
		n = v
	}
	s.r.fail(n, s.path(name), format, args...)
}

// ask notes that a member of that name may be there.
func (s *section) ask(names ...string) {
	if s.known == nil {
		s.known = map[string]bool{}
	}
	for _, name := range names {
		if !s.known[name] {
			s.known[name] = true
			s.asked = append(s.asked, name)
		}
	}
}

// get returns the value of a member, nil if it is absent.
func (s *section) get(name string) *yaml.Node {
	s.ask(name)
	return s.value[name]
}

// done reports the members that were not read: unknown keys.
func (s *section) done() {
	for _, name := range s.names {
		if !s.known[name] {
			s.fail(name, "is unknown here: want one of %s", strings.Join(s.asked, ", "))
		}
	}
}

// sub returns a member that is a mapping; an absent one is empty.
func (s *section) sub(name string) *section {
	n := s.get(name)
	if n == nil {
		return &section{r: s.r, node: s.node, key: s.path(name)}
	}
	sub := s.r.section(n, s.path(name))
	sub.node = s.name[name]
	return sub
}

// must is sub for a mapping that has to be there.
func (s *section) must(name string) *section {
	if s.value[name] == nil {
		s.fail(name, "is missing")
	}
	return s.sub(name)
}

// text returns a member that is text. "" if absent.
func (s *section) text(name string) string {
	n := s.get(name)
	if n == nil {
		return ""
	}
	v, ok := scalar(n)
	if !ok || v == "" {
		s.fail(name, "is %s: want text", describe(n))
	}
	return v
}

// required is text that has to be there.
func (s *section) required(name string) string {
	if s.value[name] == nil {
		s.fail(name, "is missing")
	}
	return s.text(name)
}

// choice is text that must be one of the given words; the first is the
// default.
func (s *section) choice(name string, words ...string) string {
	v := s.text(name)
	if v == "" {
		return words[0]
	}
	if !slices.Contains(words, v) {
		s.fail(name, "is %q: want one of %s", v, strings.Join(words, ", "))
	}
	return v
}

// texts returns a member that is a list of texts without repetition.
func (s *section) texts(name string) []string {
	n := s.get(name)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		s.fail(name, "is %s: want a list", describe(n))
		return nil
	}
	var out []string
	for _, e := range n.Content {
		v, ok := scalar(e)
		switch {
		case !ok || v == "":
			s.r.fail(e, s.path(name), "holds %s: want text", describe(e))
		case slices.Contains(out, v):
			s.r.fail(e, s.path(name), "holds %q twice", v)
		default:
			out = append(out, v)
		}
	}
	return out
}

// flag returns a member that is true or false. False if absent.
func (s *section) flag(name string) bool {
	n := s.get(name)
	if n == nil {
		return false
	}
	var v bool
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&v) != nil {
		s.fail(name, "is %s: want true or false", describe(n))
	}
	return v
}

// duration returns a member such as 5s or 10m.
func (s *section) duration(name string, absent time.Duration) time.Duration {
	v := s.text(name)
	if v == "" {
		return absent
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		s.fail(name, "is %q: want a time such as 500ms, 5s or 10m", v)
		return absent
	}
	return d
}

// number returns a member that is a whole number from 1 to most.
func (s *section) number(name string, absent, most int) int {
	n := s.get(name)
	if n == nil {
		return absent
	}
	var v int
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < 1 || v > most {
		s.fail(name, "is %s: want a whole number from 1 to %d", describe(n), most)
		return absent
	}
	return v
}

// jsonPath returns a member that is a path into JSON. Nil if absent.
func (s *section) jsonPath(name string) rawjson.Path {
	v := s.text(name)
	if v == "" {
		return nil
	}
	p, err := rawjson.ParsePath(v)
	if err != nil {
		s.fail(name, "%v", err)
	} else if slices.Contains(p, "*") {
		s.fail(name, `is %q: a path to one value has no "*"`, v)
	}
	return p
}

// jsonPaths returns a member that is a list of paths into JSON. A path must
// end in a name, since what it leads to is a member to leave out.
func (s *section) jsonPaths(name string) []rawjson.Path {
	var paths []rawjson.Path
	for _, v := range s.texts(name) {
		p, err := rawjson.ParsePath(v)
		if err != nil {
			s.fail(name, "%v", err)
			continue
		}
		if p[len(p)-1] == "*" {
			s.fail(name, "%q ends in \"*\": name the field", v)
		}
		paths = append(paths, p)
	}
	return paths
}

// scalar returns the text of a scalar: of a number or a flag as it is written.
func scalar(n *yaml.Node) (string, bool) {
	return n.Value, n.Kind == yaml.ScalarNode && n.Tag != "!!null"
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias, which this language does not have"
	}
	if n.Value == "" || n.Tag == "!!null" {
		return "empty"
	}
	return fmt.Sprintf("%.60q", n.Value)
}
