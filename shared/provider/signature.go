package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The signature schemes.
const (
	timestampedHMAC  = "timestamped-hmac"
	standardWebhooks = "standard-webhooks"
)

// signatureSuffix ends the name of the signature header in Standard Webhooks;
// its sisters end in -id and -timestamp.
const signatureSuffix, idSuffix, timestampSuffix = "-signature", "-id", "-timestamp"

// familyOf is what the names of three sisters have in common, given that of the
// signature: "webhook".
func familyOf(signature string) (family string, ok bool) {
	n := len(signature) - len(signatureSuffix)
	if n < 0 || !strings.EqualFold(signature[n:], signatureSuffix) {
		return "", false
	}
	return signature[:n], true
}

func hasFamily(signature string) bool {
	_, ok := familyOf(signature)
	return ok
}

// scheme is a way to sign webhooks: how a secret becomes a key, and what the
// headers say was signed.
type scheme struct {
	key   func(secret string) ([]byte, error)
	claim func(c *claim, h http.Header, header headerName) error
}

// schemes are the known ones, by the name a definition gives.
var schemes = map[string]scheme{
	// Stripe's scheme, taken over by lemon.markets: t=<unix>,v1=<hex>, and the
	// secret's text is the key as it stands, however much it looks like hex.
	timestampedHMAC: {
		key:   func(secret string) ([]byte, error) { return []byte(secret), nil },
		claim: claimTimestamped,
	},
	// https://github.com/standard-webhooks/standard-webhooks, version 1.0.0
	standardWebhooks: {key: standardKey, claim: claimStandard},
}

// claim is the signature part of a request's headers. Its memory is used again.
type claim struct {
	at         int64       // Unix seconds
	prefix     []byte      // what was signed before the body
	signatures []signature // any of them may be the right one
	text       []byte      // room to decode in
}

// signature is one of the length they all have; another length never matches.
type signature [sha256.Size]byte

func (c *claim) reset() {
	c.at, c.prefix, c.signatures = 0, c.prefix[:0], c.signatures[:0]
}

// headerName is a header as the definition writes it, for people, and by its
// key in an http.Header: computing the key for each request would allocate.
type headerName struct{ text, key string }

func named(header string) headerName {
	return headerName{text: header, key: http.CanonicalHeaderKey(header)}
}

// SignatureError says why a signature was not accepted. Reason is from a
// fixed list, fit for a metric: missing, malformed, doubled, mismatch, too_old,
// in_future.
type SignatureError struct {
	Reason string
	Detail string
}

// Error returns the reason and the detail.
func (e *SignatureError) Error() string { return e.Reason + ": " + e.Detail }

func refuse(reason, format string, args ...any) *SignatureError {
	return &SignatureError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// VerifierOptions are the settings of a Verifier.
type VerifierOptions struct {
	// Secrets are tried in turn: several while one is being rotated.
	Secrets []string
	// Tolerance is how far the timestamp may be from now, both ways. Defaults
	// to what the definition says, and that to 5 minutes; negative: any time is
	// accepted.
	Tolerance time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Verifier checks webhook signatures of one source. Safe for concurrent use.
type Verifier struct {
	scheme    scheme
	headers   []headerName
	macs      []*sync.Pool // of *mac, one pool per secret
	claims    sync.Pool    // of *claim
	tolerance time.Duration
	now       func() time.Time
}

// mac is an HMAC with room for its sum.
type mac struct {
	hash.Hash
	sum signature
}

// NewVerifier returns a verifier for the definition's scheme. No secret, an
// empty one, or one the scheme cannot read is an error.
func NewVerifier(d *Definition, o VerifierOptions) (*Verifier, error) {
	v := &Verifier{
		scheme:    schemes[d.signature.scheme],
		claims:    sync.Pool{New: func() any { return &claim{} }},
		tolerance: o.Tolerance, now: o.Now,
	}
	for _, header := range d.signature.headers {
		v.headers = append(v.headers, named(header))
	}
	if v.tolerance == 0 {
		v.tolerance = d.signature.tolerance
	}
	if v.now == nil {
		v.now = time.Now
	}
	if len(o.Secrets) == 0 {
		return nil, errors.New("no webhook secret: give the one the provider signs with")
	}
	for i, secret := range o.Secrets {
		if secret == "" {
			return nil, fmt.Errorf("webhook secret %d is empty", i+1)
		}
		key, err := v.scheme.key(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook secret %d: %w", i+1, err)
		}
		// Pooled, because setting up an HMAC hashes two blocks, as much work as
		// a whole small event.
		v.macs = append(v.macs, &sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }})
	}
	return v, nil
}

// Verify checks the signature of a raw body. Errors are *SignatureError.
func (v *Verifier) Verify(h http.Header, body []byte) error {
	header, ok := v.header(h)
	if !ok {
		return refuse("missing", "no header %s", v.headerTexts())
	}
	c := v.claims.Get().(*claim)
	defer v.claims.Put(c)
	c.reset()
	if err := v.scheme.claim(c, h, header); err != nil {
		return err
	}
	// The signature first: then "too old" is said only of what the provider
	// did send once, a replay or a clock that is wrong.
	if !v.signed(c, body) {
		return refuse("mismatch", "no signature in %s is of this body by a known secret", header.text)
	}
	return v.onTime(c.at)
}

// header returns the most preferred header that is there. It alone counts: a
// second header must not be a second chance.
func (v *Verifier) header(h http.Header) (headerName, bool) {
	for _, name := range v.headers {
		if len(h[name.key]) > 0 {
			return name, true
		}
	}
	return headerName{}, false
}

func (v *Verifier) headerTexts() string {
	texts := make([]string, len(v.headers))
	for i, name := range v.headers {
		texts[i] = name.text
	}
	return strings.Join(texts, " or ")
}

func (v *Verifier) signed(c *claim, body []byte) bool {
	good := false
	for _, pool := range v.macs {
		m := pool.Get().(*mac)
		m.Reset()
		m.Write(c.prefix)
		m.Write(body)
		want := m.Sum(m.sum[:0])
		for i := range c.signatures {
			// No early return: the time this takes reveals nothing about the secrets.
			good = hmac.Equal(c.signatures[i][:], want) || good
		}
		pool.Put(m)
	}
	return good
}

func (v *Verifier) onTime(unix int64) error {
	if v.tolerance < 0 {
		return nil
	}
	switch age := v.now().Sub(time.Unix(unix, 0)); {
	case age > v.tolerance:
		return refuse("too_old", "signed more than %s ago", v.tolerance)
	case age < -v.tolerance:
		return refuse("in_future", "signed more than %s ahead of our clock", v.tolerance)
	}
	return nil
}

// claimTimestamped reads "t=1700000000,v1=<hex>,v1=<hex>,v0=…". Schemes other
// than v1 and signatures that are no hex are passed over, for a provider adds
// new ones beside the old; two timestamps are not, for which was signed?
func claimTimestamped(c *claim, h http.Header, header headerName) error {
	text, err := only(h, header)
	if err != nil {
		return err
	}
	text = undouble(text)
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || strings.Contains(value, "=") {
			return refuse("malformed", "%s: %.20q is not name=value", header.text, part)
		}
		switch name {
		case "t":
			if len(c.prefix) > 0 {
				return refuse("doubled", "%s: two timestamps: a proxy may have joined two headers", header.text)
			}
			if c.at, err = timestamp(header.text, value); err != nil {
				return err
			}
			c.prefix = append(append(c.prefix, value...), '.')
		case "v1":
			c.addHex(value)
		}
	}
	if len(c.prefix) == 0 {
		return refuse("malformed", "%s: no timestamp", header.text)
	}
	return nil
}

// addHex adds a signature if the text is one.
func (c *claim) addHex(text string) {
	if len(text) != hex.EncodedLen(sha256.Size) {
		return
	}
	var s signature
	c.text = append(c.text[:0], text...)
	if _, err := hex.Decode(s[:], c.text); err == nil {
		c.signatures = append(c.signatures, s)
	}
}

// claimStandard reads "v1,<base64> v1,<base64> v1a,…" and the two sister
// headers.
func claimStandard(c *claim, h http.Header, header headerName) error {
	family := sistersOf(header)
	text, err := only(h, header)
	if err != nil {
		return err
	}
	text = undouble(text)
	id, err := family.id(h)
	if err != nil {
		return err
	}
	stamp, err := only(h, family.timestampHeader)
	if err != nil {
		return err
	}
	stamp = undouble(stamp)
	c.prefix = append(append(append(append(c.prefix, id...), '.'), stamp...), '.')
	if c.at, err = timestamp(family.timestampHeader.text, stamp); err != nil {
		return err
	}
	for part := range strings.FieldsSeq(text) {
		if version, value, _ := strings.Cut(part, ","); version == "v1" {
			c.addBase64(value)
		}
	}
	return nil
}

// addBase64 adds a signature if the text is one.
func (c *claim) addBase64(text string) {
	s, err := base64.StdEncoding.DecodeString(text)
	if err == nil && len(s) == sha256.Size {
		c.signatures = append(c.signatures, signature(s))
	}
}

// sisters are the headers beside a signature of Standard Webhooks.
type sisters struct{ idHeader, timestampHeader headerName }

func sistersOf(signature headerName) sisters {
	family, _ := familyOf(signature.text) // the definition was checked for it
	return sisters{idHeader: named(family + idSuffix), timestampHeader: named(family + timestampSuffix)}
}

// id returns the id of the event. A comma is allowed in an id, so that it is taken
// for one that a proxy has joined with itself only if the timestamp was joined
// too, where none is allowed.
func (s sisters) id(h http.Header) (string, error) {
	id, err := only(h, s.idHeader)
	if err != nil {
		return "", err
	}
	if stamp, err := only(h, s.timestampHeader); err == nil && undouble(stamp) != stamp {
		id = undouble(id)
	}
	return id, nil
}

// mostCopies is how many copies of a header a chain of proxies is trusted with.
const mostCopies = 4

// undouble returns a value once that a proxy has joined with itself, as proxies
// do with headers that occur several times (RFC 9110, section 5.3).
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

// only returns the value of a header that must occur once. Copies that a proxy
// has made of it change nothing.
func only(h http.Header, name headerName) (string, error) {
	values := h[name.key]
	if len(values) > 1 && !slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
		values = values[:1]
	}
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", refuse("missing", "no header %s", name.text)
	case len(values) > 1:
		return "", refuse("doubled", "header %s occurs %d times with different values: a sender or proxy adds one", name.text, len(values))
	default:
		return values[0], nil
	}
}

// timestamp reads Unix seconds: digits only, since ParseInt takes signs too,
// and nothing beyond year 9999, where package time overflows.
func timestamp(header, s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] < '0' || s[0] > '9' || n > lastSecond {
		return 0, refuse("malformed", "%s: %.20q is no timestamp in seconds", header, s)
	}
	return n, nil
}

// standardKey decodes "whsec_<base64>"; the prefix may be left out.
func standardKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, errors.New("is not whsec_ and base64")
	}
	return key, nil
}
