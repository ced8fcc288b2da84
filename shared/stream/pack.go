package stream

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
)

// pack writes the signal of an entry, without what the event's log row has, as
// a parked list keeps it: each field and value as length, colon, bytes. Lengths
// rather than quotes, so that every byte comes back as it was.
func pack(e event.Entry) (string, error) {
	if e.Err != nil {
		return "", fmt.Errorf("entry %s could not be decoded, so it belongs to no entity", e.ID)
	}
	signal := e.Signal
	signal.Body = signal.Body.Logged()
	fields, err := signal.Fields()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range fields {
		var text string
		switch v := f.(type) {
		case string:
			text = v
		case []byte:
			text = string(v)
		case int:
			text = strconv.Itoa(v)
		case int64:
			text = strconv.FormatInt(v, 10)
		default:
			return "", fmt.Errorf("signal of %s: field of type %T", signal.Ref.Key, f)
		}
		b.WriteString(strconv.Itoa(len(text)))
		b.WriteByte(':')
		b.WriteString(text)
	}
	return b.String(), nil
}

var errPacked = errors.New("packed signal is damaged")

// unpack reads what pack wrote.
func unpack(s string) (map[string]string, error) {
	fields := map[string]string{}
	for s != "" {
		var pair [2]string
		for i := range pair {
			length, rest, ok := strings.Cut(s, ":")
			n, err := strconv.Atoi(length)
			if !ok || err != nil || n < 0 || n > len(rest) {
				return nil, errPacked
			}
			pair[i], s = rest[:n], rest[n:]
		}
		fields[pair[0]] = pair[1]
	}
	return fields, nil
}
