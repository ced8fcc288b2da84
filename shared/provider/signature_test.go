package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sign(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// at returns a clock that is always the given seconds after 1970.
func at(unix int64) func() time.Time {
	return func() time.Time { return time.Unix(unix, 0) }
}

func verify(t *testing.T, d *Definition, o VerifierOptions, h http.Header, body string) error {
	t.Helper()
	v, err := NewVerifier(d, o)
	require.NoError(t, err)
	return v.Verify(h, []byte(body))
}

func requireReason(t *testing.T, err error, reason string) {
	t.Helper()
	if reason == "" {
		require.NoError(t, err)
		return
	}
	var refused *SignatureError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, reason, refused.Reason, refused.Detail)
}

// The vector of the provider's guide, and one more made by its recipe.
func TestLemonVectors(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	guide := http.Header{"Lmg-Signature": {"t=0,v1=3523dcc0013f08dfa1855772441107330218793f399d7452bd3ff2159c6e0285"}}
	require.NoError(t, verify(t, lemon(t), VerifierOptions{Secrets: []string{zeros}, Tolerance: -1}, guide, "{}"))
	require.NoError(t, verify(t, lemon(t), VerifierOptions{Secrets: []string{zeros}, Now: at(0)}, guide, "{}"))
	requireReason(t, verify(t, lemon(t), VerifierOptions{Secrets: []string{zeros}}, guide, "{}"), "too_old")

	decoded, err := hex.DecodeString(zeros)
	require.NoError(t, err)
	requireReason(t, verify(t, lemon(t), VerifierOptions{Secrets: []string{string(decoded)}, Tolerance: -1}, guide, "{}"), "mismatch")

	more := http.Header{"Lmg-Signature": {"t=1688049630,v1=4fa819d93765e9431d4399db4ef120a359ef02cb43081a026b056a8d4382a928"}}
	secret := "78147840b851c1532382bc311147e52c4756ba67be1edc48a5daf504c886ac64"
	require.NoError(t, verify(t, lemon(t), VerifierOptions{Secrets: []string{secret}, Now: at(1688049630)}, more, published))
}

func TestTimestampedSignatures(t *testing.T) {
	const secret, body = "whsec_test_secret", `{"id":"evt_test_webhook","object":"event"}`
	const good = "d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990"
	bad := strings.Repeat("0", 64)
	for name, c := range map[string]struct{ header, reason string }{
		"Stripe's vector":           {"t=1700000000,v1=" + good, ""},
		"upper-case hex":            {"t=1700000000,v1=" + strings.ToUpper(good), ""},
		"signature first":           {"v1=" + good + ",t=1700000000", ""},
		"a space":                   {"t=1700000000, v1=" + good, ""},
		"bad v1 before":             {"t=1700000000,v1=" + bad + ",v1=" + good, ""},
		"bad v1 after":              {"t=1700000000,v1=" + good + ",v1=" + bad, ""},
		"unreadable v1 beside":      {"t=1700000000,v1=xyz,v1=" + good, ""},
		"unknown scheme beside":     {"t=1700000000,v0=" + bad + ",v2=?,v1=" + good, ""},
		"empty":                     {"", "missing"},
		"no value":                  {"v1,t=1", "malformed"},
		"two values":                {"t=1=2,v1=" + good, "malformed"},
		"no timestamp":              {"v1=" + good, "malformed"},
		"empty timestamp":           {"t=,v1=" + good, "malformed"},
		"timestamp with a sign":     {"t=+1700000000,v1=" + good, "malformed"},
		"timestamp in milliseconds": {"t=1700000000000,v1=" + good, "malformed"},
		"timestamp with a fraction": {"t=1700000000.0,v1=" + good, "malformed"},
		"timestamp beyond int64":    {"t=99999999999999999999,v1=" + good, "malformed"},
		"timestamp twice":           {"t=1700000000,t=1700000000,v1=" + good, "doubled"},
		"two different timestamps":  {"t=1700000001,t=1700000000,v1=" + good, "doubled"},
		"another time":              {"t=1700000001,v1=" + good, "mismatch"},
		"only v0":                   {"t=1700000000,v0=" + good, "mismatch"},
		"no signature":              {"t=1700000000", "mismatch"},
		"short":                     {"t=1700000000,v1=" + good[:62], "mismatch"},
		"wrong":                     {"t=1700000000,v1=" + bad, "mismatch"},
		"empty v1":                  {"t=1700000000,v1=", "mismatch"},
		"a comma too many":          {"t=1700000000,v1=" + good + ",", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			o := VerifierOptions{Secrets: []string{secret}, Now: at(1700000000)}
			err := verify(t, stripe(t), o, http.Header{"Stripe-Signature": {c.header}}, body)
			requireReason(t, err, c.reason)
		})
	}
	t.Run("body tampered", func(t *testing.T) {
		o := VerifierOptions{Secrets: []string{secret}, Now: at(1700000000)}
		err := verify(t, stripe(t), o, http.Header{"Stripe-Signature": {"t=1700000000,v1=" + good}}, body+" ")
		requireReason(t, err, "mismatch")
	})
}

func TestSignatureTolerance(t *testing.T) {
	for name, c := range map[string]struct {
		age       int64
		tolerance time.Duration
		reason    string
	}{
		"now":                    {0, 0, ""},
		"just in time":           {300, 0, ""},
		"just too old":           {301, 0, "too_old"},
		"just not ahead":         {-300, 0, ""},
		"just ahead":             {-301, 0, "in_future"},
		"narrower":               {11, 10 * time.Second, "too_old"},
		"any time":               {1e9, -1, ""},
		"as old as can be said":  {1700000000, 0, "too_old"},
		"as far as can be said":  {1700000000 - lastSecond, 0, "in_future"},
		"overflow of the clock":  {1700000000 - 9223372036854775807, 0, "malformed"},
		"far ahead, but allowed": {1700000000 - lastSecond, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			stamp := 1700000000 - c.age
			h := http.Header{"Lmg-Signature": {fmt.Sprintf("t=%d,v1=%s", stamp, sign("s", fmt.Sprintf("%d.{}", stamp)))}}
			o := VerifierOptions{Secrets: []string{"s"}, Tolerance: c.tolerance, Now: at(1700000000)}
			requireReason(t, verify(t, lemon(t), o, h, "{}"), c.reason)
		})
	}
}

func TestSignatureHeaders(t *testing.T) {
	good, bad := "t=0,v1="+sign("s", "0.{}"), "t=0,v1="+sign("x", "0.{}")
	for name, c := range map[string]struct {
		h      http.Header
		reason string
	}{
		"the guide's name":      {http.Header{"Lmg-Signature": {good}}, ""},
		"the reference's name":  {http.Header{"Lemon-Markets-Signature": {good}}, ""},
		"the first one counts":  {http.Header{"Lmg-Signature": {good}, "Lemon-Markets-Signature": {bad}}, ""},
		"no second chance":      {http.Header{"Lmg-Signature": {bad}, "Lemon-Markets-Signature": {good}}, "mismatch"},
		"the same header twice": {http.Header{"Lmg-Signature": {good, good}}, ""},
		"three copies":          {http.Header{"Lmg-Signature": {good, good, good}}, ""},
		"joined by a proxy":     {http.Header{"Lmg-Signature": {good + ", " + good}}, ""},
		"joined without space":  {http.Header{"Lmg-Signature": {good + "," + good + "," + good}}, ""},
		"two that differ":       {http.Header{"Lmg-Signature": {good, bad}}, "doubled"},
		"two that differ, back": {http.Header{"Lmg-Signature": {bad, good}}, "doubled"},
		"joined, differing":     {http.Header{"Lmg-Signature": {good + ", " + bad}}, "doubled"},
		"a bad one joined":      {http.Header{"Lmg-Signature": {bad + ", " + bad}}, "mismatch"},
		"another name":          {http.Header{"Stripe-Signature": {good}}, "missing"},
		"none":                  {nil, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			requireReason(t, verify(t, lemon(t), VerifierOptions{Secrets: []string{"s"}, Now: at(0)}, c.h, "{}"), c.reason)
		})
	}
}

func TestSecretsRotate(t *testing.T) {
	for name, c := range map[string]struct {
		secrets []string
		reason  string
	}{
		"the new one": {[]string{"new", "old"}, ""},
		"the old one": {[]string{"old", "new"}, ""},
		"gone":        {[]string{"old"}, "mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Lmg-Signature": {"t=0,v1=" + sign("new", "0.{}")}}
			requireReason(t, verify(t, lemon(t), VerifierOptions{Secrets: c.secrets, Now: at(0)}, h, "{}"), c.reason)
		})
	}
}

func TestSecretsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		d       *Definition
		secrets []string
		err     string
	}{
		"none":       {lemon(t), nil, "no webhook secret"},
		"empty":      {lemon(t), []string{"a", ""}, "webhook secret 2 is empty"},
		"line break": {lemon(t), []string{"a\n"}, "webhook secret 1: begins or ends with white space"},
		"not base64": {example(t, "standard.yaml"), []string{"whsec_?"}, "webhook secret 1: is not whsec_ and base64"},
		"bare":       {example(t, "standard.yaml"), []string{"whsec_"}, "webhook secret 1: is not whsec_ and base64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVerifier(c.d, VerifierOptions{Secrets: c.secrets})
			require.ErrorContains(t, err, c.err)
			require.NotContains(t, err.Error(), "?", "an error never holds a secret")
		})
	}
}

func TestStandardWebhooks(t *testing.T) {
	const secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"test": 2432232314}`
	const good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	const stamp = 1614265330
	without := func(name string) http.Header {
		h := http.Header{"Webhook-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Webhook-Timestamp": {"1614265330"}, "Webhook-Signature": {good}}
		h.Del(name)
		return h
	}
	with := func(name, value string) http.Header {
		h := without("")
		h.Set(name, value)
		return h
	}
	for name, c := range map[string]struct {
		h      http.Header
		now    int64
		reason string
	}{
		"the library's vector": {without(""), stamp, ""},
		"good among bad":       {with("webhook-signature", "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,x v1a,y "+good+" v1,"), stamp, ""},
		"no id":                {without("webhook-id"), stamp, "missing"},
		"no timestamp":         {without("webhook-timestamp"), stamp, "missing"},
		"no signature":         {without("webhook-signature"), stamp, "missing"},
		"bad timestamp":        {with("webhook-timestamp", "hello"), stamp, "malformed"},
		"another id":           {with("webhook-id", "msg_2"), stamp, "mismatch"},
		"another timestamp":    {with("webhook-timestamp", "1614265331"), stamp, "mismatch"},
		"wrong":                {with("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32))), stamp, "mismatch"},
		"empty v1":             {with("webhook-signature", "v1,"), stamp, "mismatch"},
		"only another version": {with("webhook-signature", "v1a"+good[2:]), stamp, "mismatch"},
		"not base64":           {with("webhook-signature", "v1,????"), stamp, "mismatch"},
		"five minutes old":     {without(""), stamp + 300, ""},
		"older":                {without(""), stamp + 301, "too_old"},
		"more than five ahead": {without(""), stamp - 301, "in_future"},
		"timestamp header twice": {http.Header{
			"Webhook-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Webhook-Timestamp": {"1614265330", "1"}, "Webhook-Signature": {good},
		}, stamp, "doubled"},
		"all doubled": {http.Header{
			"Webhook-Id":        {"msg_p5jXN8AQM9LWM0D4loKWxJek", "msg_p5jXN8AQM9LWM0D4loKWxJek"},
			"Webhook-Timestamp": {"1614265330", "1614265330"}, "Webhook-Signature": {good, good},
		}, stamp, ""},
		"all joined": {http.Header{
			"Webhook-Id":        {"msg_p5jXN8AQM9LWM0D4loKWxJek, msg_p5jXN8AQM9LWM0D4loKWxJek"},
			"Webhook-Timestamp": {"1614265330, 1614265330"}, "Webhook-Signature": {good + ", " + good},
		}, stamp, ""},
		"the signature joined": {with("webhook-signature", good+","+good), stamp, ""},
		"an id joined alone":   {with("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek,msg_p5jXN8AQM9LWM0D4loKWxJek"), stamp, "mismatch"},
		"under the other name": {http.Header{
			"Svix-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Svix-Timestamp": {"1614265330"}, "Svix-Signature": {good},
		}, stamp, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []string{secret, strings.TrimPrefix(secret, "whsec_")} {
				o := VerifierOptions{Secrets: []string{s}, Now: at(c.now)}
				requireReason(t, verify(t, example(t, "standard.yaml"), o, c.h, body), c.reason)
			}
		})
	}
}

func TestVerifierIsSafeForConcurrentUse(t *testing.T) {
	v, err := NewVerifier(lemon(t), VerifierOptions{Secrets: []string{"a", "s"}, Now: at(0)})
	require.NoError(t, err)
	done := make(chan error)
	for i := range 8 {
		go func() {
			var err error
			for j := 0; j < 200 && err == nil; j++ {
				body := fmt.Sprintf("%d-%d", i, j)
				err = v.Verify(http.Header{"Lmg-Signature": {"t=0,v1=" + sign("s", "0."+body)}}, []byte(body))
			}
			done <- err
		}()
	}
	for range 8 {
		require.NoError(t, <-done)
	}
}

func BenchmarkVerify(b *testing.B) {
	v, err := NewVerifier(lemon(b), VerifierOptions{Secrets: []string{strings.Repeat("0", 64)}, Tolerance: -1})
	require.NoError(b, err)
	h := http.Header{"Lmg-Signature": {"t=1,v1=" + sign(strings.Repeat("0", 64), "1."+published)}}
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify(h, []byte(published)); err != nil {
			b.Fatal(err)
		}
	}
}
