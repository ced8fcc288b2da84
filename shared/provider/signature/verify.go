package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Verifier checks the signatures of one source. Safe for concurrent use.
type Verifier struct {
	scheme *Scheme
	keys   []*key
	paths  [][sha256.Size]byte // hashes of the secrets of a path
	url    string
	claims sync.Pool // of *claim
}

// Verifier returns a verifier with secrets, or public keys, of which any may have
// signed: several while one is being rotated. url is the address that the provider
// sends to, which some schemes sign. No secret, an empty one, one the scheme cannot
// read, and no address where it is signed are errors, none of which holds a secret.
func (s *Scheme) Verifier(secrets []string, url string) (*Verifier, error) {
	v := &Verifier{scheme: s, url: url, claims: sync.Pool{New: func() any { return &claim{} }}}
	if len(secrets) == 0 {
		return nil, errors.New("no webhook secret: give the one the provider signs with")
	}
	if s.SignsURL() && url == "" {
		return nil, errors.New("no webhook_url: the signature covers the address that the provider sends to, so give it as the provider has it")
	}
	for i, secret := range secrets {
		if secret == "" {
			return nil, fmt.Errorf("webhook secret %d is empty", i+1)
		}
		if err := v.take(secret); err != nil {
			return nil, fmt.Errorf("webhook secret %d: %w", i+1, err)
		}
	}
	return v, nil
}

// take adds a secret.
func (v *Verifier) take(secret string) error {
	if v.scheme.InPath() {
		if i := strings.IndexFunc(secret, notPlain); i >= 0 {
			return errors.New("holds a character that would be escaped in an address: use letters, digits, -, ., _ and ~ only")
		}
		v.paths = append(v.paths, sha256.Sum256([]byte(secret)))
		return nil
	}
	k, err := v.scheme.key(secret)
	if err != nil {
		return err
	}
	v.keys = append(v.keys, k)
	return nil
}

// notPlain reports whether a character must be escaped in a path (RFC 3986, section
// 2.3).
func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
}

// Verify checks the signature of a request. now is the time to compare a signed time
// with; tolerance is how far they may differ, both ways, and any time is accepted if
// it is negative. Errors are *Error.
func (v *Verifier) Verify(r Request, now time.Time, tolerance time.Duration) error {
	switch v.scheme.spec.Scheme {
	case None:
		return v.verifyPath(r.Secret)
	case AdyenItems:
		return v.verifyItems(r.Body)
	}
	c := v.claims.Get().(*claim)
	defer v.claims.Put(c)
	if err := v.read(c, r); err != nil {
		return err
	}
	// The signature first: then "too old" is said only of what the provider did send
	// once, a replay or a clock that is wrong.
	good := false
	for _, k := range v.keys {
		good = k.matches(c, r.Body) || good
	}
	if !good {
		return refuse(Mismatch, "no signature in %s is of this body by a known secret", c.header.name.Text)
	}
	return v.onTime(c, now, tolerance)
}

func (v *Verifier) onTime(c *claim, now time.Time, tolerance time.Duration) error {
	if tolerance < 0 || c.stamp == "" {
		return nil
	}
	switch age := now.Sub(c.at); {
	case age > tolerance:
		return refuse(TooOld, "signed more than %s ago", tolerance)
	case age < -tolerance:
		return refuse(InFuture, "signed more than %s ahead of our clock", tolerance)
	}
	return nil
}

// verifyPath checks the secret of a path. Hashes are compared, so that the time it
// takes tells nothing of the length either.
func (v *Verifier) verifyPath(secret string) error {
	if secret == "" {
		return refuse(Missing, "no secret in the path: want /webhooks/SOURCE/SECRET")
	}
	have := sha256.Sum256([]byte(secret))
	good := 0
	for i := range v.paths {
		good |= subtle.ConstantTimeCompare(have[:], v.paths[i][:])
	}
	if good == 0 {
		return refuse(Mismatch, "the secret in the path is none of this source")
	}
	return nil
}
