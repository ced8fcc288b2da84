package provider

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed definitions/*.yaml
var builtin embed.FS

// Definition is a provider as its YAML says it is, checked. It is read-only
// once parsed and safe for concurrent use.
type Definition struct {
	// Name is the provider's name: "lemon".
	Name string

	signature signatureSpec
	envelope  envelopeSpec
	api       apiSpec
	history   historySpec
	kinds     []*Kind // in the order of the file, which "*" follows
	byName    map[string]*Kind
	families  map[string]*family
	scratch   *scratchPool
	scoped    bool // see Scoped
}

// historySpec names the fields of an entry of an entity's history.
type historySpec struct{ status, at string }

// Builtin returns a definition embedded in the binary.
func Builtin(name string) (*Definition, error) {
	file := name + ".yaml"
	text, err := builtin.ReadFile(path.Join("definitions", file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no built-in provider %q: there are %s; for a file of your own give its path",
			name, strings.Join(Builtins(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("read built-in provider %q: %w", name, err)
	}
	return Parse(file, text)
}

// Builtins returns the names of the definitions embedded in the binary.
func Builtins() []string {
	files, _ := builtin.ReadDir("definitions")
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f.Name(), ".yaml")
	}
	return names
}

// IsFile reports whether a name is the path of a file rather than that of a
// built-in definition: it holds a slash or ends in .yaml or .yml.
func IsFile(nameOrPath string) bool {
	return strings.ContainsRune(nameOrPath, '/') ||
		strings.HasSuffix(nameOrPath, ".yaml") || strings.HasSuffix(nameOrPath, ".yml")
}

// Load returns the built-in definition of that name, or the one in the file
// of that path; see IsFile.
func Load(nameOrPath string) (*Definition, error) {
	if !IsFile(nameOrPath) {
		return Builtin(nameOrPath)
	}
	return LoadFile(nameOrPath)
}

// LoadFile returns the definition in a file.
func LoadFile(file string) (*Definition, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read provider definition: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxDefinition+1)) // Parse says that it is too long
	if err != nil {
		return nil, fmt.Errorf("read provider definition: %w", err)
	}
	return Parse(file, text)
}

// Kind returns the kind of that name, or nil.
func (d *Definition) Kind(name string) *Kind { return d.byName[name] }

// Kinds returns all kinds, by name.
func (d *Definition) Kinds() []*Kind {
	return slices.SortedFunc(maps.Values(d.byName), func(a, b *Kind) int {
		return strings.Compare(a.Name, b.Name)
	})
}

// EventList says how the provider lists the events it has kept.
type EventList struct {
	// Kept reports whether it lists them at all.
	Kept bool
	// NewestFirst is the order of the list; oldest first otherwise.
	NewestFirst bool
	// Horizon is how long it keeps an event. Zero: it does not say.
	Horizon time.Duration
}

// EventList returns how the provider lists its events.
func (d *Definition) EventList() EventList {
	e := d.api.events
	return EventList{Kept: e.path != "", NewestFirst: e.newestFirst, Horizon: e.horizon}
}

// Roots returns the kinds that are found without knowing anything else: lists of
// entities, and lists and singletons without parents. In the order of the file.
func (d *Definition) Roots() []*Kind {
	return d.kindsWhere(func(k *Kind) bool { return len(k.needs()) == 0 })
}

// Under returns the kinds that are found under each entity of a kind, or under
// each element of a list: lists of entities, and lists and singletons. In the
// order of the file.
//
// They need the id of that entity and the parents that its own request needs. A
// parent that only the list of the entities needs is known there too, and may be
// needed or not. Under each scope are the roots once more, those of the scope.
func (d *Definition) Under(parent *Kind) []*Kind {
	key := parent.UnderKey()
	if key == "" {
		return nil
	}
	must, may := append(slices.Clone(parent.ParentKeys), key), append(parent.needs(), key)
	return d.kindsWhere(func(k *Kind) bool {
		return holdsAll(k.needs(), must) && holdsAll(may, k.needs()) || k.scope != "" && k.scope == key && len(k.needs()) == 0
	})
}

// holdsAll reports whether all has every one of some names.
func holdsAll(all, some []string) bool {
	return !slices.ContainsFunc(some, func(name string) bool { return !slices.Contains(all, name) })
}

func (d *Definition) kindsWhere(fits func(*Kind) bool) []*Kind {
	var kinds []*Kind
	for _, k := range d.kinds {
		if k.findable() && fits(k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// findable reports whether entities of the kind can be found without an event
// that names them.
func (k *Kind) findable() bool { return k.Shape != ShapeEntity || k.Listable() }

// needs are the context keys that must be known to find entities of the kind.
func (k *Kind) needs() []string {
	if k.Shape == ShapeSingleton {
		return k.get.names()
	}
	return k.list.names()
}

// Refreshes reports whether an event about an entity of a kind, the primary one, asks
// for a refresh of a derived kind.
func (d *Definition) Refreshes(about, derived *Kind) bool {
	for _, f := range d.families {
		if len(f.touches) > 0 && slices.Contains(f.touches[0], about) && slices.Contains(f.derived, derived) {
			return true
		}
	}
	return false
}
