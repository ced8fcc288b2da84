package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

const address = "https://example.com/webhooks/shop"

// secretOf is a secret that a Spec can read.
func secretOf(s Spec) string {
	switch {
	case s.Scheme == StandardWebhooks:
		return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	case s.Secret == "hex":
		return adyenKey
	}
	return "a-secret-of-the-source"
}

// signedRequest is a request that a provider signed at noon.
func signedRequest(t testing.TB, spec Spec, secret, body string) Request {
	t.Helper()
	m := Message{URL: address, Body: []byte(body), At: noon}
	if spec.Scheme == StandardWebhooks {
		m.Header = headers("webhook-id", "msg_1")
	}
	out, err := schemeOf(t, spec).Sign(secret, m)
	require.NoError(t, err)
	for name := range m.Header {
		out.Header[name] = m.Header[name]
	}
	return Request{Header: out.Header, Secret: strings.TrimPrefix(out.Path, "/"), Body: out.Body}
}

// What is signed is verified, by the right one of several secrets, and by no other.
func TestSignedIsVerified(t *testing.T) {
	for name, spec := range templates {
		t.Run(name, func(t *testing.T) {
			secret := secretOf(spec)
			r := signedRequest(t, spec, secret, `{"a":1}`)
			other := map[bool]string{true: "whsec_c2VjcmV0", false: strings.Repeat("0", 64)}[spec.Scheme == StandardWebhooks]
			require.NoError(t, verifierOf(t, spec, address, other, secret).Verify(r, noon, time.Minute))
			requireReason(t, verifierOf(t, spec, address, other).Verify(r, noon, time.Minute), Mismatch)
			r.Body = []byte(`{"a":2}`)
			requireReason(t, verifierOf(t, spec, address, secret).Verify(r, noon, time.Minute), Mismatch)
		})
	}
}

// Copies of every header change nothing; the copies that differ are refused.
func TestCopiedHeaders(t *testing.T) {
	for name, spec := range templates {
		v := verifierOf(t, spec, address, secretOf(spec))
		good := signedRequest(t, spec, secretOf(spec), `{"a":1}`)
		for _, joined := range []string{"twice", ", ", ","} {
			t.Run(name+" "+joined, func(t *testing.T) {
				r := good
				r.Header = http.Header{}
				for key, values := range good.Header {
					if joined == "twice" {
						r.Header[key] = []string{values[0], values[0]}
					} else {
						r.Header[key] = []string{values[0] + joined + values[0] + joined + values[0]}
					}
				}
				require.NoError(t, v.Verify(r, noon, time.Minute))
			})
		}
		for key := range good.Header {
			t.Run(name+" differing "+key, func(t *testing.T) {
				r := good
				r.Header = good.Header.Clone()
				r.Header.Add(key, "another")
				requireReason(t, v.Verify(r, noon, time.Minute), Doubled)
				r.Header[key] = []string{""}
				requireReason(t, v.Verify(r, noon, time.Minute), Missing)
				r.Header.Del(key)
				requireReason(t, v.Verify(r, noon, time.Minute), Missing)
			})
		}
	}
}

func TestBadSignatures(t *testing.T) {
	const body = `{"a":1}`
	signOf := func(spec Spec) string {
		return signedRequest(t, spec, secretOf(spec), body).Header.Get(spec.Headers[0])
	}
	h1 := strings.TrimPrefix(signOf(paddle), fmt.Sprintf("ts=%d;h1=", noon.Unix()))
	at := fmt.Sprint(noon.Unix())
	raw, err := hex.DecodeString(strings.TrimPrefix(signOf(github), "sha256="))
	require.NoError(t, err)
	zeros := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		spec          Spec
		value, reason string
	}{
		"prefix missing":          {github, strings.TrimPrefix(signOf(github), "sha256="), Malformed},
		"prefix in capitals":      {github, strings.ToUpper(signOf(github)), Malformed},
		"another prefix":          {github, "sha1=" + zeros[:40], Malformed},
		"prefix alone":            {github, "sha256=", Malformed},
		"too short":               {github, signOf(github)[:40], Malformed},
		"too long":                {github, signOf(github) + "00", Malformed},
		"not hex":                 {github, "sha256=" + strings.Repeat("x", 64), Malformed},
		"base64 in place of hex":  {github, "sha256=" + base64.StdEncoding.EncodeToString(raw), Malformed},
		"wrong":                   {github, "sha256=" + zeros, Mismatch},
		"digits in capitals":      {github, "sha256=" + strings.ToUpper(hex.EncodeToString(raw)), ""},
		"hex in place of base64":  {shopify, hex.EncodeToString(raw), Malformed},
		"base64 for addresses":    {shopify, strings.NewReplacer("+", "-", "/", "_").Replace("3+Yq/TpwjqJ7IXuMq8EfED7b+y0XbokqOKLUdagDxMI="), Malformed},
		"base64 without padding":  {shopify, strings.TrimRight(signOf(shopify), "="), Malformed},
		"base64 of another hash":  {shopify, base64.StdEncoding.EncodeToString(raw[:20]), Malformed},
		"two different joined":    {github, signOf(github) + ", sha256=" + zeros, Malformed},
		"the time twice":          {paddle, "ts=" + at + ";ts=" + at + ";h1=" + h1, Doubled},
		"no time":                 {paddle, "h1=" + h1, Malformed},
		"a time that is none":     {paddle, "ts=noon;h1=" + h1, Malformed},
		"a time in milliseconds":  {paddle, "ts=" + at + "000;h1=" + h1, Malformed},
		"no signature":            {paddle, "ts=" + at, Mismatch},
		"an empty signature":      {paddle, "ts=" + at + ";h1=", Mismatch},
		"a comma for a semicolon": {paddle, "ts=" + at + ",h1=" + h1, Malformed},
		"several":                 {paddle, "ts=" + at + ";h1=" + zeros + ";h1=" + h1 + ";h2=x", ""},
		"as many as may be":       {paddle, "ts=" + at + strings.Repeat(";h1="+zeros, mostSignatures-1) + ";h1=" + h1, ""},
		"one too many":            {paddle, "ts=" + at + strings.Repeat(";h1="+zeros, mostSignatures) + ";h1=" + h1, Malformed},
		"a hundred":               {paddle, "ts=" + at + strings.Repeat(";h1="+h1, 100), Malformed},
		"a hundred, space apart":  {standard, strings.Repeat(signOf(standard)+" ", 100), Malformed},
		"only white space":        {standard, " \t ", Mismatch},
		"white space around":      {standard, "  v2,x \t" + signOf(standard) + "  ", ""},
		"v1 as v1a":               {standard, "v1a" + signOf(standard)[2:], Mismatch},
		"the body of v1 in hex":   {standard, "v1," + zeros, Mismatch},
	} {
		t.Run(name, func(t *testing.T) {
			r := signedRequest(t, c.spec, secretOf(c.spec), body)
			r.Header.Set(c.spec.Headers[0], c.value)
			err := verifierOf(t, c.spec, address, secretOf(c.spec)).Verify(r, noon, time.Minute)
			requireReason(t, err, c.reason)
			if err != nil {
				require.NotContains(t, err.Error(), secretOf(c.spec))
			}
		})
	}
}

// A time in another unit is not taken for an old one: what is wrong is the definition.
func TestTimesOfAnotherUnit(t *testing.T) {
	for name, c := range map[string]struct {
		spec           Spec
		value, message string
	}{
		"milliseconds for seconds":      {slack, "1790000000000", `"1790000000000" is no timestamp in seconds`},
		"seconds for milliseconds":      {hubspot, "1790000000", `"1790000000" is a timestamp in seconds: want milliseconds`},
		"text for milliseconds":         {hubspot, "2026-07-01T12:00:00Z", "is no timestamp in milliseconds"},
		"a fraction":                    {hubspot, "1790000000000.5", "is no timestamp in milliseconds"},
		"microseconds for milliseconds": {hubspot, "1790000000000000000", "is no timestamp in milliseconds"},
		"a sign":                        {slack, "+1790000000", "is no timestamp in seconds"},
		"a negative time":               {slack, "-1", "is no timestamp in seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			r := signedRequest(t, c.spec, secretOf(c.spec), "{}")
			r.Header.Set(c.spec.Time.Header, c.value)
			err := verifierOf(t, c.spec, address, secretOf(c.spec)).Verify(r, noon, anyTime)
			requireReason(t, err, Malformed)
			require.ErrorContains(t, err, c.message)
		})
	}
	r := signedRequest(t, increase, secretOf(increase), "{}")
	r.Header.Set(increase.Headers[0], strings.Replace(r.Header.Get(increase.Headers[0]), noon.Format(time.RFC3339), "1790000000", 1))
	err := verifierOf(t, increase, address, secretOf(increase)).Verify(r, noon, anyTime)
	requireReason(t, err, Malformed)
	require.ErrorContains(t, err, "is no time of RFC 3339")
}

// keyPair is a private key in PEM, and the public one in PEM and in base64.
func keyPair(t testing.TB, algorithm string) (private, public, bare string) {
	t.Helper()
	var secret, open any
	switch algorithm {
	case rsaName:
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		secret, open = k, k.Public()
	case ecdsaName:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		secret, open = k, k.Public()
	default:
		k := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		secret, open = k, k.Public()
	}
	der, err := x509.MarshalPKCS8PrivateKey(secret)
	require.NoError(t, err)
	private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	der, err = x509.MarshalPKIXPublicKey(open)
	require.NoError(t, err)
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), base64.StdEncoding.EncodeToString(der)
}

func TestPublicKeys(t *testing.T) {
	for name, spec := range map[string]Spec{"wise": wise, "sendgrid": sendgrid, "discord": discord} {
		t.Run(name, func(t *testing.T) {
			private, public, bare := keyPair(t, spec.Algorithm)
			r := signedRequest(t, spec, private, `{"a":1}`)
			_, other, _ := keyPair(t, spec.Algorithm)
			for _, key := range []string{public, bare, "\n" + public + "\n"} {
				require.NoError(t, verifierOf(t, spec, "", other, key).Verify(r, noon, time.Minute))
			}
			steps, err := verifierOf(t, spec, "", public).Explain(r, noon, time.Minute)
			require.NoError(t, err)
			require.Equal(t, "matches", steps[len(steps)-1].Text)
			v := verifierOf(t, spec, "", public)
			if spec.Time.Header != "" {
				requireReason(t, v.Verify(r, noon.Add(2*time.Minute), time.Minute), TooOld)
			}
			r.Body = []byte(`{"a":2}`)
			requireReason(t, v.Verify(r, noon, time.Minute), Mismatch)

			for what, key := range map[string]string{"private": private, "text": "a public key that is none", "short": "00ff"} {
				_, err := schemeOf(t, spec).Verifier([]string{key}, "")
				require.ErrorContains(t, err, "webhook secret 1: is ", what)
				require.ErrorContains(t, err, "want PEM", what)
			}
		})
	}
	t.Run("of another algorithm", func(t *testing.T) {
		for name, spec := range map[string]Spec{rsaName: wise, ecdsaName: sendgrid, ed25519Name: discord} {
			for _, other := range algorithmNames {
				private, public, _ := keyPair(t, other)
				_, err := schemeOf(t, spec).Verifier([]string{public}, "")
				_, failed := schemeOf(t, spec).Sign(private, Message{At: noon})
				if other == name {
					require.NoError(t, err)
					require.NoError(t, failed)
					continue
				}
				require.EqualError(t, err, "webhook secret 1: is a public key, but not of "+name+", as the definition says")
				require.EqualError(t, failed, "the private key is not of "+name+", as the definition says")
			}
		}
	})
	t.Run("a short RSA key", func(t *testing.T) {
		k, err := rsa.GenerateKey(rand.Reader, 1024)
		require.NoError(t, err)
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		require.NoError(t, err)
		_, err = schemeOf(t, wise).Verifier([]string{base64.StdEncoding.EncodeToString(der)}, "")
		require.EqualError(t, err, "webhook secret 1: is an RSA key of 1024 bits: want at least 2048")
	})
	t.Run("32 bytes", func(t *testing.T) {
		private, _, _ := keyPair(t, ed25519Name)
		raw := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
		r := signedRequest(t, discord, private, "{}")
		for _, key := range []string{hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), "whpk_" + base64.StdEncoding.EncodeToString(raw)} {
			require.NoError(t, verifierOf(t, discord, "", key).Verify(r, noon, time.Minute), key)
		}
	})
	t.Run("whsk_", func(t *testing.T) {
		r := signedRequest(t, standard, "whsk_"+base64.StdEncoding.EncodeToString(make([]byte, ed25519.SeedSize)), "{}")
		require.True(t, strings.HasPrefix(r.Header.Get("webhook-signature"), "v1a,"))
		public := "whpk_O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
		require.NoError(t, verifierOf(t, standard, "", "whsec_c2VjcmV0", public).Verify(r, noon, time.Minute))
		requireReason(t, verifierOf(t, standard, "", "whsec_c2VjcmV0").Verify(r, noon, time.Minute), Mismatch)
	})
}

func TestSecretInThePath(t *testing.T) {
	v := verifierOf(t, inPath, "", "new-0123456789abcd", "old-0123456789abcd")
	for secret, reason := range map[string]string{
		"new-0123456789abcd": "", "old-0123456789abcd": "", "": Missing, "new": Mismatch, "new-0123456789abcde": Mismatch, "NEW-0123456789ABCD": Mismatch,
	} {
		requireReason(t, v.Verify(Request{Secret: secret, Body: []byte("{}")}, noon, time.Minute), reason)
	}
	for _, secret := range []string{"with/slash-0123456789", "with space 0123456789", "päd-0123456789abcdef", "per%20cent-0123456789"} {
		_, err := schemeOf(t, inPath).Verifier([]string{secret}, "")
		require.EqualError(t, err, "webhook secret 1: holds a character that would be escaped in an address: use letters, digits, -, ., _ and ~ only")
	}
	out, err := schemeOf(t, inPath).Sign("new-0123456789abcd", Message{Body: []byte("{}")})
	require.NoError(t, err)
	require.Equal(t, Signed{Header: http.Header{}, Body: []byte("{}"), Path: "/new-0123456789abcd"}, out)
}

func TestSecretsThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		spec    Spec
		secrets []string
		url     string
		err     string
	}{
		"none":                {github, nil, "", "no webhook secret: give the one the provider signs with"},
		"empty":               {github, []string{"a", ""}, "", "webhook secret 2 is empty"},
		"a line break":        {github, []string{"a", "b\n"}, "", "webhook secret 2: begins or ends with white space, with which it is another key: take it off"},
		"a space before":      {github, []string{" b"}, "", "webhook secret 1: begins or ends with white space"},
		"a space and prefix":  {Spec{Scheme: HMAC, Headers: []string{"X-Sig"}, SecretPrefix: "sk_"}, []string{"sk_a\t"}, "", "webhook secret 1: begins or ends with white space"},
		"not hex":             {platform, []string{"xyz"}, "", "webhook secret 1: is not hex"},
		"not base64":          {Spec{Scheme: HMAC, Headers: []string{"X-Sig"}, Secret: "base64"}, []string{"??"}, "", "webhook secret 1: is not base64"},
		"nothing but prefix":  {Spec{Scheme: HMAC, Headers: []string{"X-Sig"}, SecretPrefix: "sk_"}, []string{"sk_"}, "", "webhook secret 1: is not sk_ and text"},
		"no address":          {square, []string{"s"}, "", "no webhook_url: the signature covers the address"},
		"a whpk_ that is cut": {standard, []string{"whpk_AAAA"}, "", "webhook secret 1: is no public key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schemeOf(t, c.spec).Verifier(c.secrets, c.url)
			require.ErrorContains(t, err, c.err)
		})
	}
}

func TestSignRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec   Spec
		secret string
		m      Message
		err    string
	}{
		"no secret":      {github, "", Message{}, "no secret to sign with"},
		"no address":     {square, "s", Message{}, "no address"},
		"no id":          {standard, "whsec_c2VjcmV0", Message{}, "the signature covers a header of the message: missing: no header webhook-id"},
		"a public key":   {standard, "whpk_O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=", Message{Header: headers("webhook-id", "m")}, "the secret is a public key: signing needs the private one"},
		"no private key": {wise, "text", Message{}, "the secret is no private key"},
		"not hex":        {platform, "xyz", Message{}, "the secret is not hex"},
		"no items":       {adyen, adyenKey, Message{Body: []byte("{}")}, "the body has no notificationItems"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schemeOf(t, c.spec).Sign(c.secret, c.m)
			require.ErrorContains(t, err, c.err)
		})
	}
	_, public, _ := keyPair(t, ecdsaName)
	private, _, _ := keyPair(t, ecdsaName)
	_, err := schemeOf(t, wise).Sign(private, Message{})
	require.EqualError(t, err, "the private key is not of rsa-sha256, as the definition says")
	_, err = schemeOf(t, wise).Sign(public, Message{})
	require.ErrorContains(t, err, "the secret is no private key")
}

func TestSignedItemsAreVerified(t *testing.T) {
	unsigned := strings.Replace(adyenBody(adyenItemOne, adyenItemOne), `"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},`, "", 1)
	r := signedRequest(t, adyen, adyenKey, strings.Replace(unsigned, "1130", "12345678901234567890", 1))
	require.NoError(t, verifierOf(t, adyen, "", adyenKey).Verify(r, noon, time.Minute))
	require.Contains(t, string(r.Body), "12345678901234567890")
}

// What is wrong with a request is explained with the text that was signed and the
// signature that each secret makes of it.
func TestExplain(t *testing.T) {
	r := signedRequest(t, paddle, "a-secret-of-the-source", `{"a":1}`)
	sign := r.Header.Get("Paddle-Signature")
	steps, err := verifierOf(t, paddle, "", "another-secret-0123", "a-secret-of-the-source").Explain(r, noon.Add(time.Hour), time.Minute)
	requireReason(t, err, TooOld)
	require.Equal(t, Step{"header", "Paddle-Signature: " + sign}, steps[0])
	require.Equal(t, Step{"time", "1782907200, which is 2026-07-01T12:00:00Z"}, steps[1])
	require.Equal(t, Step{"signed text", `1782907200:{"a":1}`}, steps[2])
	require.Equal(t, "signature", steps[3].What)
	require.Equal(t, "secret 1", steps[4].What)
	require.Contains(t, steps[4].Text, "does not match: it makes ")
	require.Equal(t, Step{"secret 2", "matches"}, steps[5])
	require.Len(t, steps, 6)

	steps, err = verifierOf(t, paddle, "", "s").Explain(Request{}, noon, time.Minute)
	requireReason(t, err, Missing)
	require.Empty(t, steps)
	steps, err = verifierOf(t, github, "", "s").Explain(Request{Header: headers("X-Hub-Signature-256", "x")}, noon, time.Minute)
	requireReason(t, err, Malformed)
	require.Equal(t, []Step{{"header", "X-Hub-Signature-256: x"}}, steps)
}

// BenchmarkVerify is the cost of one good signature of an event of usual size.
func BenchmarkVerify(b *testing.B) {
	body := `{"id":"evt_1","type":"order.executed","context":{"account":"cusa_1","order":"bord_1"}}` + strings.Repeat(" ", 200)
	for name, spec := range templates {
		b.Run(name, func(b *testing.B) {
			v, r := verifierOf(b, spec, address, secretOf(spec)), signedRequest(b, spec, secretOf(spec), body)
			b.ReportAllocs()
			for b.Loop() {
				if err := v.Verify(r, noon, time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
