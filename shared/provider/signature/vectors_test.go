package signature

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// any is a tolerance that takes every time.
const anyTime = -1

// Specs of providers, as their documentation describes their webhooks.
var (
	stripe    = Spec{Scheme: TimestampedHMAC, Headers: []string{"Stripe-Signature"}}
	standard  = Spec{Scheme: StandardWebhooks, Headers: []string{"webhook-signature", "svix-signature"}}
	github    = Spec{Scheme: HMAC, Headers: []string{"X-Hub-Signature-256"}, Prefix: "sha256="}
	shopify   = Spec{Scheme: HMAC, Headers: []string{"X-Shopify-Hmac-SHA256"}, Encoding: "base64"}
	square    = Spec{Scheme: HMAC, Headers: []string{"x-square-hmacsha256-signature"}, Encoding: "base64", Signed: "{url}{body}"}
	paddle    = Spec{Scheme: HMAC, Headers: []string{"Paddle-Signature"}, Parts: Parts{Separator: ";", Time: "ts", Signature: "h1"}, Signed: "{time}:{body}"}
	slack     = Spec{Scheme: HMAC, Headers: []string{"X-Slack-Signature"}, Prefix: "v0=", Time: Time{Header: "X-Slack-Request-Timestamp"}, Signed: "v0:{time}:{body}"}
	hubspot   = Spec{Scheme: HMAC, Headers: []string{"X-HubSpot-Signature-v3"}, Encoding: "base64", Time: Time{Header: "X-HubSpot-Request-Timestamp", Unit: "ms"}, Signed: "{method}{url}{body}{time}"}
	unit      = Spec{Scheme: HMAC, Headers: []string{"x-unit-signature"}, Hash: "sha1", Encoding: "base64"}
	platform  = Spec{Scheme: HMAC, Headers: []string{"HmacSignature"}, Encoding: "base64", Secret: "hex"}
	increase  = Spec{Scheme: HMAC, Headers: []string{"Increase-Webhook-Signature"}, Parts: Parts{Separator: ",", Time: "t", Signature: "v1"}, Time: Time{Unit: "rfc3339"}, Signed: "{time}.{body}"}
	longer    = Spec{Scheme: HMAC, Headers: []string{"X-Sig"}, Hash: "sha512"}
	wise      = Spec{Scheme: PublicKey, Algorithm: "rsa-sha256", Headers: []string{"X-Signature-SHA256"}, Encoding: "base64"}
	sendgrid  = Spec{Scheme: PublicKey, Algorithm: "ecdsa-p256", Headers: []string{"X-Twilio-Email-Event-Webhook-Signature"}, Encoding: "base64", Time: Time{Header: "X-Twilio-Email-Event-Webhook-Timestamp"}, Signed: "{time}{body}"}
	discord   = Spec{Scheme: PublicKey, Algorithm: "ed25519", Headers: []string{"X-Signature-Ed25519"}, Time: Time{Header: "X-Signature-Timestamp"}, Signed: "{time}{body}"}
	adyen     = Spec{Scheme: AdyenItems}
	inPath    = Spec{Scheme: None}
	templates = map[string]Spec{
		"stripe": stripe, "standard": standard, "github": github, "shopify": shopify, "square": square, "paddle": paddle, "slack": slack,
		"hubspot": hubspot, "unit": unit, "platform": platform, "increase": increase, "sha512": longer,
	}
)

func schemeOf(t testing.TB, spec Spec) *Scheme {
	t.Helper()
	s, problems := New(spec)
	require.Empty(t, problems)
	return s
}

func verifierOf(t testing.TB, spec Spec, url string, secrets ...string) *Verifier {
	t.Helper()
	v, err := schemeOf(t, spec).Verifier(secrets, url)
	require.NoError(t, err)
	return v
}

func requireReason(t *testing.T, err error, reason string) {
	t.Helper()
	if reason == "" {
		require.NoError(t, err)
		return
	}
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, reason, refused.Reason, refused.Detail)
}

// headers makes an http.Header of names and values.
func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// What providers document, and what was made with their libraries.
func TestVectors(t *testing.T) {
	const (
		stripeBody   = `{"id":"evt_tarn1","object":"event","type":"customer.created","created":1790000000,"livemode":true,"data":{"object":{"id":"cus_tarn1","object":"customer"}}}`
		stripeV1     = "2a4529c2f7e60f18440715a6aa6f558dfb338afbb2af73a65b19158f5e301daa"
		standardBody = `{"type":"user.created","timestamp":"2026-09-21T14:13:20Z","data":{"id":"user_1"}}`
		slackBody    = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
		zeros        = "0000000000000000000000000000000000000000000000000000000000000000"
	)
	for name, c := range map[string]struct {
		spec        Spec
		secret, url string
		h           http.Header
		body        string
		at          int64 // seconds; 0: no time
	}{
		"Stripe, by stripe-go": {stripe, "whsec_tarn_example_secret", "", headers("Stripe-Signature", "t=1790000000,v1="+zeros+",v1="+stripeV1+",v0="+zeros), stripeBody, 1790000000},
		"Standard Webhooks": {
			standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "",
			headers("webhook-id", "msg_tarn1", "webhook-timestamp", "1790000000", "webhook-signature", "v1,vZyxb+EvmZOIh1SE/7rl4LcTvipr1Q3bqs/70if7VVA="), standardBody, 1790000000,
		},
		"Svix's names": {
			standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "",
			headers("svix-id", "msg_tarn1", "svix-timestamp", "1790000000", "svix-signature", "v1,vZyxb+EvmZOIh1SE/7rl4LcTvipr1Q3bqs/70if7VVA="), standardBody, 1790000000,
		},
		"Standard Webhooks, v1a": {
			standard, "whpk_O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=", "",
			headers("webhook-id", "msg_tarn1", "webhook-timestamp", "1790000000", "webhook-signature",
				"v1,vZyxb+EvmZOIh1SE/7rl4LcTvipr1Q3bqs/70if7VVA= v1a,DiHKu1VeWiI3pVenTsYKJIqcNRf+8vbHFydBmFPQrLC4n5djt0cUxRkMoW+ndvgZ4ZqquOhm3trnZ+8WEImzCw=="), standardBody, 1790000000,
		},
		"GitHub":        {github, "It's a Secret to Everybody", "", headers("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"), "Hello, World!", 0},
		"Slack":         {slack, "8f742231b10e8888abcd99yyyzzz85a5", "", headers("X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"), slackBody, 1531420618},
		"Shopify":       {shopify, "hush", "", headers("X-Shopify-Hmac-SHA256", "3+Yq/TpwjqJ7IXuMq8EfED7b+y0XbokqOKLUdagDxMI="), `{"a":1}`, 0},
		"Square":        {square, "sig-key", "https://example.com/hook", headers("x-square-hmacsha256-signature", "fqmwKjEFCqWz0TGshHJDNAcJwfLjjMzSkUP/k2TxleM="), `{"a":1}`, 0},
		"Paddle":        {paddle, "pdl_ntfset_x", "", headers("Paddle-Signature", "ts=1790000000;h1=bd7cb0446de0d91d3b87ab0eab76e9d226f9c9cb6f8a1a0823008574e10d1cda"), `{"a":1}`, 1790000000},
		"SHA1":          {unit, "tok", "", headers("x-unit-signature", "7HQab6ovtNei0RLAndCx4QCVcWA="), `{"a":1}`, 0},
		"HubSpot":       {hubspot, "client-secret", "https://example.com/hook", headers("X-HubSpot-Request-Timestamp", "1790000000000", "X-HubSpot-Signature-v3", "6TbJ3yHIKrAeIeNdvzyJtjlrK5eOFrkfAWDabsdSkmc="), `[{"eventId":1}]`, 1790000000},
		"Adyen's items": {adyen, adyenKey, "", nil, adyenBody(adyenItemOne), 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifierOf(t, c.spec, c.url, c.secret)
			now := time.Unix(c.at, 0)
			r := Request{Header: c.h, Body: []byte(c.body)}
			require.NoError(t, v.Verify(r, now, 5*time.Minute))
			steps, err := v.Explain(r, now, 5*time.Minute)
			require.NoError(t, err)
			require.NotEmpty(t, steps)
			if c.at != 0 {
				requireReason(t, v.Verify(r, now.Add(301*time.Second), 5*time.Minute), TooOld)
				requireReason(t, v.Verify(r, now.Add(-301*time.Second), 5*time.Minute), InFuture)
				require.NoError(t, v.Verify(r, now.Add(time.Hour), anyTime))
			} else {
				require.NoError(t, v.Verify(r, now.AddDate(50, 0, 0), 5*time.Minute), "no time is signed")
			}
			if c.spec.Scheme != AdyenItems {
				requireReason(t, v.Verify(Request{Header: c.h, Body: []byte(c.body + " ")}, now, 5*time.Minute), Mismatch)
			}
			if schemeOf(t, c.spec).SignsURL() {
				requireReason(t, verifierOf(t, c.spec, c.url+"/", c.secret).Verify(r, now, 5*time.Minute), Mismatch)
			}
		})
	}
	t.Run("another method", func(t *testing.T) {
		h := headers("X-HubSpot-Request-Timestamp", "1790000000000", "X-HubSpot-Signature-v3", "6TbJ3yHIKrAeIeNdvzyJtjlrK5eOFrkfAWDabsdSkmc=")
		v := verifierOf(t, hubspot, "https://example.com/hook", "client-secret")
		requireReason(t, v.Verify(Request{Method: "PUT", Header: h, Body: []byte(`[{"eventId":1}]`)}, time.Unix(1790000000, 0), time.Minute), Mismatch)
	})
}
