package signature

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Request is what a signature may cover of a request.
type Request struct {
	// Method is the HTTP method. Defaults to POST.
	Method string
	Header http.Header
	// Secret is the last step of the path, where the scheme has the secret there.
	Secret string
	Body   []byte
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodPost
	}
	return r.Method
}

// mostSignatures is how many signatures one header may hold. A sender needs one per
// secret while secrets are rotated; each more costs a comparison or, with public
// keys, a verification.
const mostSignatures = 16

// keptText is the most memory that a claim keeps for the next request.
const keptText = 64 << 10

// claim is what the headers of a request say was signed. Its memory is used again.
type claim struct {
	header *header
	at     time.Time
	// stamp is the time as it is written and signed. "": none.
	stamp string
	// before and after is the signed text around the body.
	before, after []byte
	// found are the signatures, any of which may be the right one.
	found   []found
	decoded []byte // of found
	text    []byte // room for what is decoded or put together
}

// found is a signature: bytes of claim.decoded.
type found struct{ algorithm, from, to int }

func (c *claim) reset() {
	*c = claim{before: c.before[:0], after: c.after[:0], found: c.found[:0], decoded: c.decoded[:0], text: c.text[:0]}
	if cap(c.text) > keptText {
		c.text = nil
	}
}

// signed returns the whole text that was signed, in memory of the claim.
func (c *claim) signed(body []byte) []byte {
	c.text = append(append(append(c.text[:0], c.before...), body...), c.after...)
	return c.text
}

// read fills the claim from the headers of a request.
func (v *Verifier) read(c *claim, r Request) error {
	c.reset()
	if c.header = v.header(r.Header); c.header == nil {
		return refuse(Missing, "no header %s", v.headerTexts())
	}
	text, err := Only(r.Header, c.header.name)
	if err != nil {
		return err
	}
	text = undouble(text)
	if v.scheme.spec.Parts.Signature != "" {
		err = v.readParts(c, text)
	} else {
		err = v.readWhole(c, text)
	}
	if err != nil {
		return err
	}
	return v.readSigned(c, r)
}

// header returns the most preferred header that is there. It alone counts: a
// second header must not be a second chance.
func (v *Verifier) header(h http.Header) *header {
	for i := range v.scheme.headers {
		if header := &v.scheme.headers[i]; len(h[header.name.Key]) > 0 {
			return header
		}
	}
	return nil
}

func (v *Verifier) headerTexts() string {
	texts := make([]string, len(v.scheme.headers))
	for i, h := range v.scheme.headers {
		texts[i] = h.name.Text
	}
	return strings.Join(texts, " or ")
}

// readWhole reads a header that is one signature.
func (v *Verifier) readWhole(c *claim, text string) error {
	name, spec := c.header.name.Text, v.scheme.spec
	encoded, ok := strings.CutPrefix(text, spec.Prefix)
	if !ok {
		return refuse(Malformed, "%s does not begin with %q", name, spec.Prefix)
	}
	if !v.add(c, 0, encoded) {
		return refuse(Malformed, "%s is no signature in %s%s", name, spec.Encoding, v.scheme.lengthInWords())
	}
	return nil
}

// lengthInWords is how long a signature is: " of 32 bytes". "" if that varies.
func (s *Scheme) lengthInWords() string {
	if size := s.algorithms[0].size(); size > 0 {
		return " of " + strconv.Itoa(size) + " bytes"
	}
	return ""
}

// readParts reads a header such as "t=1700000000,v1=<hex>,v1=<hex>,v0=…". Parts of
// other names and signatures that cannot be read are passed over, for a provider
// adds new ones beside the old. Where the time stands among the parts, nothing else
// is: two times, or a part that is none, leave open what was signed.
func (v *Verifier) readParts(c *claim, text string) error {
	name, parts := c.header.name.Text, v.scheme.spec.Parts
	strict := parts.Time != ""
	for more := true; more; {
		var part string
		part, text, more = nextPart(text, parts.Separator)
		if part == "" && parts.Separator == " " {
			continue
		}
		label, value, ok := strings.Cut(part, parts.Equals)
		if strict && (!ok || v.scheme.spec.Encoding == "hex" && strings.Contains(value, parts.Equals)) {
			return refuse(Malformed, "%s: %.20q is not name%svalue", name, part, parts.Equals)
		}
		if strict && label == parts.Time {
			if c.stamp != "" {
				return refuse(Doubled, "%s: two timestamps: a proxy may have joined two headers", name)
			}
			if err := v.readTime(c, name, value); err != nil {
				return err
			}
			continue
		}
		for i := range v.scheme.algorithms {
			if v.scheme.algorithms[i].part == label {
				v.add(c, i, value)
			}
		}
		if len(c.found) > mostSignatures {
			return refuse(Malformed, "%s holds more than %d signatures", name, mostSignatures)
		}
	}
	if strict && c.stamp == "" {
		return refuse(Malformed, "%s: no timestamp", name)
	}
	return nil
}

// nextPart returns the first part of a text without the white space around it, the
// rest, and whether there is one.
func nextPart(text, separator string) (part, rest string, more bool) {
	if separator != " " {
		part, rest, more = strings.Cut(text, separator)
		return strings.TrimSpace(part), rest, more
	}
	if i := strings.IndexFunc(text, unicode.IsSpace); i >= 0 {
		return text[:i], strings.TrimLeftFunc(text[i:], unicode.IsSpace), true
	}
	return text, "", false
}

// add adds a signature if the text is one, and reports whether it is.
func (v *Verifier) add(c *claim, algorithm int, text string) bool {
	size := v.scheme.algorithms[algorithm].size()
	c.text = append(c.text[:0], text...)
	from := len(c.decoded)
	var err error
	if v.scheme.spec.Encoding == "hex" {
		if size > 0 && len(text) != hex.EncodedLen(size) {
			return false
		}
		c.decoded, err = hex.AppendDecode(c.decoded, c.text)
	} else {
		c.decoded, err = base64.StdEncoding.AppendDecode(c.decoded, c.text)
	}
	if n := len(c.decoded) - from; err != nil || n == 0 || size > 0 && n != size {
		c.decoded = c.decoded[:from]
		return false
	}
	c.found = append(c.found, found{algorithm: algorithm, from: from, to: len(c.decoded)})
	return true
}

// readSigned puts together the text around the body.
func (v *Verifier) readSigned(c *claim, r Request) (err error) {
	if c.before, err = v.put(c.before, c, c.header.before, r); err != nil {
		return err
	}
	if c.after, err = v.put(c.after, c, c.header.after, r); err != nil {
		return err
	}
	if c.header.time.Key != "" {
		return v.readTime(c, c.header.time.Text, c.stamp)
	}
	return nil
}

// put appends what pieces stand for in a request.
func (v *Verifier) put(to []byte, c *claim, pieces []piece, r Request) ([]byte, error) {
	for i := range pieces {
		switch p := &pieces[i]; p.field {
		case literal:
			to = append(to, p.text...)
		case theURL:
			to = append(to, v.url...)
		case theMethod:
			to = append(to, r.method()...)
		case aHeader:
			value, err := OnlyOf(r.Header, p.name, c.header.time)
			if err != nil {
				return to, err
			}
			to = append(to, value...)
		case theTime:
			if c.header.time.Key != "" && c.stamp == "" {
				stamp, err := Only(r.Header, c.header.time)
				if err != nil {
					return to, err
				}
				c.stamp = undouble(stamp)
			}
			to = append(to, c.stamp...)
		}
	}
	return to, nil
}

// lastSecond is the end of year 9999, the last that RFC 3339 can write; package
// time overflows somewhere beyond.
const lastSecond = 253402300799

// firstMilli is a time in 1973. A number of milliseconds below it is one of seconds.
const firstMilli = 100_000_000_000

// readTime reads the time that stands in a header: digits only, since ParseInt takes
// signs too.
func (v *Verifier) readTime(c *claim, header, text string) error {
	c.stamp = text
	unit := v.scheme.spec.Time.Unit
	if unit == "rfc3339" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return refuse(Malformed, "%s: %.40q is no time of RFC 3339, such as 2026-07-01T12:00:00Z", header, text)
		}
		c.at = at
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	good := err == nil && text[0] >= '0' && text[0] <= '9'
	if unit == "ms" {
		if !good || n > lastSecond*1000 {
			return refuse(Malformed, "%s: %.20q is no timestamp in milliseconds", header, text)
		}
		if n < firstMilli {
			return refuse(Malformed, "%s: %.20q is a timestamp in seconds: want milliseconds, or time.unit: s in the definition", header, text)
		}
		c.at = time.UnixMilli(n)
		return nil
	}
	if !good || n > lastSecond {
		return refuse(Malformed, "%s: %.20q is no timestamp in seconds", header, text)
	}
	c.at = time.Unix(n, 0)
	return nil
}
