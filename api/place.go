package api

import (
	"encoding/base64"
	"strings"

	"github.com/tarn-sync/tarn/shared/feed"
)

// place is how far a consumer has come: a position of the feed. While it reads a
// snapshot, the position is where the feed was when the snapshot began, and walk says how
// far the snapshot has come.
type place struct {
	feed.Cursor
	walk *walkPlace
}

// walkPlace is behind an entity of a snapshot, or before the first if kind is "".
type walkPlace struct {
	// filter are the kinds that were asked for. With others, those that the walk has
	// passed would be missing.
	filter string
	// kind and id are the last entity that was delivered; id as event.Key.Local has it.
	kind, id string
}

// placeMark separates the position from the place in the snapshot. No position has it.
const placeMark = "~"

// String returns the cursor that clients get.
func (p place) String() string {
	if p.walk == nil {
		return p.Cursor.String()
	}
	parts := p.walk.filter + "\n" + p.walk.kind + "\n" + p.walk.id
	return p.Cursor.String() + placeMark + base64.RawURLEncoding.EncodeToString([]byte(parts))
}

// parsePlace reads what String returned. The error is feed.ErrCursor.
func parsePlace(text string) (p place, err error) {
	text, walk, walking := strings.Cut(text, placeMark)
	if p.Cursor, err = feed.ParseCursor(text); err != nil || !walking {
		return p, err
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(walk)
	parts := strings.Split(string(decoded), "\n")
	if err != nil || len(parts) != 3 {
		return place{}, feed.ErrCursor
	}
	p.walk = &walkPlace{filter: parts[0], kind: parts[1], id: parts[2]}
	return p, nil
}
