package provider

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider/signature"
)

// signing is the smallest good definition with another signature.
func signing(t testing.TB, text string) (*Definition, error) {
	t.Helper()
	const old = "signature: {scheme: timestamped-hmac, headers: [X-Sig]}"
	require.Contains(t, minimal, old)
	return Parse("small.yaml", []byte(strings.Replace(minimal, old, "signature: "+text, 1)))
}

// Every key of a signature is read into the field of its name.
func TestSignaturesAreRead(t *testing.T) {
	for text, want := range map[string]string{
		`{scheme: hmac, headers: [X-Hub-Signature-256], hash: sha256, encoding: hex, prefix: "sha256=", secret: text, signed: "{body}"}`:                                  `HMAC-SHA256 of {body}, in hex, in header X-Hub-Signature-256 after "sha256="; secrets are text; no time is signed, so a recorded request stays valid`,
		`{scheme: hmac, headers: [X-Sig], hash: sha512, encoding: base64, secret: hex, secret_prefix: sk_}`:                                                               `HMAC-SHA512 of {body}, in base64, in header X-Sig; secrets are hex after sk_; no time is signed, so a recorded request stays valid`,
		`{scheme: hmac, headers: [Paddle-Signature], parts: {separator: ";", time: ts, signature: h1}, signed: "{time}:{body}", tolerance: 5s}`:                           `HMAC-SHA256 of {time}:{body}, in hex, in header Paddle-Signature as h1=…, parts separated by ";"; secrets are text; the time is the part ts, in seconds since 1970`,
		`{scheme: hmac, headers: [X-HubSpot-Signature-v3], encoding: base64, time: {header: X-HubSpot-Request-Timestamp, unit: ms}, signed: "{method}{url}{body}{time}"}`: `HMAC-SHA256 of {method}{url}{body}{time}, in base64, in header X-HubSpot-Signature-v3; secrets are text; the time is header X-HubSpot-Request-Timestamp, in milliseconds since 1970`,
		`{scheme: hmac, headers: [a-signature], parts: {separator: " ", equals: ",", signature: v1}, time: {header: "-at"}, signed: "{header:-id}{time}{body}"}`:          `HMAC-SHA256 of {header:-id}{time}{body}, in hex, in header a-signature as v1,…, parts separated by " "; secrets are text; the time is header a-at, in seconds since 1970`,
		`{scheme: public-key, algorithm: ecdsa-p256, headers: [X-Sig], encoding: base64}`:                                                                                 `ecdsa-p256 with a public key of {body}, in base64, in header X-Sig; no time is signed, so a recorded request stays valid`,
		`{scheme: adyen-items}`: "HMAC-SHA256 in base64 of each item of the body, in its additionalData.hmacSignature; secrets are hex; no time",
		`{scheme: none}`:        "no signature: the secret is the last step of the path, /webhooks/SOURCE/SECRET",
	} {
		d, err := signing(t, text)
		require.NoError(t, err, text)
		require.Equal(t, want, d.Signature().String())
	}
}

func TestBadSignaturesNameLineAndKey(t *testing.T) {
	for name, c := range map[string]struct{ text, err string }{
		"unknown key":            {`{scheme: hmac, headers: [X-Sig], key: text}`, "small.yaml:2: signature.key: is unknown here: want one of scheme, headers, hash,"},
		"unknown key of parts":   {`{scheme: hmac, headers: [X-Sig], parts: {sep: ",", signature: v1}}`, "small.yaml:2: signature.parts.sep: is unknown here: want one of separator, equals, time, signature"},
		"unknown key of time":    {`{scheme: hmac, headers: [X-Sig], time: {head: X-T}}`, "small.yaml:2: signature.time.head: is unknown here: want one of header, unit"},
		"parts without a name":   {"\n  scheme: hmac\n  headers: [X-Sig]\n  parts:\n    separator: \",\"", "small.yaml:5: signature.parts.signature: is missing"},
		"a bad unit":             {"\n  scheme: hmac\n  headers: [X-Sig]\n  signed: \"{time}{body}\"\n  time:\n    header: X-T\n    unit: days", `small.yaml:8: signature.time.unit: is "days": want one of s, ms, rfc3339`},
		"a bad text":             {"\n  scheme: hmac\n  headers: [X-Sig]\n  signed: \"{bod}\"", "small.yaml:5: signature.signed: has {bod}: want {body}, {time}, {url}, {method} or {header:Name}"},
		"a bad header":           {`{scheme: hmac, headers: [X-Sig], time: {header: "X T"}, signed: "{time}{body}"}`, `small.yaml:2: signature.time.header: "X T" is no name of a header`},
		"tolerance of no time":   {`{scheme: hmac, headers: [X-Sig], tolerance: 5m}`, "small.yaml:2: signature.tolerance: is of no use: this scheme signs no time, so leave it out"},
		"tolerance of none":      {`{scheme: none, tolerance: 5m}`, "small.yaml:2: signature.tolerance: is of no use"},
		"headers of none":        {`{scheme: none, headers: [X-Sig]}`, "small.yaml:2: signature.headers: is of no use with none, which has no header: leave it out"},
		"no algorithm":           {`{scheme: public-key, headers: [X-Sig]}`, "small.yaml:2: signature.algorithm: is missing: want one of ed25519, rsa-sha256, ecdsa-p256"},
		"a key that is fixed":    {`{scheme: timestamped-hmac, headers: [X-Sig], encoding: base64}`, "small.yaml:2: signature.encoding: is fixed by the scheme timestamped-hmac: leave it out, or write scheme: hmac and every key"},
		"parts that are a text":  {`{scheme: hmac, headers: [X-Sig], parts: v1}`, `small.yaml:2: signature.parts: is "v1": want a mapping`},
		"a prefix that is empty": {`{scheme: hmac, headers: [X-Sig], prefix: ""}`, "small.yaml:2: signature.prefix: is empty: want text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := signing(t, c.text)
			require.ErrorContains(t, err, c.err)
		})
	}
}

// A verifier has what its scheme needs beyond the headers and the body.
func TestVerifiersTakeWhatTheirSchemeSigns(t *testing.T) {
	d, err := signing(t, `{scheme: hmac, headers: [X-Sig], encoding: base64, signed: "{method} {url} {body}"}`)
	require.NoError(t, err)
	_, err = NewVerifier(d, VerifierOptions{Secrets: []string{"s"}})
	require.ErrorContains(t, err, "no webhook_url")
	out, err := d.Signature().Sign("s", signature.Message{URL: "https://a.example/hook", Body: []byte("{}")})
	require.NoError(t, err)
	require.NoError(t, verify(t, d, VerifierOptions{Secrets: []string{"s"}, URL: "https://a.example/hook"}, out.Header, "{}"))
	requireReason(t, verify(t, d, VerifierOptions{Secrets: []string{"s"}, URL: "https://b.example/hook"}, out.Header, "{}"), "mismatch")

	v, err := NewVerifier(d, VerifierOptions{Secrets: []string{"s"}, URL: "https://a.example/hook"})
	require.NoError(t, err)
	steps, err := v.Explain(WebhookRequest{Method: http.MethodPut, Header: out.Header, Body: []byte("{}")})
	requireReason(t, err, "mismatch")
	require.Equal(t, signature.Step{What: "signed text", Text: "PUT https://a.example/hook {}"}, steps[1])

	d, err = signing(t, `{scheme: none}`)
	require.NoError(t, err)
	v, err = NewVerifier(d, VerifierOptions{Secrets: []string{"0123456789abcdef"}})
	require.NoError(t, err)
	require.NoError(t, v.VerifyRequest(WebhookRequest{Secret: "0123456789abcdef"}))
	requireReason(t, v.Verify(nil, nil), "missing")
}

// The id of an event may stand in any header that the signature covers. Of several
// families it is that of the signature that counts.
func TestTheIDIsOfTheSignatureThatCounts(t *testing.T) {
	text := strings.NewReplacer("signature: {scheme: timestamped-hmac, headers: [X-Sig]}",
		`signature: {scheme: hmac, headers: [a-signature, b-signature], time: {header: "-at"}, signed: "{time}{header:-event}{body}"}`,
		"id: id,", "id: header:a-event,").Replace(minimal)
	d, err := Parse("small.yaml", []byte(text))
	require.NoError(t, err)
	h := http.Header{"B-Signature": {"x"}, "A-Event": {"not signed"}, "B-Event": {"signed"}}
	e, err := d.Event("s", h, []byte(`{"type":"thing.done","context":{}}`), now)
	require.NoError(t, err)
	require.Equal(t, "signed", e.ID)
}
