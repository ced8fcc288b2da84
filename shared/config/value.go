package config

import (
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Secret is text that must not be printed: it formats, logs and marshals as
// [secret]. string(s) is the text itself.
type Secret string

const hidden = "[secret]"

// String returns [secret], or "" if there is none.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Bytes is a size: "512", "256KiB", "16MiB".
type Bytes int64

// String returns the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

var units = []struct {
	name string
	size Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
	bytesType    = reflect.TypeFor[Bytes]()
)

// setScalar reads text into v, a field of one of Config's scalar types. The
// error says what was wanted and does not quote the text.
func setScalar(v reflect.Value, text string, forever bool) error {
	switch v.Type() {
	case durationType:
		d, err := duration(text, forever)
		v.SetInt(int64(d))
		return err
	case bytesType:
		b, err := size(text)
		v.SetInt(int64(b))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("want true or false")
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("want a whole number")
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("want a number")
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("config: no reading of %s", v.Type())) // a new field type, found by any test
	}
	return nil
}

func duration(text string, forever bool) (time.Duration, error) {
	if forever && text == "forever" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err == nil && forever && d <= 0:
		return 0, fmt.Errorf("want a time above 0, or forever")
	case err == nil:
		return d, nil
	case forever:
		return 0, fmt.Errorf("want a duration: 1h, 2160h, or forever")
	default:
		return 0, fmt.Errorf("want a duration: 500ms, 5s, 168h")
	}
}

func size(text string) (Bytes, error) {
	unit := Bytes(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = number, u.size
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, fmt.Errorf("want a size: 512, 256KiB, 1MiB")
	}
	return Bytes(n) * unit, nil
}
