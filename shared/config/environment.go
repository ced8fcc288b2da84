package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// overlay puts the TARN_… variables into the tree, so that they are read and
// checked like the file.
//
// Names without two underscores that are no key are left alone: orchestrators
// and tests make such names of their own (TARN_API_PORT). With two, a name can
// only have been meant as a key, and one that is none is an error.
func (d *decoder) overlay(root *yaml.Node) {
	for _, name := range slices.Sorted(maps.Keys(d.vars)) {
		steps, ok := strings.CutPrefix(name, envPrefix)
		if !ok {
			continue
		}
		if !d.override(root, name, strings.Split(steps, "__")) && strings.Contains(steps, "__") {
			d.bad(place{env: name}, "", "is no setting: see --help for the names")
		}
	}
}

// override sets the value of one variable and reports whether it names a key.
func (d *decoder) override(root *yaml.Node, name string, steps []string) bool {
	path, leaf, ok := resolve(root, reflect.TypeFor[Config](), steps)
	if !ok {
		return false
	}
	value, err := envNode(d.vars[name], leaf)
	if err != nil {
		d.bad(place{env: name}, strings.Join(path, "."), "%v", err)
		return true
	}
	d.mark(value, name)
	n := root
	for i, step := range path {
		child := child(n, step)
		if i == len(path)-1 {
			*child = *value
			d.mark(child, name)
			return true
		}
		if child.Kind != yaml.MappingNode {
			*child = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		}
		n = child
	}
	return true
}

// mark remembers which variable a node and all below it came from.
func (d *decoder) mark(n *yaml.Node, name string) {
	d.variable[n] = name
	for _, c := range n.Content {
		d.mark(c, name)
	}
}

// resolve follows the steps of a variable's name down the settings. Steps that
// name something of the user's own (a source) are matched with what the file
// has, else taken in small letters.
func resolve(n *yaml.Node, t reflect.Type, steps []string) (path []string, leaf reflect.Type, ok bool) {
	for _, step := range steps {
		var name string
		switch {
		case isGroup(t):
			name, t = settingOf(t, step)
		case t.Kind() == reflect.Map:
			name, t = nameOf(n, step), t.Elem()
		default:
			return nil, nil, false
		}
		if name == "" {
			return nil, nil, false
		}
		path = append(path, name)
		n = lookup(n, name)
	}
	return path, t, !isGroup(t) && t.Kind() != reflect.Map
}

func settingOf(t reflect.Type, step string) (string, reflect.Type) {
	for _, f := range fieldsOf(t) {
		if envStep(f.name) == step {
			return f.name, f.Type
		}
	}
	return "", nil
}

func nameOf(n *yaml.Node, step string) string {
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if envStep(n.Content[i].Value) == step {
				return n.Content[i].Value
			}
		}
	}
	return strings.ToLower(step)
}

// lookup returns the value of a key, or nil.
func lookup(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// child returns the value of a key, adding an empty one if need be.
func child(n *yaml.Node, name string) *yaml.Node {
	if c := lookup(n, name); c != nil {
		return c
	}
	c := &yaml.Node{}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, c)
	return c
}

// envNode makes a node of a variable's text: a scalar as it is, a list from
// YAML if it looks like one, else from comma-separated values.
func envNode(text string, leaf reflect.Type) (*yaml.Node, error) {
	if leaf.Kind() != reflect.Slice {
		return textNode(text), nil
	}
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			return nil, errNoList
		}
		return doc.Content[0], nil
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for item := range strings.SplitSeq(text, ",") {
		list.Content = append(list.Content, textNode(strings.TrimSpace(item)))
	}
	return list, nil
}

func textNode(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}
