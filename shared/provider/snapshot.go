package provider

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Snapshot is one state of an entity.
type Snapshot struct {
	// Raw is the provider's JSON as it came, secret fields cut out.
	Raw []byte
	// Hash is of the canonical form (RFC 8785 key order, numbers by text)
	// without volatile fields: equal hashes mean the same state.
	Hash string
	// Status is the current status, "" where the kind has none.
	Status string
	// Terminal: the status is one the entity never leaves.
	Terminal bool
	// History are the status changes, as given.
	History []Change
	// SentAt is when the request was sent; zero for one not fetched.
	SentAt time.Time
	// Deleted: the provider answered with its stub for a deleted entity.
	Deleted bool
}

// Change is one entry of an entity's history.
type Change struct {
	Status string
	At     string // the provider's own text: compared, never computed with
}

// Read interprets a state of a kind as fetched, or as the mirror holds it.
func (d *Definition) Read(kind string, raw []byte) (*Snapshot, error) {
	k := d.Kind(kind)
	if k == nil {
		return nil, fmt.Errorf("read state: provider %s has no kind %q", d.Name, kind)
	}
	// Not strict: a provider's answer is taken as it is, oddities included.
	doc, err := rawjson.Parse(raw, rawjson.Options{})
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", kind, err)
	}
	return d.snapshot(k, doc)
}

// Stable returns a state as its hash sees it: without volatile and secret
// fields, every other byte as it came.
func (d *Definition) Stable(kind string, raw []byte) ([]byte, error) {
	k := d.Kind(kind)
	if k == nil {
		return nil, fmt.Errorf("read state: provider %s has no kind %q", d.Name, kind)
	}
	doc, err := rawjson.Parse(raw, rawjson.Options{})
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", kind, err)
	}
	return doc.Cut(k.unstable()), nil
}

// unstable are the fields that are no part of the state that is compared.
func (k *Kind) unstable() []rawjson.Path { return slices.Concat(k.volatile, k.secret) }

func (d *Definition) snapshot(k *Kind, doc *rawjson.Doc) (*Snapshot, error) {
	root := doc.Root()
	want := rawjson.Object
	if k.Shape == ShapeList {
		want = rawjson.Array
	}
	if root.Kind() != want {
		return nil, fmt.Errorf("read state of %s: is %s: want %s", k.Name, root.Kind(), want)
	}
	s := &Snapshot{
		Raw:     doc.Cut(k.secret),
		Hash:    stateHash(k, doc),
		Deleted: k.deleted != nil && isTrue(root.At(k.deleted)),
	}
	if k.history != nil {
		s.History = d.changes(root.At(k.history))
	}
	s.Status = k.current(root, s.History)
	s.Terminal = k.Terminal(s.Status)
	return s, nil
}

// stateHash leaves out what is cut out too, so that a state read back from
// the mirror has the hash it had when it was fetched.
func stateHash(k *Kind, doc *rawjson.Doc) string {
	text := hashed.Get().(*[]byte)
	*text = doc.AppendCanonical((*text)[:0], k.unstable(), k.unordered)
	sum := sha256.Sum256(*text)
	if cap(*text) <= keptHashed {
		hashed.Put(text)
	}
	return hex.EncodeToString(sum[:])
}

// hashed keeps the memory of texts that were hashed, of up to keptHashed bytes each.
var hashed = sync.Pool{New: func() any { return new([]byte) }}

const keptHashed = 64 << 10

// Contradicts reports whether an element of a list says something else than the
// answer for the same entity. An element may be shorter than the answer, and what
// is nested may be shown otherwise; a plain value that both have must be the same.
func (d *Definition) Contradicts(kind string, listed, answered *Snapshot) bool {
	k := d.Kind(kind)
	if k == nil || listed == nil || answered == nil || k.Shape != ShapeEntity {
		return false
	}
	short, errA := rawjson.Parse(listed.Raw, rawjson.Options{})
	long, errB := rawjson.Parse(answered.Raw, rawjson.Options{})
	if errA != nil || errB != nil {
		return false
	}
	for name, v := range short.Root().Members() {
		unstable := slices.ContainsFunc(k.unstable(), func(p rawjson.Path) bool { return p[0] == string(name) || p[0] == "*" })
		other := long.Root().Get(string(name))
		if !unstable && plainValue(v) && plainValue(other) && plainText(v) != plainText(other) {
			return true
		}
	}
	return listed.Status != "" && answered.Status != "" && listed.Status != answered.Status
}

// plainValue reports whether a value is a text, a number or a flag.
func plainValue(v rawjson.Value) bool {
	switch v.Kind() {
	case rawjson.String, rawjson.Number, rawjson.True, rawjson.False:
		return true
	}
	return false
}

// plainText is a plain value as it is compared: a text without its escapes, anything
// else as it is written.
func plainText(v rawjson.Value) string {
	if text, ok := v.Text(); ok {
		return text
	}
	return string(v.Raw())
}

// changes reads a history. Entries without a status say nothing and are left
// out; the raw state keeps them.
func (d *Definition) changes(v rawjson.Value) []Change {
	var out []Change
	for _, e := range v.Elements() {
		status, ok := e.Get(d.history.status).Text()
		if !ok {
			continue
		}
		at, _ := e.Get(d.history.at).Text()
		out = append(out, Change{Status: status, At: at})
	}
	return out
}

// current returns the status: what the field says, else the newest change.
func (k *Kind) current(root rawjson.Value, history []Change) string {
	if k.status != nil {
		if s, ok := root.At(k.status).Text(); ok {
			return s
		}
	}
	if len(history) == 0 {
		return ""
	}
	// MaxFunc keeps the first of equals, which is the newer one of a history
	// given newest first, as nearly all are.
	return slices.MaxFunc(history, k.compareChanges).Status
}

// compareChanges orders changes by time. Providers write two changes with one
// timestamp; then the one further along the entity's way is the newer.
func (k *Kind) compareChanges(a, b Change) int {
	return cmp.Or(compareTimes(a.At, b.At), cmp.Compare(k.rank(a.Status), k.rank(b.Status)))
}

// compareTimes orders two times by their instant. Text that is no RFC 3339
// time is older than any, and ordered as text.
func compareTimes(a, b string) int {
	if a == b {
		return 0
	}
	ta, okA := parseRFC3339(a)
	tb, okB := parseRFC3339(b)
	switch {
	case okA && okB:
		return ta.Compare(tb)
	case okA:
		return 1
	case okB:
		return -1
	}
	return cmp.Compare(a, b)
}

// Had reports whether the status is in the history or is the current one.
func (s *Snapshot) Had(status string) bool {
	if s.Status == status {
		return true
	}
	return slices.ContainsFunc(s.History, func(c Change) bool { return c.Status == status })
}

// Entries returns how often the history has a status.
func (s *Snapshot) Entries(status string) (n int) {
	for _, c := range s.History {
		if c.Status == status {
			n++
		}
	}
	return n
}

// Lacks reports whether prev holds history that s does not: s is older than
// prev, or the provider has rewritten its history. False for kinds without
// history, and when prev is nil.
func (s *Snapshot) Lacks(prev *Snapshot) bool {
	if prev == nil || len(prev.History) == 0 {
		return false
	}
	// A multiset: an entity can enter a status twice at one instant.
	have := make(map[Change]int, len(s.History))
	for _, c := range s.History {
		have[c]++
	}
	for _, c := range prev.History {
		if have[c]--; have[c] < 0 {
			return true
		}
	}
	return false
}
