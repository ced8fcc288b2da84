package feed

import (
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// What changes are about: the part of their types behind "dev.tarn.".
const (
	OfEntities = "entity"
	OfCommands = "command"
)

// Filter says which items a consumer wants. Its zero value wants nothing: see NewFilter.
type Filter struct {
	// kinds are those wanted, sorted; nil: all.
	kinds              []string
	entities, commands bool
	text               string
}

// NewFilter returns the filter of kinds, none for all, and of what changes are about,
// OfEntities and OfCommands. Who does not say what they are about wants both or, by
// kinds, entities alone. A command is of the kind that it changes.
func NewFilter(kinds, of []string) Filter {
	f := Filter{kinds: sortedSet(kinds)}
	f.entities = len(of) == 0 || slices.Contains(of, OfEntities)
	f.commands = len(of) == 0 && len(kinds) == 0 || slices.Contains(of, OfCommands)
	if f.text = strings.Join(f.kinds, ","); len(of) > 0 {
		f.text += ";" + strings.Join(sortedSet(of), ",")
	}
	return f
}

// Kinds returns the kinds wanted, sorted; nil: all.
func (f Filter) Kinds() []string { return f.kinds }

// Types returns what the changes wanted are about, sorted.
func (f Filter) Types() (of []string) {
	if f.commands {
		of = append(of, OfCommands)
	}
	if f.entities {
		of = append(of, OfEntities)
	}
	return of
}

// All reports whether every item is wanted.
func (f Filter) All() bool { return f.kinds == nil && f.entities && f.commands }

// Entities reports whether entities of a kind are wanted.
func (f Filter) Entities(kind string) bool { return f.entities && f.has(kind) }

// Wants reports whether items of a key are wanted.
func (f Filter) Wants(k event.Key) bool {
	if kind, ok := storage.CommandOfItem(k); ok {
		return f.commands && f.has(kind)
	}
	return f.Entities(k.Kind)
}

func (f Filter) has(kind string) bool {
	if f.kinds == nil {
		return true
	}
	_, found := slices.BinarySearch(f.kinds, kind)
	return found
}

// String returns the filter as a text, which is equal for equal requests: "" for one that
// says nothing.
func (f Filter) String() string { return f.text }

// sortedSet sorts names and removes repeats; nil if there are none.
func sortedSet(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}
