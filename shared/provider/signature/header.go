package signature

import (
	"net/http"
	"slices"
	"strings"
)

// Name is a header as the definition writes it, for people, and by its key in an
// http.Header: computing the key for each request would allocate.
type Name struct{ Text, Key string }

// Named returns the name of a header.
func Named(header string) Name {
	return Name{Text: header, Key: http.CanonicalHeaderKey(header)}
}

// familySuffix ends the name of a signature header that has sisters: the headers
// with the same beginning and another end, as in webhook-signature, webhook-id and
// webhook-timestamp.
const familySuffix = "-signature"

// HasFamily reports whether the name of a signature header ends in -signature, so
// that the name of another header can be made from it.
func HasFamily(header string) bool {
	_, ok := family(header)
	return ok
}

// family returns the name of a signature header without -signature.
func family(header string) (string, bool) {
	n := len(header) - len(familySuffix)
	if n < 0 || !strings.EqualFold(header[n:], familySuffix) {
		return "", false
	}
	return header[:n], true
}

// sister returns the header that a definition means by a name: itself, or, if the
// name begins with "-", the sister of a signature header.
func sister(name, signatureHeader string) Name {
	if end, ok := strings.CutPrefix(name, "-"); ok {
		first, _ := family(signatureHeader) // the Spec was checked for it
		return Named(first + "-" + end)
	}
	return Named(name)
}

// Only returns the value of a header that must occur once. Copies that a proxy has
// made of it change nothing. Errors are *Error.
func Only(h http.Header, name Name) (string, error) {
	values := h[name.Key]
	if len(values) > 1 && !slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
		values = values[:1]
	}
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", refuse(Missing, "no header %s", name.Text)
	case len(values) > 1:
		return "", refuse(Doubled, "header %s occurs %d times with different values: a sender or proxy adds one", name.Text, len(values))
	default:
		return values[0], nil
	}
}

// OnlyOf is Only for a header whose value may hold commas: its copies that a proxy
// has joined are taken apart only if those of the header beside were joined too,
// whose value holds no comma.
func OnlyOf(h http.Header, name, beside Name) (string, error) {
	value, err := Only(h, name)
	if err != nil {
		return "", err
	}
	if other, err := Only(h, beside); err == nil && undouble(other) != other {
		value = undouble(value)
	}
	return value, nil
}

// mostCopies is how many copies of a header a chain of proxies is trusted with.
const mostCopies = 4

// undouble returns a value once that a proxy has joined with itself.
func undouble(value string) string {
	for _, comma := range []string{", ", ","} {
		for n := 2; n <= mostCopies; n++ {
			length := (len(value) - (n-1)*len(comma)) / n
			if length > 0 && isCopies(value, value[:length], comma, n) {
				return value[:length]
			}
		}
	}
	return value
}

// isCopies reports whether a value is n copies of a text, joined.
func isCopies(value, once, comma string, n int) bool {
	for range n - 1 {
		rest, starts := strings.CutPrefix(value, once)
		var joined bool
		if value, joined = strings.CutPrefix(rest, comma); !starts || !joined {
			return false
		}
	}
	return value == once
}
