package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// published is the example of the provider's guide.
const published = `{"id":"evt_a8b11a37eccc49ecacb372e3a92a184d","type":"account.created","created_at":"2023-06-29T14:40:30.523373+00:00","context":{"account":"cusa_33531f7f801d4ce997747470ab7208fd"}}`

func TestEvent(t *testing.T) {
	e, err := lemon(t).Event("brokerage", nil, []byte(published), now.In(time.FixedZone("", 7200)))
	require.NoError(t, err)
	of := func(kinds ...string) (refs []event.Ref) {
		for _, kind := range kinds {
			refs = append(refs, event.Ref{Key: event.Key{Source: "brokerage", Kind: kind, ID: "cusa_33531f7f801d4ce997747470ab7208fd"}})
		}
		return refs
	}
	require.Equal(t, &event.Event{
		Source:     "brokerage",
		ID:         "evt_a8b11a37eccc49ecacb372e3a92a184d",
		Type:       "account.created",
		CreatedAt:  time.Date(2023, 6, 29, 14, 40, 30, 523373000, time.UTC),
		ReceivedAt: now,
		Entities:   of("account"),
		Derived:    of("financials", "treasury_financials", "positions", "tax_exemption_usages", "checks"),
		Payload:    []byte(published),
	}, e)
}

// withField returns a body in which one field of a good one is replaced by
// JSON text, or left out if that is "".
func withField(name, text string) string {
	fields := map[string]string{
		"id": `"evt_1"`, "type": `"order.created"`, "created_at": `"2026-07-01T12:00:00Z"`,
		"context": `{"account":"cusa_1","order":"bord_1"}`,
	}
	fields[name] = text
	var parts []string
	for _, n := range []string{"id", "type", "created_at", "context", "extra"} {
		if fields[n] != "" {
			parts = append(parts, `"`+n+`":`+fields[n])
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestEventKeepsWhatItDoesNotKnow(t *testing.T) {
	for name, c := range map[string]struct{ body, kinds string }{
		"unknown field":             {withField("extra", `{"a":[1]}`), "order account"},
		"no context":                {withField("context", ""), ""},
		"null context":              {withField("context", "null"), ""},
		"empty context":             {withField("context", "{}"), ""},
		"unknown key in context":    {withField("context", `{"account":"cusa_1","moon":"m_1"}`), "account"},
		"null id in context":        {withField("context", `{"account":"cusa_1","order":null}`), "account"},
		"number in context":         {withField("context", `{"account":"cusa_1","order":7}`), "account"},
		"object in context":         {withField("context", `{"account":"cusa_1","order":{"id":"x"}}`), "account"},
		"empty id in context":       {withField("context", `{"account":"cusa_1","order":""}`), "account"},
		"path step in context":      {withField("context", `{"account":"cusa_1","order":".."}`), "account"},
		"control char in context":   {withField("context", `{"account":"cusa_1","order":"a\nb"}`), "account"},
		"long id in context":        {withField("context", `{"account":"cusa_1","order":"`+strings.Repeat("x", 256)+`"}`), "account"},
		"an id with a slash":        {withField("context", `{"account":"cusa_1","order":"a/b"}`), "order account"},
		"white space":               {" \n" + withField("", "") + "\r\n", "order account"},
		"whole seconds":             {withField("created_at", `"2026-07-01T12:00:00+02:00"`), "order account"},
		"type of one letter":        {withField("type", `"x"`), "order account"},
		"longest type":              {withField("type", `"`+strings.Repeat("x", 255)+`"`), "order account"},
		"id written with an escape": {withField("id", `"evt_\u0031"`), "order account"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := lemon(t).Event("lemon", nil, []byte(c.body), now)
			require.NoError(t, err)
			require.Equal(t, c.kinds, kindsOf(e.Entities))
			require.Equal(t, c.body, string(e.Payload), "byte for byte")
			require.Equal(t, "evt_1", e.ID)
		})
	}
}

func TestEventRefusesMalformedBodies(t *testing.T) {
	for name, c := range map[string]struct{ body, reason string }{
		"empty":                 {"", "not JSON"},
		"no JSON":               {"hello", "not JSON"},
		"cut off":               {published[:40], "not JSON"},
		"array":                 {"[" + published + "]", "body is a JSON array"},
		"string":                {`"x"`, "body is a JSON string"},
		"null":                  {"null", "body is a JSON null"},
		"trailing garbage":      {published + "x", "not JSON"},
		"two documents":         {published + published, "not JSON"},
		"not UTF-8":             {withField("extra", "\"\xff\""), "not UTF-8"},
		"byte order mark":       {"\ufeff" + published, "not JSON"},
		"id twice":              {withField("extra", `1,"id":"evt_2"`), "stands twice"},
		"order twice":           {withField("context", `{"order":"a","order":"b"}`), "stands twice"},
		"depth bomb":            {withField("extra", strings.Repeat("[", 100_000)), "nested deeper"},
		"one level too deep":    {withField("extra", strings.Repeat("[", 64)+strings.Repeat("]", 64)), "nested deeper than 64"},
		"no id":                 {withField("id", ""), "id is nothing"},
		"null id":               {withField("id", "null"), "id is null"},
		"number for id":         {withField("id", "1"), "id is number"},
		"empty id":              {withField("id", `""`), "id is empty"},
		"path step for id":      {withField("id", `".."`), "path step"},
		"control char in id":    {withField("id", `"a\u0000"`), "control character"},
		"half a pair in id":     {withField("id", `"\ud800"`), "surrogate"},
		"long id":               {withField("id", `"`+strings.Repeat("x", 256)+`"`), "longer than 255"},
		"no type":               {withField("type", ""), "type is nothing"},
		"list for type":         {withField("type", `["order.created"]`), "type is array"},
		"empty type":            {withField("type", `""`), "type is not usable"},
		"long type":             {withField("type", `"`+strings.Repeat("x", 256)+`"`), "type is not usable"},
		"line break in type":    {withField("type", `"a\nb"`), "type is not usable"},
		"no created_at":         {withField("created_at", ""), "created_at: is nothing"},
		"number for created_at": {withField("created_at", "1688049630"), "created_at: is number"},
		"no zone in created_at": {withField("created_at", `"2026-07-01T12:00:00"`), "not an RFC 3339 time"},
		"day for created_at":    {withField("created_at", `"2026-07-01"`), "not an RFC 3339 time"},
		"list for context":      {withField("context", `["cusa_1"]`), "context is array"},
		"string for context":    {withField("context", `"cusa_1"`), "context is string"},
		"flag for context":      {withField("context", `true`), "context is true"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lemon(t).Event("lemon", nil, []byte(c.body), now)
			var malformed *EnvelopeError
			require.ErrorAs(t, err, &malformed)
			require.Contains(t, malformed.Reason, c.reason)
			require.Less(t, len(malformed.Reason), 400, "the reason goes back to a stranger")
		})
	}
}

func TestEventOfStripe(t *testing.T) {
	d := example(t, "stripe.yaml")
	text := `{"id":"evt_1","object":"event","created":1700000000,"type":"product.updated","data":{"object":{"id":"prod_1","object":"product","metadata":{"id":"x"}},"previous_attributes":{}}}`
	e, err := d.Event("shop", nil, []byte(text), now)
	require.NoError(t, err)
	require.Equal(t, time.Unix(1700000000, 0).UTC(), e.CreatedAt)
	require.Equal(t, []event.Ref{{Key: event.Key{Source: "shop", Kind: "product", ID: "prod_1"}}}, e.Entities)

	for name, created := range map[string]string{
		"text": `"1700000000"`, "fraction": "1.5", "negative": "-1", "beyond year 9999": "253402300800", "a thin event's": `"2026-07-01T12:00:00Z"`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Event("shop", nil, []byte(strings.Replace(text, "1700000000", created, 1)), now)
			require.ErrorContains(t, err, "created: is")
		})
	}
	e, err = d.Event("shop", nil, []byte(strings.Replace(text, `"prod_1"`, "1", 1)), now)
	require.NoError(t, err)
	require.Empty(t, e.Entities)
}

func TestEventOfStandardWebhooks(t *testing.T) {
	d := example(t, "standard.yaml")
	text := []byte(`{"type":"user.created","timestamp":"2026-07-01T12:00:00Z","data":{"user_id":"u_1","name":"x"}}`)
	e, err := d.Event("app", http.Header{"Webhook-Id": {"msg_1"}}, text, now)
	require.NoError(t, err)
	require.Equal(t, "msg_1", e.ID)
	require.Equal(t, "user", kindsOf(e.Entities))

	_, err = d.Event("app", nil, text, now)
	require.EqualError(t, err, "header webhook-id: id is empty")
}

// The id is of the family whose signature is checked: the header of the other
// is anybody's word.
func TestTheIDIsOfTheSignedFamily(t *testing.T) {
	d := example(t, "standard.yaml")
	body := `{"type":"user.created","timestamp":"2026-07-01T12:00:00Z","data":{"user_id":"u_1"}}`
	family := func(name, id string) http.Header {
		stamp := strconv.FormatInt(now.Unix(), 10)
		mac := hmac.New(sha256.New, []byte("secret"))
		_, _ = mac.Write([]byte(id + "." + stamp + "." + body))
		h := http.Header{}
		h.Set(name+"-id", id)
		h.Set(name+"-timestamp", stamp)
		h.Set(name+"-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		return h
	}
	both := family("svix", "msg_2")
	maps.Copy(both, family("webhook", "msg_1"))
	forged := family("svix", "msg_2")
	forged.Set("webhook-id", "msg_again")
	v, err := NewVerifier(d, VerifierOptions{Secrets: []string{"whsec_c2VjcmV0"}, Now: func() time.Time { return now }})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		h    http.Header
		want string
	}{
		"webhook":               {family("webhook", "msg_1"), "msg_1"},
		"svix":                  {family("svix", "msg_2"), "msg_2"},
		"both":                  {both, "msg_1"},
		"svix, webhook's added": {forged, "msg_2"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, v.Verify(c.h, []byte(body)))
			e, err := d.Event("app", c.h, []byte(body), now)
			require.NoError(t, err)
			require.Equal(t, c.want, e.ID)
		})
	}
	_, err = d.Event("app", http.Header{"Svix-Signature": {"v1,"}}, []byte(body), now)
	require.EqualError(t, err, "header svix-id: id is empty")
	e, err := d.Stored("app", "msg_2", []byte(body), now)
	require.NoError(t, err)
	require.Equal(t, "msg_2", e.ID)
}

func TestAListOfEventsHasNoHeaders(t *testing.T) {
	text, err := os.ReadFile("testdata/standard.yaml")
	require.NoError(t, err)
	_, err = Parse("standard.yaml", []byte(strings.Replace(string(text), "probe: /me", "probe: /me\n  events: {path: /events}", 1)))
	require.ErrorContains(t, err, "api.events.path: is of no use with envelope.id_header")
}

func BenchmarkEvent(b *testing.B) {
	d := lemon(b)
	small := []byte(published)
	large := []byte(withField("extra", `"`+strings.Repeat("x", 200<<10)+`"`))
	for name, body := range map[string][]byte{"as-documented": small, "200-KiB": large} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Event("lemon", nil, body, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What one reading leaves in the memory the next one uses must not show.
func TestEventsKeepNothingOfEachOther(t *testing.T) {
	d := lemon(t)
	read := func(text string) *event.Event {
		body := []byte(text)
		e, err := d.Event("lemon", nil, body, now)
		require.NoError(t, err)
		e.Payload = nil
		for i := range body {
			body[i] = 'x' // as a buffer that is used again
		}
		return e
	}
	long := func(c string) string { return strings.Repeat(c, event.MaxID) }
	wide := withField("context", `{"account":"`+long("a")+`","order":"`+long("o")+`","trade":"t\u0031","person":"`+long("p")+`"}`)
	small := read(published)
	first := read(wide)
	second := read(wide)
	require.Equal(t, first, second)
	require.Equal(t, small, read(published))

	require.Equal(t, "evt_1", first.ID)
	require.Equal(t, "order.created", first.Type)
	under := map[string]string{"account": long("a")}
	require.Equal(t, []event.Ref{
		{Key: event.Key{Source: "lemon", Kind: "order", ID: long("o")}, Parents: under},
		{Key: event.Key{Source: "lemon", Kind: "trade", ID: "t1"}, Parents: under},
		{Key: event.Key{Source: "lemon", Kind: "person", ID: long("p")}},
		{Key: event.Key{Source: "lemon", Kind: "account", ID: long("a")}},
	}, first.Entities)
	require.Equal(t, []event.Ref{{Key: event.Key{Source: "lemon", Kind: "financials", ID: long("a")}}}, first.Derived)

	more := append(first.Entities, event.Ref{})
	require.Len(t, more, 5)
	require.Equal(t, second.Derived, first.Derived, "appending to one does not write into the other")
}
