package config

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder reads a YAML tree into Config, collecting everything that is wrong.
type decoder struct {
	origin
	vars     map[string]string
	readFile func(string) ([]byte, error)
	// variable is the one a node came from; nodes of the file have none.
	variable map[*yaml.Node]string
	// reported are the keys something is wrong with.
	reported map[string]bool
	problems []error
}

// origin is where a configuration came from.
type origin struct {
	file string
	// at is where each key was set, for checks made after reading.
	at map[string]place
	// files has the SHA-256 of the content of each file that a value names.
	files map[string][sha256.Size]byte
}

// place is where a value comes from: a line of the file or a variable.
type place struct {
	line int
	env  string
}

// problem is an error with the place of the key.
func (o origin) problem(at place, path, format string, args ...any) error {
	where := o.file
	switch {
	case at.env != "":
		where = at.env
	case at.line > 0:
		where = fmt.Sprintf("%s:%d", o.file, at.line)
	}
	if path != "" {
		where += ": " + path
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}

// Problem is an error about a key, as reading the configuration makes them:
// "tarn.yaml:7: sources.lemon.provider: …". It is for callers that know more about
// a value than stands here.
func (c *Config) Problem(path, format string, args ...any) error {
	return c.from.problem(c.from.at[path], path, format, args...)
}

// Files returns the files that values name as ${file:…}, with the SHA-256 of the content
// they had.
func (c *Config) Files() map[string][sha256.Size]byte { return maps.Clone(c.from.files) }

// Beside returns the path that is the value of a key: a relative one starts at the
// folder of its file, or, from the environment, at the folder the process runs in.
func (c *Config) Beside(key, path string) string {
	if c.from.at[key].env != "" {
		return path
	}
	return c.from.beside(path)
}

func (d *decoder) bad(at place, path, format string, args ...any) {
	if path != "" {
		d.reported[path] = true
	}
	d.problems = append(d.problems, d.problem(at, path, format, args...))
}

func (d *decoder) place(n *yaml.Node) place { return place{line: n.Line, env: d.variable[n]} }

// group reads a mapping into a struct.
func (d *decoder) group(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	d.pairs(n, path, func(key, value *yaml.Node) {
		for _, f := range fields {
			if f.name == key.Value {
				d.field(value, v.FieldByIndex(f.Index), f, join(path, f.name))
				return
			}
		}
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		d.bad(d.place(key), join(path, key.Value), "is not a key; known here: %s", strings.Join(names, ", "))
	})
}

// pairs calls do for each key of a mapping, once for each name.
func (d *decoder) pairs(n *yaml.Node, path string, do func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.bad(d.place(n), path, "want keys and values, not %s", describe(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			d.bad(d.place(key), path, "want a plain key, not %s", describe(key))
		case seen[key.Value]:
			d.bad(d.place(key), join(path, key.Value), "is here twice: remove one")
		default:
			seen[key.Value] = true
			do(key, value)
		}
	}
}

func (d *decoder) field(n *yaml.Node, v reflect.Value, f field, path string) {
	d.at[path] = d.place(n)
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		d.bad(d.place(n), path, "has no value: give one, or leave the key out")
	case isGroup(f.Type):
		d.group(n, v, path)
	case f.Type.Kind() == reflect.Map:
		d.named(n, v, f, path)
	case f.Type.Kind() == reflect.Slice:
		d.list(n, v, f, path)
	default:
		d.scalar(n, v, f, path)
	}
}

// named reads a mapping whose keys are names of the user's choice.
func (d *decoder) named(n *yaml.Node, v reflect.Value, f field, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, path, func(key, value *yaml.Node) {
		at := join(path, key.Value)
		d.at[at] = d.place(key)
		if !nameOK(key.Value) {
			d.bad(d.place(key), at, "want a name of a-z, 0-9, - and _, at most 32, a letter first")
			return
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if hasGroups(v.Type()) {
			setDefaults(element)
			d.group(value, element, at)
		} else {
			d.at[at] = d.place(value)
			d.scalar(value, element, f.element(), at)
		}
		v.SetMapIndex(reflect.ValueOf(key.Value), element)
	})
}

// element is the field of one value of a map of values.
func (f field) element() field {
	f.Type = f.Type.Elem()
	return f
}

// list reads a sequence, or a single value as a sequence of one.
func (d *decoder) list(n *yaml.Node, v reflect.Value, f field, path string) {
	nodes := []*yaml.Node{n}
	switch {
	case n.Kind == yaml.SequenceNode:
		nodes = n.Content
	case isGroup(f.Type.Elem()):
		d.bad(d.place(n), path, "want a list, not %s", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(f.Type, len(nodes), len(nodes)))
	for i, node := range nodes {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.at[at] = d.place(node)
		if isGroup(f.Type.Elem()) {
			setDefaults(v.Index(i))
			d.group(node, v.Index(i), at)
			continue
		}
		d.scalar(node, v.Index(i), f, at)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.ScalarNode {
		d.bad(d.place(n), path, "want %s, not %s", f.kind(), describe(n))
		return
	}
	if v.Kind() == reflect.String && n.Tag != "!!str" {
		d.bad(d.place(n), path, "want text, not %s: put it in quotes", describe(n))
		return
	}
	text, expanded, err := d.text(n)
	if err != nil {
		d.bad(d.place(n), path, "%v", err)
		return
	}
	// What came out of a variable or a secret file is not repeated to the log.
	quote := fmt.Sprintf("%q: ", text)
	if expanded || v.Type() == secretType {
		quote = ""
	}
	if err := setScalar(v, text, f.forever); err != nil {
		d.bad(d.place(n), path, "%s%v", quote, err)
		return
	}
	if err := f.within(v); err != nil {
		d.bad(d.place(n), path, "%s%v", quote, err)
	}
}

// text returns the text of a scalar, expanded if it came from the file.
func (d *decoder) text(n *yaml.Node) (text string, expanded bool, err error) {
	if d.variable[n] != "" {
		return n.Value, true, nil
	}
	text, err = d.expand(n.Value)
	return text, text != n.Value, err
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (write the value out)"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "a yes or no"
	case "!!int", "!!float":
		return "a number"
	case "!!str":
		return "text"
	default:
		return n.Tag
	}
}
