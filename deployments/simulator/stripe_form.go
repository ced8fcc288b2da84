package simulator

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// formBody are the parameters of a request that changes something, nested as their names
// say: recurring[interval]=month. Whatever is not read by the time of rest is unknown.
type formBody struct {
	at     string // name of the whole, "" for the root
	values map[string]string
	nested map[string]*formBody
	read   map[string]bool
	err    *refusal // the first thing that is wrong
}

func newForm(at string) *formBody {
	return &formBody{at: at, values: map[string]string{}, nested: map[string]*formBody{}, read: map[string]bool{}}
}

// parseForm reads a body of the type application/x-www-form-urlencoded.
func parseForm(text string) (*formBody, error) {
	root := newForm("")
	if text == "" {
		return root, nil
	}
	for pair := range strings.SplitSeq(text, "&") {
		escaped, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(escaped)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil || name == "" {
			return nil, refuse(http.StatusBadRequest, "Invalid body: "+pair)
		}
		if !root.add(name, value) {
			return nil, badParameter(name, "it cannot be read, or occurs twice")
		}
	}
	return root, nil
}

// add puts a value at a[b][c].
func (f *formBody) add(name, value string) bool {
	first, rest, isNested := strings.Cut(name, "[")
	if !isNested {
		_, twice := f.values[name]
		f.values[name] = value
		return !twice && f.nested[name] == nil && name != "" && !strings.Contains(name, "]")
	}
	if _, both := f.values[first]; both || first == "" {
		return false
	}
	inner := f.nested[first]
	if inner == nil {
		inner = newForm(f.name(first))
		f.nested[first] = inner
	}
	key, more, closed := strings.Cut(rest, "]")
	if !closed || more != "" && more[0] != '[' {
		return false
	}
	if key == "" { // images[]=a&images[]=b
		key = strconv.Itoa(len(inner.values) + len(inner.nested))
	}
	return inner.add(key+more, value)
}

// name is the full name of a parameter.
func (f *formBody) name(of string) string {
	if f.at == "" {
		return of
	}
	return f.at + "[" + of + "]"
}

func (f *formBody) fail(r *refusal) {
	if f.err == nil {
		f.err = r
	}
}

// text calls set with a parameter, if it is there.
func (f *formBody) text(name string, set func(string)) {
	f.read[name] = true
	if v, ok := f.values[name]; ok {
		set(v)
	} else if f.nested[name] != nil {
		f.fail(badParameter(f.name(name), "it is no text"))
	}
}

// must is text for a parameter that has to be there.
func (f *formBody) must(name string, set func(string)) {
	if f.values[name] == "" {
		missing := refuse(http.StatusBadRequest, "Missing required param: "+f.name(name)+".")
		missing.code, missing.param = "parameter_missing", f.name(name)
		f.fail(missing)
	}
	f.text(name, set)
}

// optional is text for a parameter that an empty text unsets.
func (f *formBody) optional(name string, set func(*string)) {
	f.text(name, func(v string) {
		if v == "" {
			set(nil)
			return
		}
		set(&v)
	})
}

func (f *formBody) flag(name string, set func(bool)) {
	f.text(name, func(v string) {
		if v != "true" && v != "false" {
			f.fail(badParameter(f.name(name), "want true or false"))
		}
		set(v == "true")
	})
}

func (f *formBody) whole(name string, set func(int64)) {
	f.text(name, func(v string) {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			f.fail(badParameter(f.name(name), v+" is no whole number"))
		}
		set(n)
	})
}

// list calls set with the elements of a parameter, if it is there; an empty text is none.
func (f *formBody) list(name string, set func([]string)) {
	f.read[name] = true
	if v, ok := f.values[name]; ok {
		if v != "" {
			f.fail(badParameter(f.name(name), "it is no list"))
		}
		set([]string{})
		return
	}
	inner := f.nested[name]
	if inner == nil {
		return
	}
	out := make([]string, len(inner.values))
	for i := range out {
		v, ok := inner.values[strconv.Itoa(i)]
		if !ok || len(inner.nested) > 0 {
			f.fail(badParameter(f.name(name), "it is no list of texts"))
		}
		out[i] = v
	}
	set(out)
}

// object calls set with the parameters inside one, if it is there, nil if an empty text
// unsets it.
func (f *formBody) object(name string, set func(*formBody)) {
	f.read[name] = true
	if v, ok := f.values[name]; ok {
		if v != "" {
			f.fail(badParameter(f.name(name), "it is no object"))
		}
		set(nil)
		return
	}
	if inner := f.nested[name]; inner != nil {
		set(inner)
		if err := inner.rest(); err != nil {
			f.fail(err)
		}
	}
}

// metadata changes some metadata: an empty value takes a name away, and an empty text all
// of them.
func (f *formBody) metadata(of map[string]string) map[string]string {
	out := maps.Clone(of)
	if out == nil {
		out = map[string]string{}
	}
	f.object("metadata", func(m *formBody) {
		if m == nil {
			clear(out)
			return
		}
		for name := range m.values {
			m.text(name, func(v string) {
				if v == "" {
					delete(out, name)
					return
				}
				out[name] = v
			})
		}
	})
	return out
}

// rest returns the first thing that was wrong, or the first parameter that nothing has
// read.
func (f *formBody) rest() *refusal {
	if f.err != nil {
		return f.err
	}
	names := slices.Sorted(maps.Keys(f.values))
	names = append(names, slices.Sorted(maps.Keys(f.nested))...)
	for _, name := range names {
		if !f.read[name] {
			return unknownParameter(f.name(name))
		}
	}
	return nil
}

// missingObject refuses the id of something else in a body.
func missingObject(kind, id, param string) *refusal {
	r := refuse(http.StatusBadRequest, fmt.Sprintf("No such %s: '%s'", kind, id))
	r.code, r.param = "resource_missing", param
	return r
}
