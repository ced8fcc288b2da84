package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Message is a webhook that is to be signed.
type Message struct {
	// Method is the HTTP method. Defaults to POST.
	Method string
	// URL is the address it will be sent to, as the receiver has it configured. Needed
	// where the signature covers it.
	URL string
	// Header has the headers that the signature covers; Scheme.Headers names them.
	Header http.Header
	Body   []byte
	// At is the time of the signature. It counts in the unit of the scheme.
	At time.Time
}

// Signed is what a sender adds to a message.
type Signed struct {
	// Header has the signature and the time, for the first header of the scheme.
	Header http.Header
	// Body is the body to send. It differs from the message's only where the signature
	// stands in it.
	Body []byte
	// Path follows the address: "/SECRET" where the secret stands there, else "".
	Path string
}

// Sign signs a message as the provider does. secret is one that a Verifier accepts
// or, where public keys are configured, the private key: PEM (PKCS 8), or for
// ed25519 whsk_ and base64.
func (s *Scheme) Sign(secret string, m Message) (Signed, error) {
	out := Signed{Header: http.Header{}, Body: m.Body}
	switch {
	case secret == "":
		return out, errors.New("no secret to sign with")
	case s.InPath():
		out.Path = "/" + secret
		return out, nil
	case s.spec.Scheme == AdyenItems:
		body, err := s.signItems(secret, m.Body)
		out.Body = body
		return out, err
	case s.SignsURL() && m.URL == "":
		return out, errors.New("no address: the signature covers the address that the webhook is sent to")
	}
	h := &s.headers[0]
	c := &claim{header: h, stamp: s.stamp(m.At)}
	if h.time.Key != "" {
		out.Header.Set(h.time.Text, c.stamp)
	}
	if err := s.cover(c, m); err != nil {
		return out, err
	}
	part, sign, err := s.sign(secret, c, m.Body)
	if err != nil {
		return out, err
	}
	out.Header.Set(h.name.Text, s.write(part, sign, c.stamp))
	return out, nil
}

// stamp writes a time as the scheme does. "" if it has none.
func (s *Scheme) stamp(at time.Time) string {
	switch {
	case !s.Timed():
		return ""
	case s.spec.Time.Unit == "ms":
		return strconv.FormatInt(at.UnixMilli(), 10)
	case s.spec.Time.Unit == "rfc3339":
		return at.UTC().Format(time.RFC3339)
	default:
		return strconv.FormatInt(at.Unix(), 10)
	}
}

// cover puts together the text around the body.
func (s *Scheme) cover(c *claim, m Message) error {
	v := &Verifier{scheme: s, url: m.URL}
	r := Request{Method: m.Method, Header: m.Header}
	var err error
	if c.before, err = v.put(nil, c, c.header.before, r); err == nil {
		c.after, err = v.put(nil, c, c.header.after, r)
	}
	if err != nil {
		return fmt.Errorf("the signature covers a header of the message: %w", err)
	}
	return nil
}

// sign signs the text of a claim and returns the name of its part.
func (s *Scheme) sign(secret string, c *claim, body []byte) (part string, sign []byte, err error) {
	for _, a := range s.algorithms {
		if a.public != "" && (len(s.algorithms) == 1 || strings.HasPrefix(secret, privatePrefix)) {
			sign, err := signPrivate(secret, a.public, c.signed(body))
			return a.part, sign, err
		}
	}
	k, err := s.key(secret)
	if err != nil {
		return "", nil, fmt.Errorf("the secret %w", err)
	}
	if k.macs == nil {
		return "", nil, errors.New("the secret is a public key: signing needs the private one")
	}
	return s.algorithms[0].part, k.macs.Get().(*mac).of(c, body), nil
}

// write writes the signature header.
func (s *Scheme) write(part string, sign []byte, stamp string) string {
	text, p := s.encode(sign), s.spec.Parts
	if p.Signature == "" {
		return s.spec.Prefix + text
	}
	text = part + p.Equals + text
	if p.Time != "" {
		text = p.Time + p.Equals + stamp + p.Separator + text
	}
	return text
}

// signPrivate signs a text with a private key.
func signPrivate(secret, algorithm string, text []byte) ([]byte, error) {
	private, err := readPrivateKey(secret, algorithm)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	switch k := private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(k, text), nil
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		return ecdsa.SignASN1(rand.Reader, k, sum[:])
	}
	return nil, fmt.Errorf("the private key is not of %s", algorithm)
}

// readPrivateKey reads a private key of an algorithm.
func readPrivateKey(text, algorithm string) (crypto.PrivateKey, error) {
	raw, block := keyBytes(text, privatePrefix)
	if algorithm == ed25519Name && block == "" {
		switch len(raw) {
		case ed25519.SeedSize:
			return ed25519.NewKeyFromSeed(raw), nil
		case ed25519.PrivateKeySize:
			return ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize]), nil
		}
	}
	private, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return nil, errors.New("the secret is no private key: want PEM of PKCS 8 (-----BEGIN PRIVATE KEY-----), or for ed25519 whsk_ and base64")
	}
	_, isEd := private.(ed25519.PrivateKey)
	_, isRSA := private.(*rsa.PrivateKey)
	_, isEC := private.(*ecdsa.PrivateKey)
	if isEd != (algorithm == ed25519Name) || isRSA != (algorithm == rsaName) || isEC != (algorithm == ecdsaName) {
		return nil, fmt.Errorf("the private key is not of %s, as the definition says", algorithm)
	}
	return private, nil
}

// signItems returns an Adyen body with a signature in each item. Members keep their
// values but not their order.
func (s *Scheme) signItems(secret string, body []byte) ([]byte, error) {
	k, err := s.key(secret)
	if err != nil {
		return nil, fmt.Errorf("the secret %w", err)
	}
	items, err := readItems(body)
	if err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	m := k.macs.Get().(*mac)
	signs := make([]string, len(items))
	for i, item := range items {
		text, err := adyenText(item)
		if err != nil {
			return nil, fmt.Errorf("cannot sign: notificationItems.%d: %w", i, err)
		}
		signs[i] = base64.StdEncoding.EncodeToString(m.of(&claim{}, text))
	}
	return insertSigns(body, signs)
}

// insertSigns writes signatures into the items of an Adyen body.
func insertSigns(body []byte, signs []string) ([]byte, error) {
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	list, _ := doc[adyenItems[0]].([]any)
	if len(list) != len(signs) {
		return nil, errors.New("cannot sign: notificationItems cannot be read")
	}
	for i, e := range list {
		round, _ := e.(map[string]any)
		item, ok := round[adyenItem[0]].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("cannot sign: notificationItems.%d has no NotificationRequestItem", i)
		}
		more, ok := item[adyenSignature[0]].(map[string]any)
		if !ok {
			more = map[string]any{}
			item[adyenSignature[0]] = more
		}
		more[adyenSignature[1]] = signs[i]
	}
	return json.Marshal(doc)
}
