package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// NeedsRestart returns the keys that differ between two configurations and
// that SIGHUP does not change, sorted, so that nobody waits for them in vain.
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
		case f.Type.Kind() == reflect.Map:
			differNamed(av, bv, at, keys)
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
