package signature

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProblemsOfASpec(t *testing.T) {
	hook := func(change func(*Spec)) Spec {
		s := Spec{Scheme: HMAC, Headers: []string{"X-Sig"}}
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		spec      Spec
		key, text string
	}{
		"nothing":                      {Spec{Headers: []string{"X-Sig"}}, "scheme", "is missing"},
		"another scheme":               {Spec{Scheme: "magic"}, "scheme", `is "magic": want one of standard-webhooks, timestamped-hmac, hmac, public-key, adyen-items, none`},
		"no header":                    {Spec{Scheme: HMAC}, "headers", "is missing: name at least one header"},
		"another hash":                 {hook(func(s *Spec) { s.Hash = "md5" }), "hash", `is "md5": want one of sha256, sha1, sha512`},
		"another encoding":             {hook(func(s *Spec) { s.Encoding = "base32" }), "encoding", `is "base32": want one of hex, base64`},
		"another secret":               {hook(func(s *Spec) { s.Secret = "pem" }), "secret", `is "pem": want one of text, hex, base64`},
		"another unit":                 {hook(func(s *Spec) { s.Time = Time{"X-T", "us"}; s.Signed = "{time}{body}" }), "time.unit", `is "us": want one of s, ms, rfc3339`},
		"an algorithm of hmac":         {hook(func(s *Spec) { s.Algorithm = "ed25519" }), "algorithm", "is of public keys: leave it out with scheme: hmac"},
		"no algorithm":                 {Spec{Scheme: PublicKey, Headers: []string{"X-Sig"}}, "algorithm", "is missing: want one of ed25519, rsa-sha256, ecdsa-p256"},
		"another algorithm":            {Spec{Scheme: PublicKey, Headers: []string{"X-Sig"}, Algorithm: "dsa"}, "algorithm", `is "dsa": want one of ed25519, rsa-sha256, ecdsa-p256`},
		"a hash of public keys":        {Spec{Scheme: PublicKey, Headers: []string{"X-Sig"}, Algorithm: "ed25519", Hash: "sha256"}, "hash", "is of secrets"},
		"a setting that is fixed":      {Spec{Scheme: StandardWebhooks, Headers: []string{"webhook-signature"}, Encoding: "hex"}, "encoding", "is fixed by the scheme standard-webhooks: leave it out, or write scheme: hmac and every key"},
		"a header that has no sisters": {Spec{Scheme: StandardWebhooks, Headers: []string{"X-Sig"}}, "headers", `holds "X-Sig": names of this scheme end in -signature`},
		"a header of items":            {Spec{Scheme: AdyenItems, Headers: []string{"X-Sig"}}, "headers", "is of no use with adyen-items"},
		"a header of none":             {Spec{Scheme: None, Headers: []string{"X-Sig"}}, "headers", "is of no use with none"},
		"a hash of none":               {Spec{Scheme: None, Hash: "sha1"}, "hash", "is fixed by the scheme none"},
		"parts without separator":      {hook(func(s *Spec) { s.Parts = Parts{Signature: "v1"} }), "parts.separator", "is missing"},
		"parts without signature":      {hook(func(s *Spec) { s.Parts = Parts{Separator: ","} }), "parts.signature", "is missing"},
		"one name for two parts":       {hook(func(s *Spec) { s.Parts = Parts{",", "=", "v1", "v1"}; s.Signed = "{time}{body}" }), "parts.time", `is "v1", which is the name of the signature too`},
		"one sign for two":             {hook(func(s *Spec) { s.Parts = Parts{Separator: "=", Signature: "v1"} }), "parts.equals", `is "=", which separates the parts`},
		"a separator of letters":       {hook(func(s *Spec) { s.Parts = Parts{Separator: "a", Signature: "v1"} }), "parts.separator", `is "a": want no letters and digits`},
		"a separator of base64":        {hook(func(s *Spec) { s.Encoding = "base64"; s.Parts = Parts{Separator: "/", Signature: "v1"} }), "parts.separator", "which a signature in base64 may hold itself"},
		"a separator of times": {hook(func(s *Spec) {
			s.Parts = Parts{",", ":", "t", "v1"}
			s.Time.Unit = "rfc3339"
			s.Signed = "{time}{body}"
		}), "parts.separator", "a time of RFC 3339 may hold"},
		"parts and a prefix":             {hook(func(s *Spec) { s.Prefix = "sha256="; s.Parts = Parts{Separator: ",", Signature: "v1"} }), "prefix", "is of no use with parts"},
		"two places of the time":         {hook(func(s *Spec) { s.Parts = Parts{",", "=", "t", "v1"}; s.Time.Header = "X-T"; s.Signed = "{time}{body}" }), "time.header", "and parts.time both name the place of the time"},
		"a unit of no time":              {hook(func(s *Spec) { s.Time.Unit = "ms" }), "time.unit", "is of no use without time.header or parts.time"},
		"a time that is nowhere":         {hook(func(s *Spec) { s.Signed = "{time}{body}" }), "signed", "holds {time}: say where it stands"},
		"a time that is not signed":      {hook(func(s *Spec) { s.Time.Header = "X-T" }), "signed", `is "{body}", without {time}: anybody could change a time that is not signed`},
		"a text without the body":        {hook(func(s *Spec) { s.Signed = "{url}" }), "signed", "without {body} anybody could change the body"},
		"the body twice":                 {hook(func(s *Spec) { s.Signed = "{body}{body}" }), "signed", "{body} occurs twice"},
		"another placeholder":            {hook(func(s *Spec) { s.Signed = "{body}{id}" }), "signed", "has {id}: want {body}, {time}, {url}, {method} or {header:Name}"},
		"a brace that is not closed":     {hook(func(s *Spec) { s.Signed = "{body" }), "signed", "has a { without a }"},
		"a brace that is not opened":     {hook(func(s *Spec) { s.Signed = "{body}}" }), "signed", "has a } without a {"},
		"a header that is none":          {hook(func(s *Spec) { s.Signed = "{header:X Y}{body}" }), "signed", `"X Y" is no name of a header`},
		"a header without a name":        {hook(func(s *Spec) { s.Signed = "{header:}{body}" }), "signed", `"" is no name of a header`},
		"a sister without family":        {hook(func(s *Spec) { s.Signed = "{header:-id}{body}" }), "headers", `holds "X-Sig", which does not end in -signature: what header does "-id" stand for?`},
		"a sister of the time":           {hook(func(s *Spec) { s.Time.Header = "-time"; s.Signed = "{time}{body}" }), "headers", `what header does "-time" stand for?`},
		"a text of too many placeholder": {hook(func(s *Spec) { s.Signed = "{body}" + repeat("{header:A}", mostPieces) }), "signed", "has more than 32 parts"},
	} {
		t.Run(name, func(t *testing.T) {
			s, problems := New(c.spec)
			require.Nil(t, s)
			require.Len(t, problems, 1, "%v", problems)
			require.Equal(t, c.key, problems[0].Key)
			require.Contains(t, problems[0].Text, c.text)
		})
	}
}

func repeat(text string, n int) (all string) {
	for range n {
		all += text
	}
	return all
}

func TestSchemesInWords(t *testing.T) {
	for _, c := range []struct {
		spec  Spec
		words string
	}{
		{stripe, `HMAC-SHA256 of {time}.{body}, in hex, in header Stripe-Signature as v1=…, parts separated by ","; secrets are text; the time is the part t, in seconds since 1970`},
		{standard, `HMAC-SHA256 of {header:-id}.{time}.{body}, in base64, in header webhook-signature or svix-signature as v1,…, parts separated by " "; secrets are base64 after whsec_, or whpk_ and an ed25519 key, which checks v1a; the time is header webhook-timestamp, in seconds since 1970`},
		{github, `HMAC-SHA256 of {body}, in hex, in header X-Hub-Signature-256 after "sha256="; secrets are text; no time is signed, so a recorded request stays valid`},
		{wise, `rsa-sha256 with a public key of {body}, in base64, in header X-Signature-SHA256; no time is signed, so a recorded request stays valid`},
		{adyen, "HMAC-SHA256 in base64 of each item of the body, in its additionalData.hmacSignature; secrets are hex; no time"},
		{inPath, "no signature: the secret is the last step of the path, /webhooks/SOURCE/SECRET"},
	} {
		require.Equal(t, c.words, schemeOf(t, c.spec).String())
	}
}

func TestWhatAScheme(t *testing.T) {
	s := schemeOf(t, standard)
	require.Equal(t, StandardWebhooks, s.Name())
	require.True(t, s.Timed())
	require.False(t, s.SignsURL())
	require.False(t, s.InPath())
	require.Equal(t, []Covering{
		{Name: Named("webhook-signature"), Time: Named("webhook-timestamp"), Covered: []Name{Named("webhook-id")}},
		{Name: Named("svix-signature"), Time: Named("svix-timestamp"), Covered: []Name{Named("svix-id")}},
	}, s.Headers())
	require.True(t, schemeOf(t, square).SignsURL())
	require.False(t, schemeOf(t, square).Timed())
	require.True(t, schemeOf(t, inPath).InPath())
	require.Empty(t, schemeOf(t, adyen).Headers())
}

// The two names are settings of the template, and nothing else.
func TestNamedSchemesAreSettings(t *testing.T) {
	for name, set := range settings {
		named := Spec{Scheme: name, Headers: []string{"a-signature"}}
		written := set
		written.Scheme, written.Headers = HMAC, named.Headers
		a, b := schemeOf(t, named), schemeOf(t, written)
		require.Equal(t, b.headers, a.headers)
		require.Equal(t, b.algorithms[0], a.algorithms[0])
	}
}
