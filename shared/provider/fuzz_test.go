package provider

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// FuzzEvent: for any input, the answer is an event that the rest of Tarn can
// carry, or an EnvelopeError.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(withField("context", `{"account":"a/b","order":"..","trade":1}`)))
	f.Add([]byte(`{"id":"evt_1","created":1700000000,"type":"product.updated","data":{"object":{"id":"prod_1","object":"product"}}}`))
	definitions := []*Definition{lemon(f), stripe(f), example(f, "standard.yaml")}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, d := range definitions {
			e, err := d.Event("s", http.Header{"Webhook-Id": {"msg_1"}}, body, now)
			if err != nil {
				var malformed *EnvelopeError
				require.ErrorAs(t, err, &malformed)
				require.True(t, utf8.ValidString(malformed.Reason), "the reason goes into a JSON answer")
				continue
			}
			require.True(t, json.Valid(withoutMark(body)))
			_, err = e.CreatedAt.MarshalJSON()
			require.NoError(t, err, "a time that cannot be written again")
			require.NoError(t, event.CheckID(e.ID))
			require.NotEmpty(t, e.Type)
			seen := map[event.Key]bool{}
			for _, ref := range e.Entities {
				require.False(t, seen[ref.Key], "named twice")
				seen[ref.Key] = true
				if d.LacksParents(ref) {
					continue // the mirror may know them
				}
				_, err := d.Kind(ref.Key.Kind).path(ref)
				require.NoError(t, err, "an entity that cannot be asked for")
			}
		}
	})
}

// FuzzSignature: an unsigned header is never accepted, a signed one always is.
func FuzzSignature(f *testing.F) {
	for _, s := range []string{
		"t=0,v1=3523dcc0013f08dfa1855772441107330218793f399d7452bd3ff2159c6e0285", "t=1,t=2,v1=", "v1=,,=", "v1,abc v1,def", "t=99999999999999999999",
	} {
		f.Add(s, "0", []byte("{}"))
	}
	v, err := NewVerifier(lemon(f), VerifierOptions{Secrets: []string{"s"}, Tolerance: -1})
	require.NoError(f, err)
	std, err := NewVerifier(example(f, "standard.yaml"), VerifierOptions{Secrets: []string{"whsec_c2VjcmV0"}, Tolerance: -1})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, header, stamp string, body []byte) {
		requireRefused(t, v.Verify(http.Header{"Lmg-Signature": {header}}, body))
		requireRefused(t, std.Verify(http.Header{
			"Webhook-Id": {"m"}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {header},
		}, body))
		signed := "t=0,v1=" + sign("s", "0."+string(body))
		require.NoError(t, v.Verify(http.Header{"Lmg-Signature": {signed}}, body))
		require.Error(t, v.Verify(http.Header{"Lmg-Signature": {signed + "," + header + ",t=0"}}, body), "two timestamps")
	})
}

func requireRefused(t *testing.T, err error) {
	t.Helper()
	var refused *SignatureError
	require.ErrorAs(t, err, &refused)
	require.Contains(t, []string{"missing", "malformed", "doubled", "mismatch", "too_old", "in_future"}, refused.Reason)
}

// FuzzParse: a definition is either taken, and then works, or refused with the
// name of its file; and never takes long.
func FuzzParse(f *testing.F) {
	f.Add(minimal)
	for _, file := range []string{"definitions/lemon.yaml", "definitions/stripe.yaml", "testdata/standard.yaml"} {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add(strings.Replace(minimal, "timestamped-hmac, headers: [X-Sig]", `hmac, headers: [a-signature], hash: sha1, encoding: base64, prefix: "v0=", secret: hex, secret_prefix: s_, time: {header: "-at", unit: ms}, signed: "{method}{url}{header:X}{time}{body}"`, 1))
	f.Add(strings.Replace(minimal, "timestamped-hmac, headers: [X-Sig]", `public-key, algorithm: ed25519, headers: [X-Sig], parts: {separator: ";", equals: ":", time: t, signature: v1}, signed: "{time}{body}"`, 1))
	f.Add("a: &a [*a, *a]\nb: {<<: *a}\n? [x]\n: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		d, err := Parse("fuzz.yaml", []byte(text))
		require.Less(t, time.Since(start), 5*time.Second)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "fuzz.yaml:"), "%v", err)
			return
		}
		for _, k := range d.Kinds() {
			require.NotEmpty(t, k.Name)
			_, err := d.Read(k.Name, []byte(`{"id":"x"}`))
			require.Equal(t, k.Shape == ShapeList, err != nil)
		}
		_, err = d.Event("s", nil, []byte(published), now)
		if err != nil {
			var malformed *EnvelopeError
			require.ErrorAs(t, err, &malformed)
		}
		_, err = NewVerifier(d, VerifierOptions{Secrets: []string{"whsec_c2VjcmV0"}, URL: "https://example.com"})
		if err != nil {
			require.ErrorContains(t, err, "webhook secret 1: ", "keys and secrets are written in several ways")
		}
		_, err = NewClient(d, ClientOptions{BaseURL: "http://127.0.0.1:1", Key: "k"})
		require.NoError(t, err)
	})
}
