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
		"number in context":         {withField("context", `{"account":"cusa_1","order":7}`), "order account"},
		"fraction in context":       {withField("context", `{"account":"cusa_1","order":7.5}`), "account"},
		"half a pair in context":    {withField("context", `{"account":"cusa_1","order":"\ud800"}`), "account"},
		"bytes in context":          {withField("context", "{\"account\":\"cusa_1\",\"order\":\"\xff\"}"), "account"},
		"list for context":          {withField("context", `["cusa_1"]`), ""},
		"string for context":        {withField("context", `"cusa_1"`), ""},
		"flag for context":          {withField("context", `true`), ""},
		"unknown key twice":         {withField("context", `{"account":"cusa_1","moon":1,"moon":2}`), "account"},
		"half a pair in a note":     {withField("extra", `"Ann \ud83d"`), "order account"},
		"bytes in a note":           {withField("extra", "\"\xff\""), "order account"},
		"a note twice":              {withField("extra", `1,"extra":2`), "order account"},
		"deep":                      {withField("extra", strings.Repeat("[", 500)+strings.Repeat("]", 500)), "order account"},
		"byte order mark":           {"\ufeff" + withField("", ""), "order account"},
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
		"empty":                {"", "not JSON"},
		"no JSON":              {"hello", "not JSON"},
		"a form":               {"payload=%7B%22id%22%3A%22evt_1%22%7D", "body is a form, not JSON: have the provider send application/json, or set envelope.body to form"},
		"a long form":          {"id=a&type=b&c=" + strings.Repeat("x", 5000), "body is a form"},
		"no form":              {"id=a type=b", "body is not JSON"},
		"cut off":              {published[:40], "not JSON"},
		"array":                {"[" + published + "]", "body is a JSON array"},
		"string":               {`"x"`, "body is a JSON string"},
		"null":                 {"null", "body is a JSON null"},
		"trailing garbage":     {published + "x", "not JSON"},
		"two documents":        {published + published, "not JSON"},
		"id twice":             {withField("extra", `1,"id":"evt_2"`), "occurs twice"},
		"order twice":          {withField("context", `{"order":"a","order":"b"}`), "occurs twice"},
		"depth bomb":           {withField("extra", strings.Repeat("[", 100_000)), "nested deeper"},
		"one level too deep":   {withField("extra", strings.Repeat("[", 512)+strings.Repeat("]", 512)), "nested deeper than 512"},
		"no id":                {withField("id", ""), "id is nothing"},
		"null id":              {withField("id", "null"), "id is null"},
		"empty id":             {withField("id", `""`), "id is empty"},
		"path step for id":     {withField("id", `".."`), "path step"},
		"control char in id":   {withField("id", `"a\u0000"`), "control character"},
		"fraction for id":      {withField("id", "1.5"), "id is number"},
		"type twice":           {withField("extra", `1,"type":"order.sold"`), "occurs twice"},
		"context twice":        {withField("extra", `1,"context":{}`), "occurs twice"},
		"an id twice, no text": {withField("context", `{"order":null,"order":"b"}`), "occurs twice"},
		"bytes in id":          {withField("id", "\"\xff\""), "not UTF-8"},
		"half a pair in type":  {withField("type", `"\ud800"`), "surrogate"},
		"half a pair in id":    {withField("id", `"\ud800"`), "surrogate"},
		"long id":              {withField("id", `"`+strings.Repeat("x", 256)+`"`), "longer than 255"},
		"no type":              {withField("type", ""), "type is nothing"},
		"list for type":        {withField("type", `["order.created"]`), "type is array"},
		"empty type":           {withField("type", `""`), "type is not usable"},
		"long type":            {withField("type", `"`+strings.Repeat("x", 256)+`"`), "type is not usable"},
		"line break in type":   {withField("type", `"a\nb"`), "type is not usable"},
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
	d := stripe(t)
	text := `{"id":"evt_1","object":"event","created":1700000000,"type":"product.updated","livemode":true,"data":{"object":{"id":"prod_1","object":"product","metadata":{"id":"x"}},"previous_attributes":{}}}`
	e, err := d.Event("shop", nil, []byte(text), now)
	require.NoError(t, err)
	require.Equal(t, time.Unix(1700000000, 0).UTC(), e.CreatedAt)
	require.Equal(t, []event.Ref{{Key: event.Key{Source: "shop", Kind: "product", ID: "prod_1"}}}, e.Entities)

	for name, created := range map[string]string{
		"text": `"1700000000"`, "fraction": "1.5", "negative": "-1", "beyond year 9999": "253402300800",
	} {
		t.Run(name, func(t *testing.T) {
			e, err := d.Event("shop", nil, []byte(strings.Replace(text, "1700000000", created, 1)), now)
			require.NoError(t, err, "that costs the time, not the hint")
			require.True(t, e.Undated)
			require.Zero(t, e.CreatedAt)
			require.Equal(t, "product", kindsOf(e.Entities))
		})
	}
	e, err = d.Event("shop", nil, []byte(strings.Replace(text, `"prod_1"`, "1", 1)), now)
	require.NoError(t, err)
	require.Equal(t, "1", e.Entities[0].Key.ID, "a whole number is an id by its text")
	e, err = d.Event("shop", nil, []byte(strings.Replace(text, `"prod_1"`, "{}", 1)), now)
	require.NoError(t, err)
	require.True(t, e.Unnamed)
	_, err = d.Event("shop", nil, []byte(strings.Replace(text, `"id":"prod_1"`, `"id":"prod_1","id":"prod_2"`, 1)), now)
	require.ErrorContains(t, err, "occurs twice")
}

// What cannot be read as a time costs the time. RFC 3339 is read whole.
func TestTimesOfEvents(t *testing.T) {
	at := func(text string) time.Time {
		got, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return got.UTC()
	}
	for name, c := range map[string]struct{ created, want string }{
		"a leap second":            {`"2016-12-31T23:59:60Z"`, "2017-01-01T00:00:00Z"},
		"a leap second, elsewhere": {`"2016-12-31T15:59:60.25-08:00"`, "2017-01-01T00:00:00.25Z"},
		"lower case":               {`"2026-11-28t10:00:00.5z"`, "2026-11-28T10:00:00.5Z"},
		"a space":                  {`"2026-11-28 10:00:00+01:00"`, "2026-11-28T09:00:00Z"},
		"twelve digits":            {`"2026-11-28T10:00:00.123456789123Z"`, "2026-11-28T10:00:00.123456789Z"},
		"the last there is":        {`"9999-12-31T23:59:59Z"`, "9999-12-31T23:59:59Z"},
		"null":                     {`null`, ""},
		"nothing":                  {"", ""},
		"a number":                 {"1688049630", ""},
		"without zone":             {`"2026-07-01T12:00:00"`, ""},
		"zone without colon":       {`"2021-12-23T11:26:21+0100"`, ""},
		"a day":                    {`"2026-07-01"`, ""},
		"a 61st second":            {`"2026-07-01T12:00:61Z"`, ""},
		"year 10000 in UTC":        {`"9999-12-31T23:59:59-01:00"`, ""},
		"year 9999, leap second":   {`"9999-12-31T23:59:60Z"`, ""},
		"year 0":                   {`"0000-06-01T00:00:00Z"`, ""},
		"before year 0 in UTC":     {`"0000-01-01T00:00:00+01:00"`, ""},
		"the zero time":            {`"0001-01-01T00:00:00Z"`, ""},
		"two":                      {`"2026-07-01T12:00:00Z","created_at":"2026-07-01T12:00:00Z"`, ""},
		"an object":                {`{"seconds":1}`, ""},
		"an empty text":            {`""`, ""},
		"sixty, and then nothing":  {`"2016-12-31T23:59:60"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := lemon(t).Event("lemon", nil, []byte(withField("created_at", c.created)), now)
			require.NoError(t, err)
			require.Equal(t, "order account", kindsOf(e.Entities), "the hint is as good as ever")
			require.Equal(t, c.want == "", e.Undated)
			want := time.Time{}
			if c.want != "" {
				want = at(c.want)
			}
			require.Equal(t, want, e.CreatedAt)
			_, err = e.CreatedAt.MarshalJSON()
			require.NoError(t, err, "it can be written again")
		})
	}
}

// A context that drifts does nothing in silence.
func TestContextsThatDrift(t *testing.T) {
	for name, c := range map[string]struct {
		typ, context string
		kinds        string
		needs        bool // parents
		unnamed      bool
	}{
		"as documented":           {"trade.created", `{"account":"a","trade":"t"}`, "trade account", false, false},
		"a whole number":          {"trade.created", `{"account":"a","trade":4711}`, "trade account", false, false},
		"expanded":                {"trade.created", `{"account":{"id":"a"},"trade":{"id":"t"}}`, "", false, true},
		"the primary expanded":    {"trade.created", `{"account":"a","trade":{"id":"t"}}`, "account", false, true},
		"the parent missing":      {"trade.created", `{"trade":"t"}`, "trade", true, true},
		"the parent expanded":     {"trade.created", `{"account":{"id":"a"},"trade":"t"}`, "trade", true, true},
		"a further one's missing": {"identification.started", `{"person":"p","identification":"i","trade":"t"}`, "identification person trade", true, false},
		"the first of two":        {"deposit.created", `{"transaction":"t"}`, "transaction", true, true},
		"the other of two":        {"corporate_action.created", `{"corporate_action":"c"}`, "corporate_action", false, false},
		"nothing":                 {"trade.created", `{}`, "", false, true},
		"an unknown type":         {"moon.risen", `{"account":"a"}`, "account", false, false},
		"an unknown type and id":  {"moon.risen", `{"moon":"m"}`, "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := lemon(t)
			body := strings.Replace(withField("context", c.context), "order.created", c.typ, 1)
			e, err := d.Event("lemon", nil, []byte(body), now)
			require.NoError(t, err)
			require.Equal(t, c.kinds, kindsOf(e.Entities))
			require.Equal(t, c.needs, d.NeedsParents(e))
			require.Equal(t, c.unnamed, e.Unnamed)
		})
	}
}

func TestKnownParentsAreUsed(t *testing.T) {
	d := lemon(t)
	body := strings.Replace(withField("context", `{"trade":"t_1","document":"d_1","person":"p_1"}`), "order.created", "trade.created", 1)
	read := func() *event.Event {
		e, err := d.Event("lemon", nil, []byte(body), now)
		require.NoError(t, err)
		require.True(t, e.Unnamed)
		return e
	}
	e := read()
	under := map[string]string{"account": "a_1", "moon": "m"}
	d.Complete(e, func(k event.Key) (map[string]string, bool) {
		if k.Kind == "trade" {
			return under, true
		}
		return nil, true
	})
	require.Equal(t, []event.Ref{
		{Key: event.Key{Source: "lemon", Kind: "person", ID: "p_1"}},
		{Key: event.Key{Source: "lemon", Kind: "trade", ID: "t_1"}, Parents: map[string]string{"account": "a_1"}},
	}, e.Entities, "an entity with unknown parents is left out")
	require.False(t, e.Unnamed)

	e = read()
	d.Complete(e, func(event.Key) (map[string]string, bool) { return nil, true })
	require.Equal(t, "person", kindsOf(e.Entities))
	require.True(t, e.Unnamed)

	e = read()
	all := kindsOf(e.Entities)
	d.Complete(e, func(event.Key) (map[string]string, bool) { return nil, false })
	require.Equal(t, all, kindsOf(e.Entities), "an entity whose parents are uncertain stays")
	require.False(t, e.Unnamed)
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
// proves nothing.
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
	joined := http.Header{}
	for name, values := range family("webhook", "msg_1") {
		joined.Set(name, values[0]+", "+values[0])
	}
	require.NoError(t, v.Verify(joined, []byte(body)))
	e1, err := d.Event("app", joined, []byte(body), now)
	require.NoError(t, err)
	require.Equal(t, "msg_1", e1.ID, "the id that was signed, not what a proxy made of it")
	_, err = d.Event("app", http.Header{"Svix-Signature": {"v1,"}}, []byte(body), now)
	require.EqualError(t, err, "header svix-id: id is empty")
	e, err := d.Stored(&event.Event{Source: "app", ID: "msg_2", Payload: []byte(body), ReceivedAt: now})
	require.NoError(t, err)
	require.Equal(t, "msg_2", e.ID)
}

func TestAListOfEventsHasNoHeaders(t *testing.T) {
	text, err := os.ReadFile("testdata/standard.yaml")
	require.NoError(t, err)
	_, err = Parse("standard.yaml", []byte(strings.Replace(string(text), "probe: /me", "probe: /me\n  events: {path: /events}", 1)))
	require.ErrorContains(t, err, "api.events.path: is of no use with envelope.id: events in a list come without headers")
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
func TestEventsShareNoMemory(t *testing.T) {
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
