package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the file and everything ${file:…} names: no real configuration has
// a megabyte, and a device file would never end.
const maxFile = 1 << 20

// Load reads the file (none if path is "") and the environment, as given by
// os.Environ, over it. The error holds everything that is wrong, one a line.
func Load(path string, environ []string) (*Config, error) {
	var text []byte
	if path != "" {
		var err error
		if text, err = ReadFile(path); err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
	}
	return Parse(path, text, environ)
}

// Parse reads text, which errors call name, and the environment over it, as Load
// does.
func Parse(name string, text []byte, environ []string) (*Config, error) {
	return parse(name, text, environ, ReadFile)
}

func parse(file string, text []byte, environ []string, read func(string) ([]byte, error)) (*Config, error) {
	if file == "" {
		file = "configuration"
	}
	root, err := document(file, text)
	if err != nil {
		return nil, err
	}
	vars := variables(environ)
	d := &decoder{origin: origin{file: file, at: map[string]place{}, files: map[string][sha256.Size]byte{}}, vars: vars, readFile: read,
		variable: map[*yaml.Node]string{}, reported: map[string]bool{}}
	d.overlay(root)
	c := Config{from: d.origin}
	value := reflect.ValueOf(&c).Elem()
	setDefaults(value)
	d.group(root, value, "")
	d.check(&c)
	if len(d.problems) > 0 {
		return nil, errors.Join(d.problems...)
	}
	return &c, nil
}

// document parses the text into the mapping it has to be.
func document(file string, text []byte) (*yaml.Node, error) {
	empty := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return empty, nil
	case err != nil:
		return nil, fmt.Errorf("%s%s", file, located(err))
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: holds more than one YAML document: remove all but one", file)
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null":
		return empty, nil
	case root.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("%s:%d: want keys and values, such as shards: 64", file, root.Line)
	}
	return root, nil
}

// located turns the parser's "yaml: line 3: …" into ":3: …".
func located(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		return ":" + rest
	}
	return ": " + text
}

// variables returns the environment as a map; the last of equal names wins, as
// it does in os.Getenv.
func variables(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			vars[name] = value
		}
	}
	return vars
}

// ReadFile reads a file that a value names, as Load does.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return text, nil
}

// setDefaults sets the defaults of all fields below v.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.Index)
		switch {
		case isGroup(f.Type):
			setDefaults(fv)
		case f.hasDefault && f.Type.Kind() == reflect.Slice:
			fv.Set(reflect.MakeSlice(f.Type, 1, 1))
			mustSet(fv.Index(0), f)
		case f.hasDefault:
			mustSet(fv, f)
		}
	}
}

func mustSet(v reflect.Value, f field) {
	if err := setScalar(v, f.def, f.forever); err != nil {
		panic(fmt.Sprintf("config: default of %s: %v", f.Name, err)) // a mistake in a tag, found by any test
	}
}
