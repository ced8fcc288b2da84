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
	definitions := []*Definition{lemon(f), stripe(f), stripeScoped(f), example(f, "standard.yaml")}
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

// FuzzEvents: for any request, the answer is events that the rest of Tarn can carry
// and that are read again from the log as they were read, or an EnvelopeError. Nothing
// of a request is lost, and no event is of another.
func FuzzEvents(f *testing.F) {
	const fields = "\nid: [header:X-Id, \"@.id\"]\ntype: [kind, \"@.type\", header:X-Type]\ncreated_at: at\ntime: unix_ms\nobject: {id: \"@.thing\", type: \"@.of\"}\nids: {thing: rest.thing}\nrequire: {mode: live}"
	f.Add([]byte(`{"kind":"thing","at":1,"mode":"live","events":[{"id":1,"type":"made","thing":"t_1","of":"thing"},{"id":1.5},null,[7]],"rest":{"thing":7}}`), "h", "x")
	f.Add([]byte(`{"kind":"thing","mode":true,"events":[{"in":[{"id":"a"}]},{"in":null}]}`), "", "\xff")
	f.Add([]byte(`[{"id":"a","type":"thing.made"}]`), "a", "")
	f.Add([]byte("id=a&type=thing&id=b&%zz&thing=%e4"), "a", "")
	definitions := []*Definition{
		enveloped(f, "each: events"+fields, thingKinds, thingEvents),
		enveloped(f, "each: \"events.*.in\""+fields, thingKinds, thingEvents),
		enveloped(f, "each: \".\"\nid: body-hash\ntype: \"@.type\"\nids: {thing: \"@.thing\"}", thingKinds, thingEvents),
		enveloped(f, "body: form\nid: [id, header:X-Id]\ntype: type\nobject: {id: thing}", thingKinds, thingEvents),
		enveloped(f, "id: none\ntype: [kind, at]\nobject: {id: rest.thing}\nrequire: {header:X-Type: x}", thingKinds, thingEvents),
	}
	f.Fuzz(func(t *testing.T, body []byte, id, typ string) {
		h := http.Header{"X-Id": {id}, "X-Type": {typ}}
		for _, d := range definitions {
			events, err := d.Events("s", h, body, now)
			if err != nil {
				var malformed *EnvelopeError
				require.ErrorAs(t, err, &malformed)
				require.True(t, utf8.ValidString(malformed.Reason), "the reason goes into a JSON answer")
				continue
			}
			for _, e := range events {
				require.NoError(t, event.CheckID(e.ID))
				require.NoError(t, event.CheckID(e.Type))
				require.True(t, strings.Contains(string(body), string(e.Payload)))
				for place, value := range e.Given {
					require.True(t, utf8.ValidString(place) && utf8.ValidString(value))
				}
				if e.Note == event.Unreadable {
					continue
				}
				requireStored(t, d, e)
			}
			echo, ok := d.Challenge(h, body)
			require.False(t, ok, echo)
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
	for _, envelope := range []string{
		"each: a.*.b\nid: [header:X-Id, \"@.id\"]\ntype: [text:thing, \"@.a\"]\nobject: {id: \"@.b\"}\nrequire: {live: \"{mode}\"}",
		"body: form\nid: body-hash\ntype: type\nfamily_at: \"/\"\nids: {thing: thing}\nack: {body: ok}",
		"id: none\ntype: type\nobject: {id: id, type: t}\ntime: unix_ms\nchallenge: {when: {type: a}, echo: b, get: c, token: {d: \"{e}\"}}",
	} {
		f.Add(envelopedText(envelope, thingKinds, thingEvents))
	}
	for _, text := range []string{billing, invoices, wrapped, ordering} {
		f.Add(text)
	}
	f.Add(strings.Replace(minimal, "errors: message", "auth: {oauth2: {token_url: /t, scopes: [a]}}, errors: {at: code, gone: [x], entity: {429: [y]}}", 1))
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
		_, err = d.Events("s", nil, []byte(published), now)
		if err != nil {
			var malformed *EnvelopeError
			require.ErrorAs(t, err, &malformed)
		}
		_, err = NewVerifier(d, VerifierOptions{Secrets: []string{"whsec_c2VjcmV0"}, URL: "https://example.com"})
		if err != nil {
			require.ErrorContains(t, err, "webhook secret 1: ", "keys and secrets are written in several ways")
		}
		_, err = NewClient(d, ClientOptions{BaseURL: "http://127.0.0.1:1", Key: "id:secret"})
		require.NoError(t, err)
	})
}
