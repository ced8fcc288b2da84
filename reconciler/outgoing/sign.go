package outgoing

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/signature"
)

const (
	idHeader        = "Webhook-Id"
	signatureHeader = "Webhook-Signature"
)

// signer signs with every secret.
type signer struct {
	scheme  *signature.Scheme
	secrets []string
}

func newSigner(secrets []string) (*signer, error) {
	scheme, problems := signature.New(signature.Spec{Scheme: signature.StandardWebhooks, Headers: []string{"webhook-signature"}})
	if len(problems) > 0 {
		return nil, fmt.Errorf("the scheme of Standard Webhooks: %v", problems)
	}
	if len(secrets) == 0 {
		return nil, errors.New("no secret to sign with")
	}
	s := &signer{scheme, secrets}
	return s, s.sign(http.Header{}, Message{ID: "x"}, time.Unix(0, 0)) // whether each can
}

// sign adds the id, the time and the signatures of a message to a header.
func (s *signer) sign(to http.Header, m Message, at time.Time) error {
	to.Set(idHeader, headerID(m.ID))
	var signs []string
	for _, secret := range s.secrets {
		signed, err := s.scheme.Sign(secret, signature.Message{Header: to, Body: m.Body, At: at})
		if err != nil {
			return err
		}
		signs = append(signs, signed.Header.Get(signatureHeader))
		for name := range signed.Header {
			to.Set(name, signed.Header.Get(name))
		}
	}
	to.Set(signatureHeader, strings.Join(signs, " "))
	return nil
}

// headerID writes an id as the header has it. What is not visible ASCII cannot stand in a
// header, and a full stop separates the parts of the signed text: one within the id would
// let a signed text be read in two ways. So these, and the percent sign, are escaped as in
// an address.
func headerID(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '.' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(id[i])
	}
	return b.String()
}
