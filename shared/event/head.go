package event

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// head is a signal without its key, cause id and payload, as ParseSignal reads
// it; AppendHead writes it. Times are counted in microseconds since 1970;
// absent ones are left out.
type head struct {
	Cause     Cause  `json:"c"`
	Class     *Class `json:"q"`
	EventType string `json:"t"`
	CreatedAt *int64 `json:"a"`
	NotBefore *int64 `json:"n"`
	Trace     string `json:"tp"`
	// Parents are left out where Entities begins with the same entity.
	Parents    map[string]string `json:"p"`
	ReceivedAt *int64            `json:"r"`
	// DatedAt is the event's own CreatedAt, left out where the signal's is the same.
	DatedAt  *int64      `json:"o"`
	Entities []packedRef `json:"e"`
	Derived  []packedRef `json:"d"`
	// Flags are of the event: flagUndated, flagUnnamed. Left out if none is set.
	Flags int `json:"f"`
	// Note and Given are the event's. Left out if empty.
	Note  string            `json:"m"`
	Given map[string]string `json:"g"`
}

const (
	flagUndated = 1 << iota
	flagUnnamed
)

// flags packs what an event is marked as.
func (e *Event) flags() (n int) {
	if e.Undated {
		n |= flagUndated
	}
	if e.Unnamed {
		n |= flagUnnamed
	}
	return n
}

// packedRef leaves out the source, which the entry's own key repeats.
type packedRef struct {
	Kind    string            `json:"k"`
	ID      string            `json:"i"`
	Under   string            `json:"u"`
	Parents map[string]string `json:"p"`
}

const (
	// headRoom holds the head of nearly every signal without its entities.
	headRoom = 128
	// refRoom holds nearly every entity in it: two ids, two names.
	refRoom = 112
)

// AppendHead appends the head, the value of one of the fields, as JSON. By hand, because
// encoding/json took longer for it than verifying and reading a webhook, and every
// webhook pays.
func (s *Signal) AppendHead(b []byte) []byte {
	b = appendText(append(b, `{"c":`...), string(s.Cause))
	b = strconv.AppendInt(append(b, `,"q":`...), int64(s.Class), 10)
	if s.EventType != "" {
		b = appendText(append(b, `,"t":`...), s.EventType)
	}
	b = appendTime(b, `,"a":`, s.CreatedAt)
	b = appendTime(b, `,"n":`, s.NotBefore)
	if s.Trace != "" {
		b = appendText(append(b, `,"tp":`...), s.Trace)
	}
	if e := s.Body; e == nil || len(e.Entities) == 0 || e.Entities[0].Key != s.Ref.Key {
		b = appendParents(b, s.Ref.Parents)
	}
	if e := s.Body; e != nil {
		b = appendTime(b, `,"r":`, e.ReceivedAt)
		if !e.CreatedAt.Equal(s.CreatedAt) {
			b = appendTime(b, `,"o":`, e.CreatedAt)
		}
		b = appendRefs(b, `,"e":`, e.Entities)
		b = appendRefs(b, `,"d":`, e.Derived)
		if n := e.flags(); n != 0 {
			b = strconv.AppendInt(append(b, `,"f":`...), int64(n), 10)
		}
		if e.Note != 0 {
			b = appendText(append(b, `,"m":`...), e.Note.String())
		}
		b = appendTexts(b, `,"g":{`, e.Given)
	}
	return append(b, '}')
}

// headSize is the room a head needs, nearly always.
func (s *Signal) headSize() int {
	if s.Body == nil {
		return headRoom
	}
	return headRoom + refRoom*(len(s.Body.Entities)+len(s.Body.Derived))
}

// appendTime appends a member, or nothing for the zero time.
func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return strconv.AppendInt(append(b, name...), t.UnixMicro(), 10)
}

// appendRefs appends a member, or nothing for no entities.
func appendRefs(b []byte, name string, refs []Ref) []byte {
	if len(refs) == 0 {
		return b
	}
	b = append(append(b, name...), '[')
	for i := range refs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"k":`...), refs[i].Key.Kind)
		b = appendText(append(b, `,"i":`...), refs[i].Key.ID)
		if under := refs[i].Key.Under; under != "" {
			b = appendText(append(b, `,"u":`...), under)
		}
		b = append(appendParents(b, refs[i].Parents), '}')
	}
	return append(b, ']')
}

// appendParents appends a member, or nothing for no parents, so that one signal is
// always written in one way.
func appendParents(b []byte, parents map[string]string) []byte {
	return appendTexts(b, `,"p":{`, parents)
}

// appendTexts appends a member that is a map, or nothing for an empty one. Its members
// are sorted.
func appendTexts(b []byte, name string, m map[string]string) []byte {
	if len(m) == 0 {
		return b
	}
	var few [8]string
	keys := slices.AppendSeq(few[:0], maps.Keys(m))
	slices.Sort(keys)
	b = append(b, name...)
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, key), ':')
		b = appendText(b, m[key])
	}
	return append(b, '}')
}

// appendText appends s as a JSON string. Nearly all are plain ASCII; whatever
// might need an escape is left to encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
