package sqlite

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// Values between Go and the columns.

// millis is a time as kept: Unix milliseconds, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// text is a body as text, which SQLite's JSON functions read; bytes that are
// no text are kept as they are. Nil stays NULL.
func text(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return textBytes(b)
	}
	return b
}

// textBytes is a value that is bound as a text.
type textBytes []byte

// object is a map of ids as a JSON object, "" for none.
func object(m map[string]string) (string, error) {
	if len(m) == 0 {
		return "", nil
	}
	b, err := json.Marshal(m)
	return string(b), err
}

func fromObject(s string) (m map[string]string, err error) {
	if s == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		return nil, fate.Errorf(fate.Permanent, "a map of texts cannot be read: %w", err)
	}
	return m, nil
}

// local scans a column that keeps event.Key.Local into a key.
type local struct{ key *event.Key }

// Scan makes it a sql.Scanner.
func (l local) Scan(v any) error {
	switch v := v.(type) {
	case string:
		l.key.SetLocal(v)
	case []byte:
		l.key.SetLocal(string(v))
	default:
		return fmt.Errorf("entity id is %T: want text", v)
	}
	return nil
}

// number is a column of whole numbers that may hold anything else, after an
// edit of the file by hand: bad then.
type number struct {
	int64
	bad bool
}

// Scan makes it a sql.Scanner.
func (n *number) Scan(v any) error {
	n.int64, n.bad = 0, false
	switch v := v.(type) {
	case int64:
		n.int64 = v
	case bool:
		if v {
			n.int64 = 1
		}
	default:
		n.bad = true
	}
	return nil
}

func (n *number) time() time.Time { return fromMillis(n.int64) }

// checkKeys refuses ids that are no text: two of them could be stored as one.
func checkKeys(keys ...event.Key) error {
	for _, k := range keys {
		if !utf8.ValidString(k.Source) || !utf8.ValidString(k.Kind) || !utf8.ValidString(k.Local()) {
			return fate.Errorf(fate.Permanent, "entity key %q is not UTF-8", k.String())
		}
	}
	return nil
}
