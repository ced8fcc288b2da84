package provider

import (
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// timeFormat reads created_at, in JSON and elsewhere, and writes times in the same way.
type timeFormat struct {
	value func(rawjson.Value) (at time.Time, ok bool)
	text  func(string) (at time.Time, ok bool)
	write func(time.Time) string
}

var timeFormats = map[string]timeFormat{
	"rfc3339": {readRFC3339, parseRFC3339, func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }},
	"unix":    {readUnix, parseUnix, func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }},
	"unix_ms": {readUnixMS, parseUnixMS, func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }},
}

// firstTimeFormat reads what one of several formats does, and writes as the first.
func firstTimeFormat(formats []timeFormat) timeFormat {
	if len(formats) < 2 {
		return append(formats, timeFormat{})[0]
	}
	rest := firstTimeFormat(formats[1:])
	return timeFormat{
		value: func(v rawjson.Value) (time.Time, bool) {
			if at, ok := formats[0].value(v); ok {
				return at, true
			}
			return rest.value(v)
		},
		text: func(text string) (time.Time, bool) {
			if at, ok := formats[0].text(text); ok {
				return at, true
			}
			return rest.text(text)
		},
		write: formats[0].write,
	}
}

func readRFC3339(v rawjson.Value) (time.Time, bool) {
	text, ok := v.TextBytes()
	if !ok {
		return time.Time{}, false
	}
	return parseRFC3339(string(text))
}

// parseRFC3339 reads all that RFC 3339 allows, which is more than package time
// does: a lower-case t and z or a space between date and time (section 5.6), and
// a leap second (5.7), which is taken for the first second after it.
func parseRFC3339(text string) (time.Time, bool) {
	const seconds = len("2006-01-02T15:04:")
	b := []byte(text)
	if len(b) < seconds+2 {
		return time.Time{}, false
	}
	if b[10] == 't' || b[10] == ' ' {
		b[10] = 'T'
	}
	if last := len(b) - 1; b[last] == 'z' {
		b[last] = 'Z'
	}
	leap := time.Duration(0)
	if string(b[seconds:seconds+2]) == "60" {
		copy(b[seconds:], "59")
		leap = time.Second
	}
	at, err := time.Parse(time.RFC3339Nano, string(b))
	return at.Add(leap), err == nil
}

// lastSecond is the end of year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

func readUnix(v rawjson.Value) (time.Time, bool) {
	if v.Kind() != rawjson.Number {
		return time.Time{}, false
	}
	return parseUnix(string(v.Raw()))
}

func parseUnix(text string) (time.Time, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > lastSecond || text[0] == '+' {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}

func readUnixMS(v rawjson.Value) (time.Time, bool) {
	if v.Kind() != rawjson.Number {
		return time.Time{}, false
	}
	return parseUnixMS(string(v.Raw()))
}

func parseUnixMS(text string) (time.Time, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > lastSecond*1000+999 || text[0] == '+' {
		return time.Time{}, false
	}
	return time.UnixMilli(n), true
}
