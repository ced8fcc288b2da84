package event

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// MaxID is the longest id of an entity or event that Tarn accepts, in bytes.
const MaxID = 255

// Key names one entity: its source, its kind and the provider's id for it.
// A singleton or list kind (financials, positions) has no id of its own; its
// ID is the id of the parent it stands under.
type Key struct {
	Source string `json:"source"`
	Kind   string `json:"kind"`
	ID     string `json:"id"`
}

// String returns "source/kind/id". Sources and kinds hold no slash, so
// ParseKey reads it back even when the id does.
func (k Key) String() string { return k.Source + "/" + k.Kind + "/" + k.ID }

// IsZero reports whether the key names nothing.
func (k Key) IsZero() bool { return k == Key{} }

// Shard returns the shard of the key among n, from 0 to n-1: xxhash64 of its
// text modulo n. The number of shards of a fleet is fixed when it is first
// started, so the answer never changes.
func (k Key) Shard(n int) int {
	// Room on the stack for what String returns: this runs for every entry.
	var room [128]byte
	b := append(append(room[:0], k.Source...), '/')
	b = append(append(b, k.Kind...), '/')
	return int(xxhash.Sum64(append(b, k.ID...)) % uint64(n))
}

// ParseKey reads "source/kind/id" as written by String.
func ParseKey(s string) (Key, error) {
	source, rest, ok1 := strings.Cut(s, "/")
	kind, id, ok2 := strings.Cut(rest, "/")
	if !ok1 || !ok2 || source == "" {
		return Key{}, fmt.Errorf("entity key %q: want source/kind/id", s)
	}
	return Key{Source: source, Kind: kind, ID: id}, nil
}

// CheckID reports why an id that came from outside cannot be used: it is
// empty, "." or "..", longer than MaxID bytes, not UTF-8, or holds a control
// character. Ids are put into URL paths and database keys, so nothing that
// could mean another path is let through; everything else is escaped there.
func CheckID(id string) error {
	if len(id) > 2 && len(id) <= MaxID && plain(id) {
		return nil // nearly every id
	}
	switch {
	case id == "":
		return fmt.Errorf("id is empty")
	case id == "." || id == "..":
		return fmt.Errorf("id %q is a path step, not an id", id)
	case len(id) > MaxID:
		return fmt.Errorf("id of %d bytes is longer than %d", len(id), MaxID)
	case !utf8.ValidString(id):
		return fmt.Errorf("id %q is not UTF-8", id)
	case strings.IndexFunc(id, unicode.IsControl) >= 0:
		return fmt.Errorf("id %q holds a control character", id)
	}
	return nil
}

// plain reports whether s is all printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Ref is an entity as an event or a list names it: its key and what is needed
// to find it at the provider.
type Ref struct {
	Key Key `json:"key"`
	// Parents are the ids the path of the entity needs, by kind or context
	// key: {"account": "cusa_…"}. Nil when the path needs none. Refs of one
	// event may share it: it is for reading only.
	Parents map[string]string `json:"parents,omitempty"`
}
