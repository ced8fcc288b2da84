// Package page holds what the lists of every store share: the size of a page
// and the cursor that names the place where the next one begins.
//
// A cursor says after which item to go on, not how many to skip, so items that
// arrive between two pages are neither repeated nor lost.
package page

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	defaultSize = 50
	maxSize     = 200
)

// Size returns the page size for a wish: 50 for 0 or less, at most 200.
func Size(limit int) int {
	if limit <= 0 {
		return defaultSize
	}
	return min(limit, maxSize)
}

// Place is the last item of a page. Its list says which fields count.
type Place struct {
	// List names the list, so that a cursor of another one is refused.
	List string `json:"l"`
	// At is a time in Unix milliseconds.
	At int64 `json:"t,omitempty"`
	// ID is the item's id.
	ID string `json:"i"`
}

// Cursor returns the place as an opaque text.
func (p Place) Cursor() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("page: a place of strings and numbers cannot fail to encode: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Parse reads a cursor of the named list. An empty one is no place: ok is
// false. What Cursor did not make for this list is storage.ErrCursor.
func Parse(list, cursor string) (p Place, ok bool, err error) {
	if cursor == "" {
		return Place{}, false, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return Place{}, false, storage.ErrCursor
	}
	if json.Unmarshal(b, &p) != nil || p.List != list {
		return Place{}, false, storage.ErrCursor
	}
	return p, true, nil
}

// Cut makes a page of items read one beyond its size.
func Cut[T any](items []T, size int, place func(T) Place) storage.Page[T] {
	if len(items) <= size {
		return storage.Page[T]{Items: items}
	}
	items = items[:size]
	return storage.Page[T]{Items: items, NextCursor: place(items[size-1]).Cursor()}
}
