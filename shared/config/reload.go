package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// NeedsRestart returns the keys that differ between two configurations and that
// SIGHUP does not change, sorted. The log names them, since they take effect only
// after a restart.
func NeedsRestart(running, read *Config) []string {
	var keys []string
	differ(reflect.ValueOf(*running), reflect.ValueOf(*read), "", &keys)
	slices.Sort(keys)
	return keys
}

func differ(a, b reflect.Value, path string, keys *[]string) {
	for _, f := range fieldsOf(a.Type()) {
		av, bv, at := a.FieldByIndex(f.Index), b.FieldByIndex(f.Index), join(path, f.name)
		switch {
		case f.reloaded:
		case isGroup(f.Type):
			differ(av, bv, at, keys)
		case hasGroups(f.Type):
			differNamed(av, bv, at, keys)
		case isGroups(f.Type) && av.Len() == bv.Len():
			for i := range av.Len() {
				differ(av.Index(i), bv.Index(i), fmt.Sprintf("%s[%d]", at, i), keys)
			}
		case !reflect.DeepEqual(av.Interface(), bv.Interface()):
			*keys = append(*keys, at)
		}
	}
}

func differNamed(a, b reflect.Value, path string, keys *[]string) {
	names := map[string]reflect.Value{}
	for _, m := range []reflect.Value{a, b} {
		for _, k := range m.MapKeys() {
			names[k.String()] = k
		}
	}
	for name := range maps.Keys(names) {
		av, bv, at := a.MapIndex(names[name]), b.MapIndex(names[name]), fmt.Sprintf("%s.%s", path, name)
		if !av.IsValid() || !bv.IsValid() {
			*keys = append(*keys, at)
			continue
		}
		differ(av, bv, at, keys)
	}
}

// Reloaded returns the running configuration with what SIGHUP may change taken
// from the one that was read, for all that both have. Everything else, such as
// a source that came or went, stays as it is until a restart: NeedsRestart
// names it. Neither argument is changed.
func Reloaded(running, read *Config) *Config {
	next := *running
	take(reflect.ValueOf(&next).Elem(), reflect.ValueOf(*read))
	return &next
}

func take(to, from reflect.Value) {
	for _, f := range fieldsOf(to.Type()) {
		tv, fv := to.FieldByIndex(f.Index), from.FieldByIndex(f.Index)
		switch {
		case f.reloaded:
			tv.Set(fv)
		case isGroup(f.Type):
			take(tv, fv)
		case hasGroups(f.Type):
			takeNamed(tv, fv)
		case isGroups(f.Type) && tv.Len() > 0 && tv.Len() == fv.Len():
			takeListed(tv, fv)
		}
	}
}

// takeNamed puts a map of its own in the place of one that others still read.
func takeNamed(to, from reflect.Value) {
	if to.IsNil() {
		return
	}
	next := reflect.MakeMapWithSize(to.Type(), to.Len())
	for _, k := range to.MapKeys() {
		element := reflect.New(to.Type().Elem()).Elem()
		element.Set(to.MapIndex(k))
		if read := from.MapIndex(k); read.IsValid() {
			take(element, read)
		}
		next.SetMapIndex(k, element)
	}
	to.Set(next)
}

// takeListed puts a list of its own in the place of one that others still read. What one
// element may change is taken only from an element that is the same otherwise: an order
// that changed must not give one what belongs to another.
func takeListed(to, from reflect.Value) {
	next := reflect.MakeSlice(to.Type(), to.Len(), to.Len())
	reflect.Copy(next, to)
	for i := range next.Len() {
		var keys []string
		if differ(next.Index(i), from.Index(i), "", &keys); len(keys) == 0 {
			take(next.Index(i), from.Index(i))
		}
	}
	to.Set(next)
}
