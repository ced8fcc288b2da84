// Package bearer finds whose a bearer token is.
package bearer

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
)

// Holders are the owners of tokens. The zero value has none.
type Holders struct {
	all []holder
}

// holder has the hash of a secret instead of the secret: hashes are of one length, so
// comparing them always takes the same time.
type holder struct {
	name, role string
	hash       [sha256.Size]byte
}

// Add adds a token's owner and the role that the token gives.
func (h *Holders) Add(name, secret, role string) {
	h.all = append(h.all, holder{name: name, role: role, hash: sha256.Sum256([]byte(secret))})
}

// None reports whether there are no tokens.
func (h *Holders) None() bool { return len(h.all) == 0 }

// Find returns the owner of the token in an Authorization header. It compares every
// token, so that the time does not depend on which one matches.
func (h *Holders) Find(authorization string) (name, role string, ok bool) {
	scheme, secret, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", "", false
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	for i := range h.all {
		if subtle.ConstantTimeCompare(hash[:], h.all[i].hash[:]) == 1 {
			name, role, ok = h.all[i].name, h.all[i].role, true
		}
	}
	return name, role, ok
}
