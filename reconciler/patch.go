package reconciler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/provider"
)

const (
	// longestPatch is how much of a patch is kept, in bytes. The beginning is
	// enough for a state that differs everywhere.
	longestPatch = 64 << 10
	// mostPairs bounds the pairs that are compared to find out which element of
	// an unordered list has become which.
	mostPairs = 10_000
)

// patchOf returns the RFC 6902 patch that leads from one state of a kind to
// another. A test before each value that is replaced or removed says what it was, so
// that the patch still shows both sides once the mirror is repaired. It has neither secret fields, which are cut out of both states, nor
// volatile ones, whose change is no difference. Nil if nothing else differs.
//
// It is for reading. Applied to the mirror's state it gives the provider's, except
// for the fields cut out, the order of an unordered list, and the end of a patch
// longer than 64 KiB.
func patchOf(d *provider.Definition, kind string, from, to []byte) ([]byte, error) {
	a, err := decoded(d, kind, from)
	readable := err == nil
	b, err := decoded(d, kind, to)
	if err != nil {
		return nil, err
	}
	var p patch
	if !readable {
		// Not JSON: another program wrote into the mirror. There is no state to
		// lead from.
		p.put("replace", "", b)
		return p.encode()
	}
	k := d.Kind(kind)
	listA, isA := a.([]any)
	listB, isB := b.([]any)
	if k.Unordered() && isA && isB {
		p.set(listA, listB)
	} else {
		p.value("", a, b)
	}
	return p.encode()
}

// decoded decodes the part of a state that is compared. Numbers keep their
// text, since 1.10 and 1.1 are two states.
func decoded(d *provider.Definition, kind string, raw []byte) (any, error) {
	stable, err := d.Stable(kind, raw)
	if err != nil {
		return nil, err
	}
	in := json.NewDecoder(bytes.NewReader(stable))
	in.UseNumber()
	var v any
	if err := in.Decode(&v); err != nil {
		return nil, fmt.Errorf("read state of %s: %w", kind, err)
	}
	return v, nil
}

// operation is one operation of a patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value *any   `json:"value,omitempty"` // nil for remove, not for null
}

// change is what a patch does at one place: perhaps a test of what was there, and an
// operation.
type change []operation

// patch gathers changes in the order they are to be applied.
type patch []change

func (p *patch) remove(path string, was any) {
	*p = append(*p, change{{"test", path, &was}, {"remove", path, nil}})
}

func (p *patch) replace(path string, was, v any) {
	*p = append(*p, change{{"test", path, &was}, {"replace", path, &v}})
}

func (p *patch) put(op, path string, v any) { *p = append(*p, change{{op, path, &v}}) }

// value leads from a to b.
func (p *patch) value(path string, a, b any) {
	if objectA, ok := a.(map[string]any); ok {
		if objectB, ok := b.(map[string]any); ok {
			p.object(path, objectA, objectB)
			return
		}
	}
	if listA, ok := a.([]any); ok {
		if listB, ok := b.([]any); ok {
			p.list(path, listA, listB)
			return
		}
	}
	if !reflect.DeepEqual(a, b) {
		p.replace(path, a, b)
	}
}

func (p *patch) object(path string, a, b map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		at := path + "/" + escape(name)
		if v, ok := b[name]; ok {
			p.value(at, a[name], v)
		} else {
			p.remove(at, a[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[name]; !ok {
			p.put("add", path+"/"+escape(name), b[name])
		}
	}
}

// list leaves alone what both begin and end with: histories grow at one end.
func (p *patch) list(path string, a, b []any) {
	start := 0
	for start < min(len(a), len(b)) && reflect.DeepEqual(a[start], b[start]) {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && reflect.DeepEqual(a[len(a)-1-end], b[len(b)-1-end]) {
		end++
	}
	a, b = a[start:len(a)-end], b[start:len(b)-end]
	at := func(i int) string { return path + "/" + strconv.Itoa(start+i) }
	both := min(len(a), len(b))
	for i := range both {
		p.value(at(i), a[i], b[i])
	}
	for i := len(a) - 1; i >= both; i-- {
		p.remove(at(i), a[i])
	}
	for i := both; i < len(b); i++ {
		p.put("add", at(i), b[i])
	}
}

// set leads from one list to another whose order says nothing: each element
// that is not in both is taken for the changed form of the one most like it.
func (p *patch) set(a, b []any) {
	left, right := unmatched(a, b)
	for i, j := range pairs(a, b, left, right) {
		p.value("/"+strconv.Itoa(i), a[i], b[j])
		left, right = without(left, i), without(right, j)
	}
	for _, i := range slices.Backward(left) {
		p.remove("/"+strconv.Itoa(i), a[i])
	}
	for _, j := range right {
		p.put("add", "/-", b[j])
	}
}

// unmatched returns the places of the elements that the other list lacks.
func unmatched(a, b []any) (left, right []int) {
	places := map[string][]int{}
	for j, v := range b {
		places[text(v)] = append(places[text(v)], j)
	}
	matched := map[int]bool{}
	for i, v := range a {
		if same := places[text(v)]; len(same) > 0 {
			matched[same[0]] = true
			places[text(v)] = same[1:]
			continue
		}
		left = append(left, i)
	}
	for j := range b {
		if !matched[j] {
			right = append(right, j)
		}
	}
	return left, right
}

// text is a value as text that is equal for equal values.
func text(v any) string {
	b, _ := json.Marshal(v) // was decoded from JSON
	return string(b)
}

// pairs finds for places on the left the most alike on the right, in the
// order of the list. Elements with nothing in common are no pair.
func pairs(a, b []any, left, right []int) func(yield func(i, j int) bool) {
	return func(yield func(i, j int) bool) {
		if len(left)*len(right) > mostPairs {
			return
		}
		free := slices.Clone(right)
		for _, i := range slices.Clone(left) {
			best, most := -1, 0
			for _, j := range free {
				if n := alike(a[i], b[j]); n > most {
					best, most = j, n
				}
			}
			if best < 0 {
				continue
			}
			free = without(free, best)
			if !yield(i, best) {
				return
			}
		}
	}
}

// alike counts the members two objects share; an id counts for all others.
func alike(a, b any) int {
	objectA, _ := a.(map[string]any)
	objectB, _ := b.(map[string]any)
	n := 0
	for name, v := range objectA {
		if w, ok := objectB[name]; ok && reflect.DeepEqual(v, w) {
			if n++; name == "id" {
				n += len(objectA)
			}
		}
	}
	return n
}

func without(places []int, gone int) []int {
	return slices.DeleteFunc(slices.Clone(places), func(i int) bool { return i == gone })
}

// encode returns the patch as JSON, cut behind the last change that fits.
func (p patch) encode() ([]byte, error) {
	if len(p) == 0 {
		return nil, nil
	}
	out := bytes.NewBufferString("[")
	in := json.NewEncoder(out)
	in.SetEscapeHTML(false)
	for i, c := range p {
		fits := out.Len()
		for _, o := range c {
			if out.Len() > 1 {
				out.WriteByte(',')
			}
			if err := in.Encode(o); err != nil {
				return nil, fmt.Errorf("patch %s: %w", o.Path, err)
			}
			out.Truncate(out.Len() - 1) // the encoder ends each value with a newline
		}
		if i > 0 && out.Len() > longestPatch {
			out.Truncate(fits)
			break
		}
	}
	return append(out.Bytes(), ']'), nil
}

// escape writes a name as a step of a JSON pointer (RFC 6901).
func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }
