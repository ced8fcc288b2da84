package provider

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// scratch is the memory that reading one event needs only while it reads.
// Nothing of the event may refer to it.
type scratch struct {
	doc  rawjson.Doc
	ids  idSet
	refs []event.Ref
}

// keptValues is how many values a document may have had for its scratch to be
// kept: a body of a hundred thousand brackets should not pin megabytes.
const keptValues = 1024

// scratchPool keeps scratches for the next events. The zero pool is ready.
type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) take() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return &scratch{}
}

// free keeps the scratch, without anything of the event it was used for. Ids
// and refs are never more than the values they are from.
func (p *scratchPool) free(s *scratch) {
	if s.doc.Cap() > keptValues {
		return
	}
	s.doc.Forget()
	s.reset()
	p.pool.Put(s)
}

// reset forgets what one event of the document has named.
func (s *scratch) reset() {
	clear(s.ids)
	clear(s.refs)
	s.ids, s.refs = s.ids[:0], s.refs[:0]
}

// idSet is the ids of an event, by context key. It is a handful, looked
// through for every kind, so a slice serves better than a map.
type idSet []namedID

type namedID struct {
	name  []byte // may be part of the body
	id    string // "" if what is there is no usable id
	taken bool   // an entity of this id has been named
}

// find returns the id of a context key, nil if there is none that can be used.
func (s idSet) find(name string) *namedID {
	for i := range s {
		if string(s[i].name) == name && s[i].id != "" {
			return &s[i]
		}
	}
	return nil
}

// has reports whether the context has the key, with any value.
func (s idSet) has(name []byte) bool {
	return slices.ContainsFunc(s, func(n namedID) bool { return bytes.Equal(n.name, name) })
}

// textRoom holds the id, the type and the named ids of nearly every event.
const textRoom = 176

// texts makes the strings of one event, nearly always in one allocation, since
// they live and die together.
type texts struct{ b strings.Builder }

// id returns what a value says as an id, and whether it can be one: see idText.
func (t *texts) id(v rawjson.Value) (string, bool) {
	text, ok := idText(v)
	if !ok {
		return "", false
	}
	return t.keep(text), true
}

// of returns the text of a string and whether the value is one.
func (t *texts) of(v rawjson.Value) (string, bool) {
	text, ok := v.TextBytes()
	if !ok || v.HalfPair() {
		return "", false
	}
	return t.keep(text), true
}

// keep copies a text. One that has no room any more is a string of its own: were
// it to move the others, a malicious body could make each id hold on to all of
// them.
func (t *texts) keep(text []byte) string {
	if t.b.Cap() == 0 {
		t.b.Grow(textRoom)
	}
	start := t.b.Len()
	if t.b.Cap()-start < len(text) {
		return string(text)
	}
	t.b.Write(text)
	return t.b.String()[start:]
}

// idText returns what a value says as an id: a text, or a whole number as it is
// written. Half a surrogate pair is no text: two different ids would become one.
func idText(v rawjson.Value) ([]byte, bool) {
	if text, ok := v.Whole(); ok {
		return text, true
	}
	text, ok := v.TextBytes()
	return text, ok && !v.HalfPair()
}

// idOf is idText as a string, "" if the value can be no id.
func idOf(v rawjson.Value) string {
	text, _ := idText(v)
	return string(text)
}
