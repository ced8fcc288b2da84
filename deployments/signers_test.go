package deployments

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider/signature"
)

// signers is the program that signs and verifies with the libraries of providers.
type signers struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
}

// startSigners builds the program and runs it for the time of a test.
func startSigners(t *testing.T) *signers {
	t.Helper()
	in, out := startStandin(t, "signers")
	return &signers{t, json.NewEncoder(in), json.NewDecoder(out)}
}

// ask sends a request, whose fields are those of the program's documentation.
func (s *signers) ask(request map[string]any) (header http.Header, verified bool, problem string) {
	s.t.Helper()
	require.NoError(s.t, s.in.Encode(request))
	var answer struct {
		Header   map[string]string
		Verified bool
		Error    string
	}
	require.NoError(s.t, s.out.Decode(&answer))
	header = http.Header{}
	for name, value := range answer.Header {
		header.Set(name, value)
	}
	return header, answer.Verified, answer.Error
}

// What the libraries of providers sign is verified here, and what is signed here they
// verify.
func TestTheLibrariesOfProvidersAgree(t *testing.T) {
	s := startSigners(t)
	now := time.Now()
	whsec := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, c := range []struct {
		library, secret string
		spec            signature.Spec
		id              string // the header of the event's id
		signs           bool
	}{
		{"stripe", "whsec_tarn_example_secret", signature.Spec{Scheme: signature.TimestampedHMAC, Headers: []string{"Stripe-Signature"}}, "", true},
		{"standard", whsec, signature.Spec{Scheme: signature.StandardWebhooks, Headers: []string{"webhook-signature", "svix-signature"}}, "webhook-id", true},
		{"svix", whsec, signature.Spec{Scheme: signature.StandardWebhooks, Headers: []string{"svix-signature", "webhook-signature"}}, "svix-id", true},
		{"paddle", "pdl_ntfset_x", signature.Spec{
			Scheme: signature.HMAC, Headers: []string{"Paddle-Signature"}, Signed: "{time}:{body}",
			Parts: signature.Parts{Separator: ";", Time: "ts", Signature: "h1"},
		}, "", false},
	} {
		scheme, problems := signature.New(c.spec)
		require.Empty(t, problems)
		verifier, err := scheme.Verifier([]string{"whsec_b3RoZXI=", c.secret}, "")
		require.NoError(t, err)
		for name, body := range map[string]string{"an event": `{"id":"evt_1","type":"order.made","data":{"id":"ü"}}`, "nothing": "", "text": "no JSON\n"} {
			t.Run(c.library+" signs "+name, func(t *testing.T) {
				header, _, problem := s.ask(map[string]any{"do": "sign", "library": c.library, "secret": c.secret, "id": "msg_1", "at": now.Unix(), "body": body})
				if !c.signs {
					require.Contains(t, problem, "signs nothing")
					return
				}
				require.Empty(t, problem)
				require.NoError(t, verifier.Verify(signature.Request{Header: header, Body: []byte(body)}, now, time.Minute))
				require.Error(t, verifier.Verify(signature.Request{Header: header, Body: []byte(body + " ")}, now, time.Minute))
			})
			t.Run(c.library+" verifies "+name, func(t *testing.T) {
				m := signature.Message{Header: http.Header{}, Body: []byte(body), At: now}
				if c.id != "" {
					m.Header.Set(c.id, "msg_1")
				}
				signed, err := scheme.Sign(c.secret, m)
				require.NoError(t, err)
				header := map[string]string{}
				for _, from := range []http.Header{m.Header, signed.Header} {
					for name := range from {
						header[name] = from.Get(name)
					}
				}
				for sent, good := range map[string]bool{body: true, body + " ": false} {
					_, verified, problem := s.ask(map[string]any{"do": "verify", "library": c.library, "secret": c.secret, "header": header, "body": sent})
					require.Equal(t, good, verified, problem)
				}
			})
		}
	}
}
