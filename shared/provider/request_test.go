package provider

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// roundTrip is a transport that answers from memory.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// memory returns a client of a provider whose answers are in memory.
func memory(tb testing.TB, o ClientOptions, answer roundTrip) *Client {
	tb.Helper()
	o.BaseURL, o.Key = "https://api.example/v1", "key_1"
	c, err := NewClient(lemon(tb), o)
	require.NoError(tb, err)
	c.http = &http.Client{Transport: answer}
	return c
}

// jsonAnswer is an answer with a body and a Content-Length of its choice.
func jsonAnswer(body io.Reader, length int64) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, ContentLength: length, Body: io.NopCloser(body),
		Header: http.Header{"Content-Type": {"application/json"}},
	}
}

func TestHeadersOfARequest(t *testing.T) {
	for name, c := range map[string]struct {
		template, name, want string
	}{
		"fixed":                   {"tarn", "X-Name", "tarn"},
		"the principal":           {"by {principal}.", "X-By", "by ops{justification}."},
		"the justification":       {"{justification}", "X-Why", "webhook-1"},
		"both, twice":             {"{justification}{principal}/{justification}", "X-Both", "webhook-1ops{justification}/webhook-1"},
		"what is accepted":        {"text/{justification}", "Accept", "text/webhook-1"},
		"what is accepted, fixed": {"application/vnd.api+json", "Accept", "application/vnd.api+json"},
		"who asks":                {"shop-mirror (ops@shop.example)", "User-Agent", "shop-mirror (ops@shop.example)"},
	} {
		t.Run(name, func(t *testing.T) {
			d := *lemon(t)
			d.api.headers = http.Header{c.name: {c.template}}
			client, err := NewClient(&d, ClientOptions{BaseURL: "https://api.example/v1", Key: "k", Principal: "ops{justification}"})
			require.NoError(t, err)
			for range 2 { // what one request fills in is not in the next
				req, err := client.request(t.Context(), call{path: "/accounts", why: "webhook-1"})
				require.NoError(t, err)
				want := http.Header{"Accept": {"application/json"}, "User-Agent": {"tarn"}, "Authorization": {"Bearer k"}}
				want.Set(c.name, c.want)
				require.Equal(t, want, req.Header)
			}
			other, err := client.WithKey("k2")
			require.NoError(t, err)
			req, err := other.request(t.Context(), call{path: "/accounts", why: "other"})
			require.NoError(t, err)
			require.Equal(t, "Bearer k2", req.Header.Get("Authorization"))
			require.Equal(t, strings.ReplaceAll(c.want, "webhook-1", "other"), req.Header.Get(c.name))
			require.Equal(t, "https://api.example/v1/accounts", req.URL.String())
		})
	}
}

func TestBodiesAndTheirLengths(t *testing.T) {
	const most = 100 << 10
	long := strings.Repeat("x", trustedLength+1)
	for name, c := range map[string]struct {
		body   string
		length int64
		want   int // bytes
		err    error
	}{
		"as announced":         {"12345", 5, 5, nil},
		"not announced":        {"12345", -1, 5, nil},
		"empty":                {"", 0, 0, nil},
		"cut":                  {"1234", 5, 0, io.ErrUnexpectedEOF},
		"long, as announced":   {long, int64(len(long)), len(long), nil},
		"too long":             {long + long, 2 * int64(len(long)), most, nil},
		"too long, in secrecy": {long + long, -1, most, nil},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := readBody(jsonAnswer(strings.NewReader(c.body), c.length), most)
			require.ErrorIs(t, err, c.err)
			if err == nil {
				require.Len(t, body, c.want)
			}
		})
	}
}

// An announced length makes no memory that the body does not fill.
func TestALengthThatIsOnlyAnnounced(t *testing.T) {
	const announced = 1 << 30
	var body cutBody
	_, err := readBody(jsonAnswer(&body, announced), announced+1)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, body.room, trustedLength)
}

// cutBody ends before its first byte. room is for how many bytes it was read.
type cutBody struct{ room int }

// Read notes the room there was.
func (b *cutBody) Read(p []byte) (int, error) {
	b.room = max(b.room, len(p))
	return 0, io.ErrUnexpectedEOF
}

// benchmarkOrder is an order as long as the provider's.
const benchmarkOrder = `{"id":"bord_1","side":"buy","type":"market","instrument":"IE00B4L5Y983","amount":"250.00","fee":"0.10",` +
	`"fees":{"pct":"0.00","base_amount":"0.10"},"currency":"EUR","regulatory_disclosures":{"estimated_amount":"250.00",` +
	`"estimated_price":"98.7300","estimated_quantity":"2.532158","service_costs_total":"0.10","service_costs_total_pct":"0.04",` +
	`"grants_total":"0.00","grants_total_pct":"0.00","exit_costs_total":"0.10","exit_costs_total_pct":"0.04"},` +
	`"appropriateness_check":{"required":false},"sca":{"required":true,"challenge":"c2ltdWxhdGVkIGNoYWxsZW5nZQ=="},` +
	`"securities_account":"cssa_1","history":[` +
	`{"status":"executed","timestamp":"2026-01-05T09:00:03.000000+00:00"},{"status":"accepted","timestamp":"2026-01-05T09:00:02.000000+00:00"},` +
	`{"status":"confirmed","timestamp":"2026-01-05T09:00:01.000000+00:00"},{"status":"created","timestamp":"2026-01-05T09:00:00.000000+00:00"}]}`

// BenchmarkFetch is a fetch without the network: the request, the answer read and
// interpreted.
func BenchmarkFetch(b *testing.B) {
	body := []byte(benchmarkOrder)
	c := memory(b, ClientOptions{}, func(*http.Request) *http.Response {
		a := jsonAnswer(bytes.NewReader(body), int64(len(body)))
		a.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return a
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Fetch(b.Context(), orderRef, "webhook-evt_1"); err != nil {
			b.Fatal(err)
		}
	}
}
