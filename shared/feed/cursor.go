package feed

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Cursor names the position up to which a consumer has read. The zero value is before
// the first.
type Cursor struct {
	// Gen is the generation, Tag that of the batch that holds the position.
	Gen      string
	Position int64
	Tag      string
}

// At returns the cursor behind the last item of a batch.
func At(b *storage.Batch) Cursor { return Cursor{b.Gen, b.Last(), b.Tag} }

// String returns "gen.position.tag", "0" for the zero value.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return "0"
	}
	return c.Gen + "." + strconv.FormatInt(c.Position, 10) + "." + c.Tag
}

// ErrCursor is the error of a text that is no cursor.
var ErrCursor = errors.New("not a cursor of the change feed")

// ParseCursor reads what String returned.
func ParseCursor(text string) (Cursor, error) {
	if text == "0" {
		return Cursor{}, nil
	}
	gen, rest, _ := strings.Cut(text, ".")
	number, tag, ok := strings.Cut(rest, ".")
	position, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || position < 1 || !isTag(gen) || !isTag(tag) {
		return Cursor{}, fmt.Errorf("%.80q: %w", text, ErrCursor)
	}
	return Cursor{gen, position, tag}, nil
}

// isTag reports whether a text may be one that newTag made.
func isTag(text string) bool {
	return text != "" && len(text) <= 64 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// Why a cursor is Gone.
const (
	// Retention: what comes next was removed, since it is older than is kept.
	Retention = "retention"
	// Restored: the log has another batch there, or none, so the database was restored
	// from an older copy. Versions that a consumer holds may exist no more, so it drops
	// all of them first.
	Restored = "restored"
)

// Gone is the error of a cursor from which the log cannot be read. It never becomes
// good again: the consumer reads everything and follows from there.
type Gone struct {
	Cursor Cursor
	Reason string
	// Oldest is before the oldest item there is.
	Oldest int64
}

// Error names the cursor and the reason.
func (e *Gone) Error() string {
	return fmt.Sprintf("the change feed cannot be read from %s (%s): read everything again", e.Cursor, e.Reason)
}
