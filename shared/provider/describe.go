package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Family is what the event types of one family lead to, as a definition says it.
type Family struct {
	// Name is the event type without its last step: "order" of order.created.
	Name string
	// Touches are the kinds that an event names, the primary first. "first of a, b"
	// is the first one whose ids the event has, "*" every other kind it has ids of.
	Touches []string
	// Derived are the kinds that are refreshed after such an event. Nil if none are.
	Derived []string
}

// Families returns the families of event types, by name.
func (d *Definition) Families() []Family {
	var all []Family
	for _, name := range slices.Sorted(maps.Keys(d.families)) {
		f := d.families[name]
		out := Family{Name: name, Derived: nameEach(f.derived)}
		for _, t := range f.touches {
			switch names := nameEach(t); len(names) {
			case 0:
				out.Touches = append(out.Touches, everyOther)
			case 1:
				out.Touches = append(out.Touches, names[0])
			default:
				out.Touches = append(out.Touches, "first of "+strings.Join(names, ", "))
			}
		}
		all = append(all, out)
	}
	return all
}

// nameEach returns the names of kinds.
func nameEach(kinds []*Kind) (names []string) {
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

// Tolerance is how far the time of a signature may be from now, unless a Verifier is
// told otherwise. 0: signatures have no time.
func (d *Definition) Tolerance() time.Duration {
	if !d.signature.scheme.Timed() {
		return 0
	}
	return d.signature.tolerance
}

// Paths returns the paths of the kind's GET and of its list with their placeholders and
// parameters, below the API's address. "": it has none.
func (k *Kind) Paths() (get, list string) { return k.get.String(), k.list.String() }

// String returns the endpoint as the definition has it.
func (e endpoint) String() string {
	text := e.path.String()
	for i, p := range e.query {
		text += map[bool]string{true: "?", false: "&"}[i == 0] + p.name + "=" + p.value.String()
	}
	return text
}

// String returns the text as the definition has it.
func (t template) String() string {
	return t.fill(func(name string) string { return "{" + name + "}" })
}

// Request returns the path and the parameters of the request for an entity, below the
// API's address. It is an error if the reference lacks parents or is of no kind.
func (d *Definition) Request(ref event.Ref) (string, error) {
	k := d.Kind(ref.Key.Kind)
	if k == nil {
		return "", fmt.Errorf("provider %s has no kind %q", d.Name, ref.Key.Kind)
	}
	call, err := k.call(ref)
	if err != nil || len(call.query) == 0 {
		return call.path, err
	}
	return call.path + "?" + call.query.Encode(), nil
}
