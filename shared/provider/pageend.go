package provider

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// A page says in one of many ways whether another follows. What cannot be read is an
// error, never the end: a list that ends too early hides elements.

// isTrue and isFalse report whether a value is a flag that is set or not. Languages
// without a boolean in their databases write 1 and 0.
func isTrue(v rawjson.Value) bool { return v.Kind() == rawjson.True || isNumber(v, "1") }

func isFalse(v rawjson.Value) bool { return v.Kind() == rawjson.False || isNumber(v, "0") }

func isNumber(v rawjson.Value, want string) bool {
	text, ok := v.Whole()
	return ok && string(text) == want
}

// cursorOf returns a cursor, a text or a whole number. "" for none, null, false and 0.
func cursorOf(v rawjson.Value) (string, error) {
	if v.Kind() == rawjson.Number && !isFalse(v) {
		if text, ok := v.Whole(); ok {
			return string(text), nil
		}
	}
	return textOf(v, "cursor", "a string or a whole number")
}

// addressOf returns an address. "" for none, null and false.
func addressOf(v rawjson.Value) (string, error) {
	return textOf(v, "address", "a string")
}

func textOf(v rawjson.Value, what, want string) (string, error) {
	if text, ok := v.Text(); ok {
		return text, nil
	}
	if k := v.Kind(); k == rawjson.None || k == rawjson.Null || isFalse(v) {
		return "", nil
	}
	return "", fmt.Errorf("next %s is %s: want %s", what, v.Kind(), want)
}

// next returns the cursor of the page after an answer, "" after the last.
func (at *pageRequest) next(a *pageAnswer) (string, error) {
	if p := at.spec.more; p != nil {
		switch more := a.at(p); {
		case isFalse(more):
			return "", nil
		case !isTrue(more):
			return "", fmt.Errorf("page has %s at %s: want true or false", more.Kind(), pathName(p))
		}
	}
	return pagers[at.spec.style].follow(at, a)
}

// count is how a walk by numbers goes on. The list ends where its total or its flag
// says so; without these, with an empty page.
func (at *pageRequest) count(a *pageAnswer) (string, error) {
	s, n := at.spec, len(a.items)
	next := position{page: at.page + 1, seen: at.seen + n, limit: at.position.limit, total: -1, last: sum(a.items)}
	if n > 0 && at.seen > 0 && next.last == at.last {
		return "", fate.Errorf(fate.Transient, "%w: page %d has the elements of the page before it again; if the list ended there, say where the answer says so: next or total in pagination",
			ErrEndless, at.page-s.first+1)
	}
	more := n > 0
	switch {
	case s.total != nil:
		total, err := number(a.at(s.total), s.total)
		if err != nil {
			return "", err
		}
		if total < at.total {
			return "", fate.Errorf(fate.Permanent, "%w: of %d elements %d are left", ErrChanged, at.total, total)
		}
		if more = next.seen < total; more && n == 0 {
			return "", fmt.Errorf("an empty page after %d of %d elements", at.seen, total)
		}
		next.total = total
	case s.next != nil:
		var err error
		if more, err = flag(a.at(s.next), s.next); err != nil {
			return "", err
		}
		if more && n == 0 && s.style == "offset" {
			return "", errors.New("an empty page says that more follow")
		}
	}
	if !more {
		return "", nil
	}
	return next.String(), nil
}

// sum tells pages with different elements apart.
func sum(items []rawjson.Value) uint64 {
	var h xxhash.Digest
	h.Reset()
	for _, v := range items {
		_, _ = h.Write(v.Raw()) // cannot fail
		_, _ = h.Write([]byte{','})
	}
	return h.Sum64()
}

// number returns a whole number of a page.
func number(v rawjson.Value, at rawjson.Path) (int, error) {
	text, _ := v.Whole()
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("page has %s at %s: want the number of all elements", v.Kind(), pathName(at))
	}
	return int(n), nil
}

// flag returns whether a page says that more follow: by true, or by the number or the
// address of the next page.
func flag(v rawjson.Value, at rawjson.Path) (bool, error) {
	switch v.Kind() {
	case rawjson.None, rawjson.Null:
		return false, nil
	case rawjson.True, rawjson.False, rawjson.Number:
		return !isFalse(v), nil
	case rawjson.String:
		text, _ := v.Text()
		return text != "", nil
	}
	return false, fmt.Errorf("page has %s at %s: want true or false, or the next page", v.Kind(), pathName(at))
}
