package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// requirement is a value that an event must have to be followed.
type requirement struct {
	place part
	want  string
	// setting names the setting of the source that has the value. "": want has it.
	setting string
}

// With returns the definition with the settings of a source filled in: the values
// that it requires of events, and the token of a challenge. Settings that are missing,
// empty or used by nothing are an error that names them.
func (d *Definition) With(settings map[string]string) (*Definition, error) {
	used := d.settings()
	for _, name := range used {
		if settings[name] == "" {
			return nil, fmt.Errorf("provider %s needs the setting %q: give it under settings, as in settings: {%s: …}", d.Name, name, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if slices.Contains(used, name) {
			continue
		}
		if len(used) == 0 {
			return nil, fmt.Errorf("provider %s has no setting %q: it has none at all", d.Name, name)
		}
		return nil, fmt.Errorf("provider %s has no setting %q: it has %s", d.Name, name, strings.Join(used, ", "))
	}
	if len(used) == 0 {
		return d, nil
	}
	filled := *d
	filled.envelope.require = slices.Clone(d.envelope.require)
	for i := range filled.envelope.require {
		if r := &filled.envelope.require[i]; r.setting != "" {
			r.want, r.setting = settings[r.setting], ""
		}
	}
	if c := &filled.envelope.challenge; c.setting != "" {
		c.want, c.setting = settings[c.setting], ""
	}
	return &filled, nil
}

// Requires reports whether events must have some value to be followed.
func (d *Definition) Requires() bool { return len(d.envelope.require) > 0 }

// settings are the names of the settings that the definition leaves to sources, once
// each.
func (d *Definition) settings() []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, r := range d.envelope.require {
		add(r.setting)
	}
	add(d.envelope.challenge.setting)
	return names
}

// unmet reports whether an event lacks a value that is required. One that is left to
// a setting that With has not filled in is lacking.
func (s *envelopeSpec) unmet(o *origin) (bool, *EnvelopeError) {
	unmet := false
	for i := range s.require {
		r := &s.require[i]
		f, wrong := o.at(&r.place) // all of them: each is kept with the event
		if wrong != nil {
			return false, wrong
		}
		text, ok := f.plain()
		unmet = unmet || !ok || r.setting != "" || text != r.want
	}
	return unmet, nil
}
