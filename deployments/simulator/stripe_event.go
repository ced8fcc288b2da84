package simulator

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stripeEvent is a snapshot event: the body of its webhook, and its element in the
// list of events.
type stripeEvent struct {
	ID         string          `json:"id"`
	Object     string          `json:"object"`
	Account    string          `json:"account,omitempty"`
	APIVersion string          `json:"api_version"`
	Created    int64           `json:"created"`
	Data       stripeEventData `json:"data"`
	Livemode   bool            `json:"livemode"`
	Pending    int             `json:"pending_webhooks"`
	Request    stripeRequest   `json:"request"`
	Type       string          `json:"type"`
}

type stripeEventData struct {
	Object   json.RawMessage            `json:"object"`
	Previous map[string]json.RawMessage `json:"previous_attributes,omitempty"`
}

type stripeRequest struct {
	ID             *string `json:"id"`
	IdempotencyKey *string `json:"idempotency_key"`
}

// Words of a notice's context, for what a thin event says of its object.
const (
	aboutKind = "kind"
	aboutID   = "id"
)

// writeStripeEvent writes the whole object as it is after the change, of a deleted
// one as it was last.
func writeStripeEvent(c *change, n *notice, about *entity, _ func(string) string) {
	d := c.draft(about)
	var previous map[string]json.RawMessage
	if strings.HasSuffix(n.Type, ".updated") && len(about.versions) > 0 {
		previous = changed(about.current().State, d.state)
	}
	n.Context = map[string]string{aboutKind: about.kind.name, aboutID: about.id}
	account := about.links[connected]
	if about.kind.name == "account" {
		account = about.id
	}
	if account != "" {
		n.Context[connected] = account
	}
	n.Body = c.encode(stripeEvent{
		ID: n.ID, Object: "event", Account: account, APIVersion: stripeVersion, Created: n.CreatedAt.Unix(),
		Data:     stripeEventData{Object: stripeShown(about.kind, d.state), Previous: previous},
		Livemode: true, Pending: 1, Request: requestOf(c.write), Type: n.Type,
	})
}

// requestOf is what an event says of the request that caused it.
func requestOf(f *WriteFacts) stripeRequest {
	if f == nil {
		return stripeRequest{}
	}
	r := stripeRequest{ID: &f.RequestID}
	if f.Key != "" {
		r.IdempotencyKey = &f.Key
	}
	return r
}

// changed returns the members of an object that another one does not have, or has
// otherwise. Lists are left out.
func changed(before, after json.RawMessage) map[string]json.RawMessage {
	var old, now map[string]json.RawMessage
	if json.Unmarshal(before, &old) != nil || json.Unmarshal(after, &now) != nil {
		return nil
	}
	maps.DeleteFunc(old, func(name string, v json.RawMessage) bool {
		return bytes.Equal(v, now[name]) || bytes.HasPrefix(v, []byte(`{"object":"list"`))
	})
	return old
}

func readStripeEvent(text json.RawMessage) (*notice, error) {
	var body stripeEvent
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	var object struct{ ID, Object string }
	if err := json.Unmarshal(body.Data.Object, &object); err != nil {
		return nil, err
	}
	if object.ID == "" {
		object.ID = rootID
	}
	context := map[string]string{aboutKind: object.Object, aboutID: object.ID}
	if body.Account != "" {
		context[connected] = body.Account
	}
	return &notice{ID: body.ID, Type: body.Type, CreatedAt: time.Unix(body.Created, 0).UTC(), Context: context}, nil
}

// thinEvent is an event that names its object and has no data.
type thinEvent struct {
	ID       string      `json:"id"`
	Object   string      `json:"object"`
	Context  *string     `json:"context"`
	Created  string      `json:"created"`
	Livemode bool        `json:"livemode"`
	Related  thinObject  `json:"related_object"`
	Reason   *thinReason `json:"reason"`
	Snapshot string      `json:"snapshot_event"`
	Type     string      `json:"type"`
}

type thinObject struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	URL  string `json:"url"`
}

type thinReason struct {
	Type string `json:"type"`
}

// thinStripeEvent is the thin twin of an event, which has an id of its own.
func thinStripeEvent(k *kind, n *notice) json.RawMessage {
	url := "/v1" + k.path
	if k.shape == single {
		url += "/" + n.Context[aboutID]
	}
	var context *string
	if account := n.Context[connected]; account != "" {
		context = &account
	}
	body, _ := json.Marshal(thinEvent{ // texts alone
		Context: context,
		ID:      fmt.Sprintf("evt_thin_%016x", hashOf(n.ID)), Object: "v2.core.event",
		Created: n.CreatedAt.Format("2006-01-02T15:04:05.000Z"), Livemode: true,
		Related:  thinObject{ID: n.Context[aboutID], Type: k.name, URL: url},
		Snapshot: n.ID, Type: "v1." + n.Type,
	})
	return body
}

// testStripeEvent is an event of test mode about an object of test mode: a live
// endpoint may get some, and the live API knows neither.
func testStripeEvent(n *notice, body json.RawMessage) json.RawMessage {
	asTest := func(id string) string {
		if i := strings.LastIndexByte(id, '_'); i >= 0 {
			return id[:i+1] + "test" + id[i+1:]
		}
		return id
	}
	for _, id := range slices.Sorted(maps.Values(map[string]string{"event": n.ID, "object": n.Context[aboutID]})) {
		body = bytes.ReplaceAll(body, []byte(`"`+id+`"`), []byte(`"`+asTest(id)+`"`))
	}
	return bytes.ReplaceAll(body, []byte(`"livemode":true`), []byte(`"livemode":false`))
}

// signStripe returns the signature that Stripe makes while a secret is rolled: one
// by the secret that ends, one by the secret in use, and that of test mode.
func signStripe(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	by := func(secret string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(t + "."))
		mac.Write(body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	return "t=" + t + ",v1=" + by(secret+"-ending") + ",v1=" + by(secret) + ",v0=" + by("test-mode")
}

func stripeTime(t time.Time) string { return `"created":` + strconv.FormatInt(t.Unix(), 10) }

// stripeFuture is a time that has not come.
func stripeFuture(dice *rand.Rand, at time.Time, ahead time.Duration) string {
	if dice.IntN(4) == 0 {
		return `"created":253402300799` // in year 9999
	}
	return stripeTime(at.Add(ahead/2 + time.Duration(dice.Int64N(int64(ahead)+1))))
}

// stripeOddTimes write a time in ways that are not Stripe's.
var stripeOddTimes = []func(time.Time) string{
	func(t time.Time) string { return stripeTime(t) + ".5" },
	func(t time.Time) string { return `"created":"` + strconv.FormatInt(t.Unix(), 10) + `"` },
	func(t time.Time) string { return t.UTC().Format(`"created":"2006-01-02T15:04:05Z"`) },
	func(t time.Time) string { return `"created":` + strconv.FormatInt(t.UnixMilli(), 10) },
	func(time.Time) string { return `"created":-1` },
	func(time.Time) string { return `"created":1e300` },
	func(time.Time) string { return `"created":null` },
}
