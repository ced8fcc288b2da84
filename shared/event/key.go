package event

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// MaxID is the longest id of an entity or event that Tarn accepts, in bytes.
const MaxID = 255

// Key names one entity: its source, its kind and the provider's id for it,
// with the qualifiers of the id if it is unique under these only. A singleton or
// list kind (financials, positions) has no id of its own; its ID is the id of
// the parent it is under.
type Key struct {
	Source string `json:"source"`
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	// Under are the qualifiers of the id, as Under writes them. "": the id is
	// unique in its source and kind.
	Under string `json:"under,omitempty"`
}

// underMark separates a kind and the qualifiers in texts. Names of kinds do not
// hold it.
const underMark = "@"

// String returns "source/kind/id", or "source/kind@under/id" of a qualified
// key. Sources, kinds and qualifiers hold no slash, so ParseKey reads it back
// even when the id does.
func (k Key) String() string {
	if k.Under != "" {
		return k.Source + "/" + k.Kind + underMark + k.Under + "/" + k.ID
	}
	return k.Source + "/" + k.Kind + "/" + k.ID
}

// IsZero reports whether the key names nothing.
func (k Key) IsZero() bool { return k == Key{} }

// Shard returns the shard of the key among n, from 0 to n-1: xxhash64 of its
// text modulo n. The number of shards of a fleet is fixed when it is first
// started, so the answer never changes.
func (k Key) Shard(n int) int {
	// Room on the stack for what String returns: this runs for every entry.
	var room [128]byte
	return int(xxhash.Sum64(k.AppendTo(room[:0])) % uint64(n))
}

// AppendTo appends what String returns.
func (k Key) AppendTo(b []byte) []byte {
	b = append(append(b, k.Source...), '/')
	b = append(b, k.Kind...)
	if k.Under != "" {
		b = append(append(b, underMark...), k.Under...)
	}
	return append(append(b, '/'), k.ID...)
}

// ParseKey reads "source/kind/id" or "source/kind@under/id", as written by
// String.
func ParseKey(s string) (Key, error) {
	source, rest, ok1 := strings.Cut(s, "/")
	kind, id, ok2 := strings.Cut(rest, "/")
	if !ok1 || !ok2 || source == "" {
		return Key{}, fmt.Errorf("entity key %q: want source/kind/id", s)
	}
	kind, under, qualified := strings.Cut(kind, underMark)
	if qualified && under == "" {
		return Key{}, fmt.Errorf("entity key %q: no qualifiers after %s", s, underMark)
	}
	return Key{Source: source, Kind: kind, ID: id, Under: under}, nil
}

// localMark separates an id and its qualifiers in Local. It is a control
// character (unit separator), which CheckID lets no id hold.
const localMark = "\x1f"

// Local returns the id within source and kind, as stores keep it: the plain id,
// or the id, a unit separator (U+001F) and the qualifiers. So ids that differ in
// their qualifiers only are neighbours in an index.
func (k Key) Local() string {
	if k.Under == "" {
		return k.ID
	}
	return k.ID + localMark + k.Under
}

// SetLocal sets ID and Under from what Local returned.
func (k *Key) SetLocal(local string) { k.ID, k.Under, _ = strings.Cut(local, localMark) }

// LocalKey returns the key of a source and kind with what Local returned.
func LocalKey(source, kind, local string) Key {
	k := Key{Source: source, Kind: kind}
	k.SetLocal(local)
	return k
}

// Namesakes returns the bounds of what Local returns for the qualified keys of
// one plain id: from ≤ local < to.
func Namesakes(id string) (from, to string) {
	return id + localMark, id + string(rune(localMark[0]+1))
}

// Under writes qualifiers as in a key: escaped as in a query, so that
// neither slash nor comma nor underMark is in them, with commas between.
func Under(ids ...string) string {
	escaped := make([]string, len(ids))
	for i, id := range ids {
		escaped[i] = url.QueryEscape(id)
	}
	return strings.Join(escaped, ",")
}

// Qualifiers reads what Under wrote. Nil for a key without.
func (k Key) Qualifiers() ([]string, error) {
	if k.Under == "" {
		return nil, nil
	}
	ids := strings.Split(k.Under, ",")
	for i := range ids {
		id, err := url.QueryUnescape(ids[i])
		if err != nil {
			return nil, fmt.Errorf("qualifiers %q: %w", k.Under, err)
		}
		ids[i] = id
	}
	return ids, nil
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
