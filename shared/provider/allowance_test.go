package provider

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

func TestRateHeaders(t *testing.T) {
	unix := strconv.FormatInt(now.Add(90*time.Second).Unix(), 10)
	for name, c := range map[string]struct {
		style   string
		headers []string
		want    *Allowance
	}{
		"seconds to go":       {"x-ratelimit", []string{"X-RateLimit-Remaining", "7", "X-RateLimit-Reset", "30"}, &Allowance{7, now.Add(30 * time.Second)}},
		"Unix time":           {"x-ratelimit", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix}, &Allowance{0, now.Add(90 * time.Second)}},
		"a window gone by":    {"x-ratelimit", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "0"}, nil},
		"no end":              {"x-ratelimit", []string{"X-RateLimit-Remaining", "7"}, nil},
		"no number":           {"x-ratelimit", []string{"X-RateLimit-Remaining", "-1", "X-RateLimit-Reset", "30"}, nil},
		"years":               {"x-ratelimit", []string{"X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "999999999"}, &Allowance{1, now.Add(time.Hour)}},
		"another's headers":   {"x-ratelimit", []string{"RateLimit-Remaining", "7", "RateLimit-Reset", "30"}, nil},
		"not configured":      {"none", []string{"X-RateLimit-Remaining", "7", "X-RateLimit-Reset", "30"}, nil},
		"old draft":           {"ratelimit", []string{"RateLimit-Remaining", "7", "RateLimit-Reset", "30"}, &Allowance{7, now.Add(30 * time.Second)}},
		"new draft":           {"ratelimit", []string{"RateLimit", `"default";r=50;t=30`}, &Allowance{50, now.Add(30 * time.Second)}},
		"draft 7":             {"ratelimit", []string{"RateLimit", "limit=100, remaining=50, reset=30"}, &Allowance{50, now.Add(30 * time.Second)}},
		"draft 7, policies":   {"ratelimit", []string{"RateLimit", "limit=10;w=1, remaining=0;x=1,reset=30"}, &Allowance{0, now.Add(30 * time.Second)}},
		"draft 7, used up":    {"ratelimit", []string{"RateLimit", "limit=10, reset=30"}, nil},
		"two drafts":          {"ratelimit", []string{"RateLimit", "?1", "RateLimit-Remaining", "7", "RateLimit-Reset", "30"}, &Allowance{7, now.Add(30 * time.Second)}},
		"decimals":            {"x-ratelimit", []string{"X-RateLimit-Remaining", "587.9", "X-RateLimit-Reset", "30.5"}, &Allowance{587, now.Add(30 * time.Second)}},
		"no decimals":         {"x-ratelimit", []string{"X-RateLimit-Remaining", "5.x", "X-RateLimit-Reset", "30"}, nil},
		"the tightest policy": {"ratelimit", []string{"RateLimit", `"day";r=900;t=3000, "second"; r=3; t=1, "broken";r=1`}, &Allowance{3, now.Add(time.Second)}},
		"nonsense":            {"ratelimit", []string{"RateLimit", `;;=,r=1;t=`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := rated(t, c.style, answers(200, order, c.headers...))
			_, err := client.Fetch(t.Context(), orderRef, "x")
			require.NoError(t, err)
			got, ok := client.Allowance()
			require.Equal(t, c.want != nil, ok)
			if ok {
				require.Equal(t, *c.want, got)
			}
		})
	}
}

// A refusal without Retry-After may still say when to come back.
func TestRefusalHasItsResetFromRateHeaders(t *testing.T) {
	client := rated(t, "x-ratelimit", answers(429, `{"message":"slow down"}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "42"))
	_, err := client.Fetch(t.Context(), orderRef, "x")
	class, after := fate.Of(err)
	require.Equal(t, fate.Throttled, class)
	require.Equal(t, 42*time.Second, after)
}

// Some providers answer 403 in place of 429 when the limit is used up. It is told from
// one that concerns the key by their own headers.
func TestAForbiddenAnswerThatIsARateLimit(t *testing.T) {
	for name, c := range map[string]struct {
		style   string
		headers []string
		class   fate.Class
		after   time.Duration
	}{
		"used up":          {"x-ratelimit", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "42"}, fate.Throttled, 42 * time.Second},
		"some left":        {"x-ratelimit", []string{"X-RateLimit-Remaining", "7", "X-RateLimit-Reset", "42"}, fate.Refused, 0},
		"another's header": {"none", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "42"}, fate.Refused, 0},
		"and a time":       {"x-ratelimit", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "42", "Retry-After", "60"}, fate.Throttled, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rated(t, c.style, answers(403, `{"message":"no"}`, c.headers...)).Fetch(t.Context(), orderRef, "x")
			class, after := fate.Of(err)
			require.Equal(t, c.class, class)
			require.Equal(t, c.after, after)
		})
	}
}

// rated is a client of a provider with rate headers of a style.
func rated(t *testing.T, style string, answer http.HandlerFunc) *Client {
	t.Helper()
	c := server(t, ClientOptions{}, answer)
	text, err := builtin.ReadFile("definitions/lemon.yaml")
	require.NoError(t, err)
	with := strings.Replace(string(text), "\n  probe:", "\n  rate_headers: "+style+"\n  probe:", 1)
	c.def, err = Parse("lemon.yaml", []byte(with))
	require.NoError(t, err)
	return c
}
