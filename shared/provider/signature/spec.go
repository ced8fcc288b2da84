package signature

import (
	"crypto"
	_ "crypto/sha1" // for providers that sign with nothing better
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// The schemes.
const (
	HMAC             = "hmac"
	TimestampedHMAC  = "timestamped-hmac"
	StandardWebhooks = "standard-webhooks"
	PublicKey        = "public-key"
	AdyenItems       = "adyen-items"
	None             = "none"
)

// Schemes returns the names of all schemes.
func Schemes() []string {
	return []string{StandardWebhooks, TimestampedHMAC, HMAC, PublicKey, AdyenItems, None}
}

// Spec says how a provider signs webhooks, as a definition writes it. What is left
// out has its default.
type Spec struct {
	// Scheme is one of Schemes. Required. All but HMAC and PublicKey fix most of the
	// other fields, which must then be left out.
	Scheme string
	// Headers are the headers a signature may be in. The first that is there counts,
	// alone. Required where a header holds the signature.
	Headers []string
	// Hash is the hash of an HMAC: sha1, sha256 (default) or sha512.
	Hash string
	// Encoding is how a signature is written: hex (default) or base64.
	Encoding string
	// Prefix begins the header before the signature: "sha256=". Default: nothing.
	Prefix string
	// Secret is how a secret becomes a key: text (default), hex or base64.
	Secret string
	// SecretPrefix begins secrets and is no part of the key; a secret may come without
	// it. Default: nothing.
	SecretPrefix string
	// Algorithm is that of a public key: ed25519, rsa-sha256 or ecdsa-p256. Required
	// with PublicKey.
	Algorithm string
	// Parts describes a header of named parts. Default: the header is one signature.
	Parts Parts
	// Time says where the time of the signature stands, unless in a part. Default: the
	// scheme has no time.
	Time Time
	// Signed is the text that is signed, with the placeholders {body}, {time}, {url},
	// {method} and {header:Name}. Default: {body}. A Name that begins with "-" is a
	// sister of the signature header: "-id" beside webhook-signature is webhook-id.
	Signed string
}

// Parts describes a header of parts with names, as in "t=1700000000,v1=0a1b".
type Parts struct {
	// Separator stands between two parts. Required. A space is any white space.
	Separator string
	// Equals stands between the name and the value of a part. Defaults to "=".
	Equals string
	// Time is the name of the part with the time. Default: the time is elsewhere.
	Time string
	// Signature is the name of the parts that are signatures. Several are alternatives;
	// any may be right. Required.
	Signature string
}

// Time says where the time of a signature stands and how it is written.
type Time struct {
	// Header is the header that holds it; a name that begins with "-" is a sister of
	// the signature header. Default: a part holds it, or there is no time.
	Header string
	// Unit is s (default), ms or rfc3339: seconds or milliseconds since 1970, or text.
	Unit string
}

// Problem is what is wrong with a field of a Spec.
type Problem struct {
	// Key names the field as a definition does: "signed", "parts.time".
	Key string
	// Text says what is wrong and what to write instead.
	Text string
}

// settings are the Specs of the schemes that fix everything but the headers.
var settings = map[string]Spec{
	// Stripe's scheme, taken over by lemon.markets. The secret's text is the key as
	// it stands, however much it looks like hex.
	TimestampedHMAC: {
		Parts:  Parts{Separator: ",", Time: "t", Signature: "v1"},
		Signed: "{time}.{body}",
	},
	// https://github.com/standard-webhooks/standard-webhooks, version 1.0.0
	StandardWebhooks: {
		Encoding: "base64", Secret: "base64", SecretPrefix: "whsec_",
		Parts:  Parts{Separator: " ", Equals: ",", Signature: "v1"},
		Time:   Time{Header: "-timestamp"},
		Signed: "{header:-id}.{time}.{body}",
	},
}

// hashes are the hashes of an HMAC.
var hashes = map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha512": crypto.SHA512}

// Scheme is a Spec that was checked. It is safe for concurrent use.
type Scheme struct {
	spec       Spec
	headers    []header
	algorithms []algorithm
}

// header is a header that may hold the signature, with what is signed under it.
type header struct {
	name Name
	time Name // zero: a part holds the time, or there is none
	// before and after are the pieces around the body.
	before, after []piece
}

// algorithm is a way to sign: an HMAC, or a kind of public key.
type algorithm struct {
	// part is the name of the parts that hold such signatures.
	part string
	// hash is that of an HMAC. 0: a public key signs.
	hash crypto.Hash
	// public is the kind of public key.
	public string
	// only begins the secrets that are of this algorithm. "": all others.
	only string
}

// New checks a Spec and returns its Scheme, or what is wrong with it.
func New(spec Spec) (*Scheme, []Problem) {
	c := &checker{spec: spec}
	c.check()
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	s := &Scheme{spec: c.spec, algorithms: c.algorithms()}
	for _, h := range c.spec.Headers {
		of := header{name: Named(h), before: of(c.before, h), after: of(c.after, h)}
		if c.spec.Time.Header != "" {
			of.time = sister(c.spec.Time.Header, h)
		}
		s.headers = append(s.headers, of)
	}
	return s, nil
}

// checker checks a Spec and fills in its defaults.
type checker struct {
	spec          Spec
	before, after []piece
	problems      []Problem
}

func (c *checker) fail(key, format string, args ...any) {
	c.problems = append(c.problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) check() {
	name := c.spec.Scheme
	switch name {
	case "":
		c.fail("scheme", "is missing")
	case HMAC:
		c.without("of public keys", "algorithm")
	case PublicKey:
		c.without("of secrets, and a public key is read as PEM, base64 or hex", "hash", "secret", "secret_prefix")
	case TimestampedHMAC, StandardWebhooks:
		c.fixed(name)
		set := settings[name]
		set.Scheme, set.Headers = name, c.spec.Headers
		c.spec = set
	case AdyenItems, None:
		c.fixed(name)
		if len(c.spec.Headers) > 0 {
			c.fail("headers", "is of no use with %s, which has no header: leave it out", name)
		}
		return
	default:
		c.fail("scheme", "is %q: want one of %s", name, strings.Join(Schemes(), ", "))
		return
	}
	c.checkWords()
	c.checkParts()
	c.checkTime()
	c.checkSigned()
	c.checkHeaders()
}

// given are the keys of a Spec that were written, but scheme and headers.
func (c *checker) given() []string {
	s := c.spec
	values := map[string]string{
		"hash": s.Hash, "encoding": s.Encoding, "prefix": s.Prefix, "secret": s.Secret, "secret_prefix": s.SecretPrefix,
		"algorithm": s.Algorithm, "time": s.Time.Header + s.Time.Unit, "signed": s.Signed,
		"parts": s.Parts.Separator + s.Parts.Equals + s.Parts.Time + s.Parts.Signature,
	}
	maps.DeleteFunc(values, func(_, v string) bool { return v == "" })
	return slices.Sorted(maps.Keys(values))
}

// fixed refuses the keys that a scheme sets itself.
func (c *checker) fixed(scheme string) {
	for _, key := range c.given() {
		c.fail(key, "is fixed by the scheme %s: leave it out, or write scheme: %s and every key", scheme, HMAC)
	}
}

// without refuses keys that mean nothing for the scheme.
func (c *checker) without(why string, keys ...string) {
	for _, key := range c.given() {
		if slices.Contains(keys, key) {
			c.fail(key, "is %s: leave it out with scheme: %s", why, c.spec.Scheme)
		}
	}
}

// checkWords checks the keys that are one of a few words.
func (c *checker) checkWords() {
	s := &c.spec
	c.word("encoding", &s.Encoding, "hex", "base64")
	c.word("time.unit", &s.Time.Unit, "s", "ms", "rfc3339")
	if s.Scheme == PublicKey {
		if s.Algorithm == "" {
			c.fail("algorithm", "is missing: want one of %s", strings.Join(algorithmNames, ", "))
		}
		c.word("algorithm", &s.Algorithm, algorithmNames...)
		return
	}
	c.word("hash", &s.Hash, "sha256", "sha1", "sha512")
	c.word("secret", &s.Secret, "text", "hex", "base64")
}

// word checks a key that must be one of some words; the first is the default.
func (c *checker) word(key string, value *string, words ...string) {
	if *value == "" {
		*value = words[0]
	} else if !slices.Contains(words, *value) {
		c.fail(key, "is %q: want one of %s", *value, strings.Join(words, ", "))
	}
}

func (c *checker) checkParts() {
	p := &c.spec.Parts
	if *p == (Parts{}) {
		return
	}
	if p.Equals == "" {
		p.Equals = "="
	}
	switch {
	case p.Separator == "":
		c.fail("parts.separator", "is missing: want what stands between two parts, such as \",\"")
	case p.Signature == "":
		c.fail("parts.signature", "is missing: want the name of the part that is the signature, such as v1")
	case p.Time == p.Signature:
		c.fail("parts.time", "is %q, which is the name of the signature too", p.Time)
	case p.Separator == p.Equals:
		c.fail("parts.equals", "is %q, which separates the parts", p.Equals)
	}
	if c.spec.Prefix != "" {
		c.fail("prefix", "is of no use with parts: leave it out, for parts.signature names the signature")
	}
	for key, text := range map[string]string{"parts.separator": p.Separator, "parts.equals": p.Equals} {
		// What occurs in a signature or a time would cut it in two.
		if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }); i >= 0 {
			c.fail(key, "is %q: want no letters and digits, which a signature holds itself", text)
		}
	}
	if c.spec.Encoding == "base64" && strings.ContainsAny(p.Separator, "+/=") {
		c.fail("parts.separator", "is %q, which a signature in base64 may hold itself", p.Separator)
	}
	if c.spec.Time.Unit == "rfc3339" && p.Time != "" && strings.ContainsAny(p.Separator+p.Equals, ":-.+") {
		c.fail("parts.separator", "and parts.equals are %q and %q: a time of RFC 3339 may hold : - . and + itself", p.Separator, p.Equals)
	}
}

func (c *checker) checkTime() {
	t := c.spec.Time
	switch {
	case t.Header != "" && c.spec.Parts.Time != "":
		c.fail("time.header", "and parts.time both name the place of the time: leave one of the two out")
	case t.Header == "" && c.spec.Parts.Time == "" && t.Unit != "s":
		c.fail("time.unit", "is of no use without time.header or parts.time, which name the place of the time")
	}
}

func (c *checker) checkSigned() {
	if c.spec.Signed == "" {
		c.spec.Signed = "{body}"
	}
	var err error
	if c.before, c.after, err = parseTemplate(c.spec.Signed); err != nil {
		c.fail("signed", "%v", err)
		return
	}
	signsTime := holds(theTime, c.before, c.after)
	switch {
	case signsTime && !c.spec.timed():
		c.fail("signed", "holds {time}: say where it stands with time.header or parts.time")
	case !signsTime && c.spec.timed():
		c.fail("signed", "is %q, without {time}: anybody could change a time that is not signed, so put it in, or leave out time and parts.time", c.spec.Signed)
	}
}

func (s Spec) timed() bool { return s.Time.Header != "" || s.Parts.Time != "" }

func (c *checker) checkHeaders() {
	if len(c.spec.Headers) == 0 {
		c.fail("headers", "is missing: name at least one header")
	}
	var sisters []string
	for _, p := range slices.Concat(c.before, c.after) {
		if p.field == aHeader && strings.HasPrefix(p.text, "-") {
			sisters = append(sisters, p.text)
		}
	}
	if strings.HasPrefix(c.spec.Time.Header, "-") {
		sisters = append(sisters, c.spec.Time.Header)
	}
	for _, h := range c.spec.Headers {
		switch {
		case HasFamily(h) || len(sisters) == 0:
		case c.spec.Scheme == StandardWebhooks:
			c.fail("headers", "holds %q: names of this scheme end in %s", h, familySuffix)
		default:
			c.fail("headers", "holds %q, which does not end in %s: what header does %q stand for?", h, familySuffix, sisters[0])
		}
	}
}

// algorithms returns the ways in which a request may be signed.
func (c *checker) algorithms() []algorithm {
	s := c.spec
	switch s.Scheme {
	case None:
		return nil
	case AdyenItems:
		return []algorithm{{hash: crypto.SHA256}}
	case PublicKey:
		return []algorithm{{part: s.Parts.Signature, public: s.Algorithm}}
	case StandardWebhooks:
		return []algorithm{{part: s.Parts.Signature, hash: crypto.SHA256}, {part: "v1a", public: ed25519Name, only: publicPrefix}}
	default:
		return []algorithm{{part: s.Parts.Signature, hash: hashes[s.Hash]}}
	}
}

// Name returns the name of the scheme.
func (s *Scheme) Name() string { return s.spec.Scheme }

// Timed reports whether a signature covers the time it was made at, so that a
// recorded request is refused later on.
func (s *Scheme) Timed() bool { return s.spec.timed() }

// InPath reports whether a secret in the path takes the place of a signature.
func (s *Scheme) InPath() bool { return s.spec.Scheme == None }

// SignsURL reports whether signatures cover the address that the provider sends to.
func (s *Scheme) SignsURL() bool {
	return len(s.headers) > 0 && holds(theURL, s.headers[0].before, s.headers[0].after)
}

// Headers returns the headers that may hold the signature, each with the others that
// its signature covers.
func (s *Scheme) Headers() []Covering {
	all := make([]Covering, len(s.headers))
	for i, h := range s.headers {
		all[i] = Covering{Name: h.name, Time: h.time}
		for _, p := range slices.Concat(h.before, h.after) {
			if p.field == aHeader {
				all[i].Covered = append(all[i].Covered, p.name)
			}
		}
	}
	return all
}

// Covering is a signature header and the headers that its signature covers.
type Covering struct {
	Name Name
	// Time is the header with the time. Zero: a part holds it, or there is none.
	Time Name
	// Covered are the other ones, in the order of the signed text.
	Covered []Name
}
