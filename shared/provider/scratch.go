package provider

import (
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
	clear(s.ids)
	clear(s.refs)
	s.ids, s.refs = s.ids[:0], s.refs[:0]
	p.pool.Put(s)
}

// idSet is what an event names: ids by context key. It is a handful, looked
// through for every kind, so a slice serves better than a map.
type idSet []namedID

type namedID struct {
	name  []byte // may be part of the body
	id    string
	taken bool // an entity of this id has been named
}

// find returns the id of a context key, nil if there is none.
func (s idSet) find(name string) *namedID {
	for i := range s {
		if string(s[i].name) == name {
			return &s[i]
		}
	}
	return nil
}

// textRoom holds the id, the type and the named ids of nearly every event.
const textRoom = 192

// texts makes the strings of one event, nearly always in one allocation, since
// they live and die together.
type texts struct{ b strings.Builder }

// of returns the text of a string and whether the value is one. Text that has
// no room any more is a string of its own: were it to move the others, a
// malicious body could make each id hold on to all of them.
func (t *texts) of(v rawjson.Value) (string, bool) {
	text, ok := v.TextBytes()
	if !ok {
		return "", false
	}
	if t.b.Cap() == 0 {
		t.b.Grow(textRoom)
	}
	start := t.b.Len()
	if t.b.Cap()-start < len(text) {
		return string(text), true
	}
	t.b.Write(text)
	return t.b.String()[start:], true
}
