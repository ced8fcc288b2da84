package provider

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/signature"
)

// signatureSpec says how webhooks are signed.
type signatureSpec struct {
	scheme    *signature.Scheme
	tolerance time.Duration
}

// SignatureError says why a signature was not accepted. Reason is from a
// fixed list, fit for a metric: missing, malformed, doubled, mismatch, too_old,
// in_future.
type SignatureError = signature.Error

// WebhookRequest is what a signature may cover of a request.
type WebhookRequest = signature.Request

// Signature returns how the provider signs webhooks.
func (d *Definition) Signature() *signature.Scheme { return d.signature.scheme }

// VerifierOptions are the settings of a Verifier.
type VerifierOptions struct {
	// Secrets are tried in turn: several while one is being rotated. Public keys, where
	// the provider signs with a private one.
	Secrets []string
	// URL is the address that the provider sends to, as it has it. Required where the
	// signature covers it; it is never taken from the request.
	URL string
	// Tolerance is how far the timestamp may be from now, both ways. Defaults
	// to what the definition says, and that to 5 minutes; negative: any time is
	// accepted. It means nothing for schemes that sign no time.
	Tolerance time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Verifier checks webhook signatures of one source. Safe for concurrent use.
type Verifier struct {
	verifier  *signature.Verifier
	tolerance time.Duration
	now       func() time.Time
}

// NewVerifier returns a verifier for the definition's scheme. No secret, an
// empty one, one the scheme cannot read, or no URL where it is signed is an error.
func NewVerifier(d *Definition, o VerifierOptions) (*Verifier, error) {
	verifier, err := d.signature.scheme.Verifier(o.Secrets, o.URL)
	if err != nil {
		return nil, err
	}
	v := &Verifier{verifier: verifier, tolerance: o.Tolerance, now: o.Now}
	if v.tolerance == 0 {
		v.tolerance = d.signature.tolerance
	}
	if v.now == nil {
		v.now = time.Now
	}
	return v, nil
}

// Verify checks the signature of a raw body that was posted. Errors are
// *SignatureError.
func (v *Verifier) Verify(h http.Header, body []byte) error {
	return v.VerifyRequest(WebhookRequest{Header: h, Body: body})
}

// VerifyRequest is Verify for schemes that cover more of a request than its headers
// and its body.
func (v *Verifier) VerifyRequest(r WebhookRequest) error {
	return v.verifier.Verify(r, v.now(), v.tolerance)
}

// Explain verifies a request as VerifyRequest does and returns each step with the same
// error. The steps hold signatures that were expected: they are for the holder of
// the secrets alone.
func (v *Verifier) Explain(r WebhookRequest) ([]signature.Step, error) {
	return v.verifier.Explain(r, v.now(), v.tolerance)
}

// headerName is a header as the definition writes it, for people, and by its
// key in an http.Header: computing the key for each request would allocate.
type headerName struct{ text, key string }

func named(header string) headerName {
	return headerName{text: header, key: http.CanonicalHeaderKey(header)}
}

// sisters are the header of the event's id and the one of the time, beside a
// signature that covers both.
type sisters struct{ idHeader, timestampHeader signature.Name }

// id returns the id of the event. A comma is allowed in an id, so that it is taken
// for one that a proxy has joined with itself only if the timestamp was joined
// too, where none is allowed.
func (s sisters) id(h http.Header) (string, error) {
	return signature.OnlyOf(h, s.idHeader, s.timestampHeader)
}

// signedIDs are the headers of the event's id by the signature that covers each,
// in the order of preference, if id is one of those. Empty for schemes that sign
// no header.
func (spec signatureSpec) signedIDs(id string) []signedID {
	if spec.scheme == nil {
		return nil // it could not be read, which has been reported
	}
	headers := spec.scheme.Headers()
	// Which of the covered headers holds the id is the same beside every signature.
	at := -1
	for _, h := range headers {
		if i := slices.IndexFunc(h.Covered, func(n signature.Name) bool { return strings.EqualFold(n.Text, id) }); i >= 0 {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	all := make([]signedID, len(headers))
	for i, h := range headers {
		all[i] = signedID{signature: named(h.Name.Text), id: named(h.Covered[at].Text), family: sisters{idHeader: h.Covered[at], timestampHeader: h.Time}}
	}
	return all
}
