package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Key describes one setting.
type Key struct {
	// Path is the key as in a file, <name> standing for a name of one's own:
	// "sources.<name>.rate.limit".
	Path string
	// Env is the environment variable that sets it.
	Env string
	// Type is text, number, duration, size, list or map, with what restricts it.
	Type string
	// Default is its default as written in a file; "" if it has none.
	Default string
	// Required keys have no default and must be given.
	Required bool
	// Reload keys are read again on SIGHUP.
	Reload bool
	// Help says what it is for.
	Help string
}

// Keys returns all settings in the order of Config.
func Keys() []Key { return keysOf(reflect.TypeFor[Config](), "") }

// WriteHelp writes all settings for --help.
func WriteHelp(w io.Writer) error {
	for _, k := range Keys() {
		notes := k.Type
		switch {
		case k.Default != "":
			notes += ", default " + k.Default
		case k.Required:
			notes += ", required"
		}
		if k.Reload {
			notes += ", read again on SIGHUP"
		}
		if _, err := fmt.Fprintf(w, "  %s (%s)\n      %s\n", k.Path, notes, k.Help); err != nil {
			return err
		}
	}
	return nil
}

func keysOf(t reflect.Type, path string) []Key {
	var keys []Key
	for _, f := range fieldsOf(t) {
		k := f.key(path)
		switch {
		case isGroup(f.Type):
			keys = append(keys, keysOf(f.Type, k.Path)...)
		case hasGroups(f.Type):
			keys = append(keys, k)
			keys = append(keys, keysOf(f.Type.Elem(), k.Path+".<name>")...)
		case isGroups(f.Type):
			keys = append(keys, k)
			keys = append(keys, keysOf(f.Type.Elem(), k.Path+"[]")...)
		default:
			keys = append(keys, k)
		}
	}
	return keys
}

// field is one setting of a struct, as its tags say.
type field struct {
	reflect.StructField
	name           string
	def            string
	hasDefault     bool
	min, max, help string
	oneOf          []string
	// forever allows the word, which reads as 0.
	required, reloaded, forever bool
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			continue
		}
		tag := t.Field(i).Tag
		def, ok := tag.Lookup("default")
		fields = append(fields, field{
			StructField: t.Field(i), name: tag.Get("yaml"), def: def, hasDefault: ok,
			min: tag.Get("min"), max: tag.Get("max"), help: tag.Get("help"), oneOf: strings.Fields(tag.Get("oneof")),
			required: tag.Get("required") == "true", reloaded: tag.Get("reload") == "true",
			forever: tag.Get("forever") == "true",
		})
	}
	return fields
}

func (f field) key(path string) Key {
	p := join(path, f.name)
	return Key{
		Path: p, Env: envName(p), Type: f.kind(), Default: f.def,
		Required: f.required && !f.hasDefault, Reload: f.reloaded, Help: f.help,
	}
}

func (f field) kind() string {
	var kind string
	switch {
	case f.Type == durationType:
		kind = "duration"
	case f.Type == bytesType:
		kind = "size"
	case f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Float64:
		kind = "number"
	case f.Type.Kind() == reflect.Bool:
		kind = "true | false"
	case f.Type.Kind() == reflect.Slice:
		kind = "list"
	case f.Type.Kind() == reflect.Map:
		kind = "map"
	default:
		kind = "text"
	}
	switch {
	case len(f.oneOf) > 0:
		return strings.Join(f.oneOf, " | ")
	case f.min != "" && f.max != "":
		return kind + " " + f.min + " to " + f.max
	case f.forever:
		return kind + " from " + f.min + ", or forever"
	default:
		return kind
	}
}

// isGroup reports whether a type holds settings rather than being one.
func isGroup(t reflect.Type) bool { return t.Kind() == reflect.Struct }

// isGroups reports whether a type is a list of groups.
func isGroups(t reflect.Type) bool { return t.Kind() == reflect.Slice && isGroup(t.Elem()) }

// hasGroups reports whether a type holds groups by names of the user's choice.
func hasGroups(t reflect.Type) bool { return t.Kind() == reflect.Map && isGroup(t.Elem()) }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

const envPrefix = "TARN_"

func envName(path string) string {
	return envPrefix + envStep(strings.ReplaceAll(path, ".", "__"))
}

// envStep is a step of a path in the name of a variable.
func envStep(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
