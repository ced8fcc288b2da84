package signature

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Step is one step of a verification, for people.
type Step struct {
	// What names the step: "header", "time", "signed text", "signature", "secret 1".
	What string
	// Text is what was found.
	Text string
}

// mostShown is how much of a signed text a Step shows.
const mostShown = 400

// Explain verifies a request as Verify does and returns each step and the same error.
// The steps hold the signatures that were expected, so they are for the holder of the
// secrets alone.
func (v *Verifier) Explain(r Request, now time.Time, tolerance time.Duration) ([]Step, error) {
	err := v.Verify(r, now, tolerance)
	switch v.scheme.spec.Scheme {
	case None:
		return []Step{{"secret", "the last step of the path"}}, err
	case AdyenItems:
		return v.explainItems(r.Body), err
	}
	c := &claim{}
	unread := v.read(c, r)
	var steps []Step
	add := func(what, format string, args ...any) {
		steps = append(steps, Step{What: what, Text: fmt.Sprintf(format, args...)})
	}
	if c.header == nil {
		return steps, err
	}
	add("header", "%s: %s", c.header.name.Text, strings.Join(r.Header[c.header.name.Key], ", "))
	if unread != nil {
		return steps, err
	}
	if c.stamp != "" {
		add("time", "%s, which is %s", c.stamp, c.at.UTC().Format(time.RFC3339))
	}
	add("signed text", "%s", shown(c.signed(r.Body)))
	for _, f := range c.found {
		add("signature", "%s", v.scheme.encode(c.decoded[f.from:f.to]))
	}
	for i, k := range v.keys {
		add(fmt.Sprintf("secret %d", i+1), "%s", v.outcome(k, c, r.Body))
	}
	return steps, err
}

// outcome says whether a key signed the text of a claim.
func (v *Verifier) outcome(k *key, c *claim, body []byte) string {
	switch {
	case k.matches(c, body):
		return "matches"
	case k.macs == nil:
		return "does not match: the public key is of another private key, or the signed text differs"
	default:
		return "does not match: it makes " + v.scheme.encode(k.macs.Get().(*mac).of(c, body))
	}
}

func (v *Verifier) explainItems(body []byte) []Step {
	items, err := readItems(body)
	if err != nil {
		return nil
	}
	var steps []Step
	for i, item := range items {
		text, err := adyenText(item)
		if err != nil {
			continue
		}
		steps = append(steps, Step{fmt.Sprintf("signed text of item %d", i), shown(text)})
		for n, k := range v.keys {
			made := base64.StdEncoding.EncodeToString(k.macs.Get().(*mac).of(&claim{}, text))
			steps = append(steps, Step{fmt.Sprintf("secret %d", n+1), "makes " + made})
		}
	}
	return steps
}

// encode writes a signature as the scheme does.
func (s *Scheme) encode(sign []byte) string {
	if s.spec.Encoding == "base64" {
		return base64.StdEncoding.EncodeToString(sign)
	}
	return hex.EncodeToString(sign)
}

func shown(text []byte) string {
	if len(text) > mostShown {
		return fmt.Sprintf("%s… (%d bytes)", text[:mostShown], len(text))
	}
	return string(text)
}

// String says in words how the provider signs.
func (s *Scheme) String() string {
	spec := s.spec
	switch spec.Scheme {
	case None:
		return "no signature: the secret is the last step of the path, /webhooks/SOURCE/SECRET"
	case AdyenItems:
		return "HMAC-SHA256 in base64 of each item of the body, in its additionalData.hmacSignature; secrets are hex; no time"
	}
	var b strings.Builder
	if spec.Scheme == PublicKey {
		fmt.Fprintf(&b, "%s with a public key", spec.Algorithm)
	} else {
		fmt.Fprintf(&b, "HMAC-%s", strings.ToUpper(spec.Hash))
	}
	fmt.Fprintf(&b, " of %s, in %s, in header %s", spec.Signed, spec.Encoding, strings.Join(spec.Headers, " or "))
	if p := spec.Parts; p.Signature != "" {
		fmt.Fprintf(&b, " as %s%s…, parts separated by %q", p.Signature, p.Equals, p.Separator)
	} else if spec.Prefix != "" {
		fmt.Fprintf(&b, " after %q", spec.Prefix)
	}
	if spec.Scheme != PublicKey {
		fmt.Fprintf(&b, "; secrets are %s", spec.Secret)
		if spec.SecretPrefix != "" {
			fmt.Fprintf(&b, " after %s", spec.SecretPrefix)
		}
	}
	if spec.Scheme == StandardWebhooks {
		fmt.Fprintf(&b, ", or %s and an ed25519 key, which checks v1a", publicPrefix)
	}
	switch {
	case !s.Timed():
		b.WriteString("; no time is signed, so a recorded request stays valid")
	case spec.Time.Header != "":
		fmt.Fprintf(&b, "; the time is header %s, in %s", s.headers[0].time.Text, unitWords[spec.Time.Unit])
	default:
		fmt.Fprintf(&b, "; the time is the part %s, in %s", spec.Parts.Time, unitWords[spec.Time.Unit])
	}
	return b.String()
}

var unitWords = map[string]string{"s": "seconds since 1970", "ms": "milliseconds since 1970", "rfc3339": "RFC 3339"}
