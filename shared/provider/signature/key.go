package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// The algorithms of public keys.
const (
	ed25519Name = "ed25519"
	rsaName     = "rsa-sha256"
	ecdsaName   = "ecdsa-p256"
)

// What begins the ed25519 keys of Standard Webhooks: public and private ones.
const publicPrefix, privatePrefix = "whpk_", "whsk_"

var algorithmNames = []string{ed25519Name, rsaName, ecdsaName}

// shortestRSA is the least length of an RSA key in bits: NIST SP 800-131A allows
// none that is shorter.
const shortestRSA = 2048

// key is a secret, or a public key, that signatures are checked with.
type key struct {
	// algorithm is the index of its algorithm in the scheme.
	algorithm int
	// macs is of *mac; nil for a public key.
	macs   *sync.Pool
	public crypto.PublicKey
}

// mac is an HMAC with room for its sum.
type mac struct {
	hash.Hash
	sum [sha512.Size]byte
}

// size is how many bytes a signature has. 0: that varies.
func (a algorithm) size() int {
	switch {
	case a.public == ed25519Name:
		return ed25519.SignatureSize
	case a.public != "":
		return 0
	default:
		return a.hash.Size()
	}
}

// key reads a secret. Errors never hold it.
func (s *Scheme) key(secret string) (*key, error) {
	n := s.algorithmOf(secret)
	a := s.algorithms[n]
	if a.public != "" {
		public, err := readPublicKey(secret, a.public)
		return &key{algorithm: n, public: public}, err
	}
	text, err := s.secretKey(secret)
	if err != nil {
		return nil, err
	}
	// Pooled, because setting up an HMAC hashes two blocks, as much work as a whole
	// small event.
	return &key{algorithm: n, macs: &sync.Pool{New: func() any { return &mac{Hash: hmac.New(a.hash.New, text)} }}}, nil
}

// algorithmOf returns the index of the algorithm that a secret is for.
func (s *Scheme) algorithmOf(secret string) int {
	for i, a := range s.algorithms {
		if a.only != "" && strings.HasPrefix(secret, a.only) {
			return i
		}
	}
	return 0
}

// secretKey returns the key of an HMAC that a secret stands for.
func (s *Scheme) secretKey(secret string) ([]byte, error) {
	prefix, form := s.spec.SecretPrefix, s.spec.Secret
	if s.spec.Scheme == AdyenItems {
		form = "hex"
	}
	text := strings.TrimPrefix(secret, prefix)
	key, err := []byte(text), error(nil)
	switch form {
	case "text":
		// An environment variable made by echo ends in a line break. Nothing but
		// signatures that never match would tell of it.
		if strings.TrimSpace(secret) != secret {
			return nil, errors.New("begins or ends with white space, with which it is another key: take it off")
		}
	case "hex":
		key, err = hex.DecodeString(text)
	case "base64":
		key, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil || len(key) == 0 {
		if prefix != "" {
			return nil, fmt.Errorf("is not %s and %s", prefix, form)
		}
		return nil, fmt.Errorf("is not %s", form)
	}
	return key, nil
}

// publicForms says how a public key is written.
const publicForms = "want PEM (-----BEGIN PUBLIC KEY-----), the base64 between its lines, or for ed25519 also whpk_ and base64, or the 32 bytes in hex or base64"

// readPublicKey reads a public key of an algorithm.
func readPublicKey(text, algorithm string) (crypto.PublicKey, error) {
	bytes, block := keyBytes(text, publicPrefix)
	if block != "" && block != "PUBLIC KEY" {
		return nil, fmt.Errorf("is PEM of type %q: %s", block, publicForms)
	}
	if algorithm == ed25519Name && block == "" && len(bytes) == ed25519.PublicKeySize {
		return ed25519.PublicKey(bytes), nil
	}
	public, err := x509.ParsePKIXPublicKey(bytes)
	if err != nil {
		return nil, errors.New("is no public key: " + publicForms)
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
		if algorithm == ed25519Name {
			return k, nil
		}
	case *rsa.PublicKey:
		if k.Size()*8 < shortestRSA {
			return nil, fmt.Errorf("is an RSA key of %d bits: want at least %d", k.Size()*8, shortestRSA)
		}
		if algorithm == rsaName {
			return k, nil
		}
	case *ecdsa.PublicKey:
		if algorithm == ecdsaName && k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, fmt.Errorf("is a public key, but not of %s, as the definition says", algorithm)
}

// keyBytes returns what a key's text stands for: the content of PEM with its type,
// or what base64 or hex decode to. Nil if it is none of these.
func keyBytes(text, prefix string) (bytes []byte, block string) {
	text = strings.TrimSpace(text)
	if b, _ := pem.Decode([]byte(text)); b != nil {
		return b.Bytes, b.Type
	}
	if bytes, err := hex.DecodeString(text); err == nil {
		return bytes, ""
	}
	bytes, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefix))
	if err != nil {
		return nil, ""
	}
	return bytes, ""
}

// matches reports whether one of the signatures that were found is of the body by
// this key.
func (k *key) matches(c *claim, body []byte) bool {
	if k.macs != nil {
		return k.matchesMAC(c, body)
	}
	return k.matchesPublic(c, body)
}

func (k *key) matchesMAC(c *claim, body []byte) bool {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	want := m.of(c, body)
	good := false
	for _, f := range c.found {
		if f.algorithm == k.algorithm {
			// No early return: the time this takes reveals nothing about the secrets.
			good = hmac.Equal(c.decoded[f.from:f.to], want) || good
		}
	}
	return good
}

// of returns the sum of the signed text. It is valid until the next use of m.
func (m *mac) of(c *claim, body []byte) []byte {
	m.Reset()
	m.Write(c.before)
	m.Write(body)
	m.Write(c.after)
	return m.Sum(m.sum[:0])
}

func (k *key) matchesPublic(c *claim, body []byte) bool {
	for _, f := range c.found {
		if f.algorithm == k.algorithm && verifyPublic(k.public, c.signed(body), c.decoded[f.from:f.to]) {
			return true
		}
	}
	return false
}

func verifyPublic(public crypto.PublicKey, text, sign []byte) bool {
	switch public := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, text, sign)
	case *rsa.PublicKey:
		sum := sha256.Sum256(text)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], sign) == nil
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(text)
		return ecdsa.VerifyASN1(public, sum[:], sign)
	}
	return false
}
