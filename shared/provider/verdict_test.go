package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// state reads a state of a kind.
func state(tb testing.TB, d *Definition, kind, raw string) *Snapshot {
	tb.Helper()
	s, err := d.Read(kind, []byte(raw))
	require.NoError(tb, err)
	return s
}

// history is an order of lemon with these statuses, newest first.
func history(statuses ...string) string {
	text := ""
	for i, s := range statuses {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"status":%q,"timestamp":"2026-07-01T12:00:%02dZ"}`, s, 59-i)
	}
	return `{"id":"bord_1","history":[` + text + `]}`
}

func TestLook(t *testing.T) {
	lemon, stripe := lemon(t), stripe(t)
	order := func(statuses ...string) *Snapshot { return state(t, lemon, "order", history(statuses...)) }
	gone := &Snapshot{Deleted: true}
	for name, c := range map[string]struct {
		o    *Op
		seen *Snapshot
		want Verdict
	}{
		"canceling":                       {mustOp(t, lemon, "order", "cancel"), order("canceling", "created"), There},
		"canceled":                        {mustOp(t, lemon, "order", "cancel"), order("canceled", "canceling", "created"), There},
		"was canceling, and executed":     {mustOp(t, lemon, "order", "cancel"), order("executed", "canceling", "created"), There},
		"executed, never canceled":        {mustOp(t, lemon, "order", "cancel"), order("executed", "accepted", "created"), Moot},
		"still there":                     {mustOp(t, lemon, "order", "cancel"), order("accepted", "created"), NotThere},
		"an order that is gone":           {mustOp(t, lemon, "order", "cancel"), nil, Moot},
		"confirmed":                       {mustOp(t, lemon, "order", "confirm"), order("confirmed", "created"), There},
		"confirmed, and canceled since":   {mustOp(t, lemon, "order", "confirm"), order("canceled", "confirmed", "created"), There},
		"canceled before it is confirmed": {mustOp(t, lemon, "order", "confirm"), order("canceled", "created"), Moot},
		"not confirmed":                   {mustOp(t, lemon, "order", "confirm"), order("created"), NotThere},
		"an id of our own":                {mustOp(t, stripe, "product", "create"), state(t, stripe, "product", `{"id":"sku"}`), There},
		"an id of our own, not there":     {mustOp(t, stripe, "product", "create"), nil, NotThere},
		"an id of our own, a stub":        {mustOp(t, stripe, "product", "create"), gone, NotThere},
		"what does not look":              {mustOp(t, stripe, "product", "update"), state(t, stripe, "product", `{"id":"sku"}`), CannotTell},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want.String(), c.o.Look(c.seen).String()) })
	}
}

// listOf makes the elements of a list.
func listOf(t *testing.T, d *Definition, kind string, raws ...string) []Item {
	t.Helper()
	var all []Item
	for i, raw := range raws {
		all = append(all, Item{Ref: event.Ref{Key: event.Key{Source: "s", Kind: kind, ID: fmt.Sprintf("id_%d", i)}}, Snapshot: state(t, d, kind, raw)})
	}
	return all
}

// withdrawalOf is a withdrawal that was created so many seconds after noon.
func withdrawalOf(amount string, second int) string {
	return fmt.Sprintf(`{"id":"x","status":"accepted","amount":%s,"currency":"EUR","history":[{"status":"accepted","timestamp":"2026-07-01T13:00:00Z"},{"status":"created","timestamp":"2026-07-01T12:00:%02dZ"}]}`, amount, second)
}

func TestFindByFields(t *testing.T) {
	d := lemon(t)
	o := mustOp(t, d, "withdrawal", "create")
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	cmd := Command{Kind: "withdrawal", Op: "create", Ref: "w", Parents: inAccount, Body: []byte(`{"amount":"12.30","currency":"EUR"}`)}
	other := func(body string) []Command { return []Command{{Body: []byte(body)}} }
	base := Search{Sent: cmd, Since: noon.Add(10 * time.Second)}
	with := func(f func(*Search)) Search { s := base; f(&s); return s }
	for name, c := range map[string]struct {
		list []string
		s    Search
		want Finding
	}{
		"the only one":                    {[]string{withdrawalOf(`"12.30"`, 11)}, base, Finding{There, "id_0", []string{"id_0"}}},
		"in the very second":              {[]string{withdrawalOf(`"12.30"`, 10)}, base, Finding{There, "id_0", []string{"id_0"}}},
		"another way to write it":         {[]string{withdrawalOf(`"12.3"`, 11), withdrawalOf(`12.300`, 5)}, base, Finding{There, "id_0", []string{"id_0"}}},
		"one of others":                   {[]string{withdrawalOf(`"12.31"`, 11), withdrawalOf(`"12.30"`, 12)}, base, Finding{There, "id_1", []string{"id_1"}}},
		"two":                             {[]string{withdrawalOf(`"12.30"`, 11), withdrawalOf(`"12.30"`, 12)}, base, Finding{CannotTell, "", []string{"id_0", "id_1"}}},
		"one made before, changed since":  {[]string{withdrawalOf(`"12.30"`, 9)}, base, Finding{}},
		"none":                            {nil, base, Finding{}},
		"bound to another ref":            {[]string{withdrawalOf(`"12.30"`, 11)}, with(func(s *Search) { s.Bound = func(id string) bool { return id == "id_0" } }), Finding{}},
		"two, one of them bound":          {[]string{withdrawalOf(`"12.30"`, 11), withdrawalOf(`"12.30"`, 12)}, with(func(s *Search) { s.Bound = func(id string) bool { return id == "id_0" } }), Finding{There, "id_1", []string{"id_1"}}},
		"another command of the amount":   {[]string{withdrawalOf(`"12.30"`, 11)}, with(func(s *Search) { s.Others = other(`{"amount":"12.3"}`) }), Finding{CannotTell, "", []string{"id_0"}}},
		"another command of another":      {[]string{withdrawalOf(`"12.30"`, 11)}, with(func(s *Search) { s.Others = other(`{"amount":"12.40"}`) }), Finding{There, "id_0", []string{"id_0"}}},
		"another command's ref is any id": {[]string{withdrawalOf(`"12.30"`, 11)}, with(func(s *Search) { s.Others = other(`{"amount":{"$ref":"a/b"}}`) }), Finding{CannotTell, "", []string{"id_0"}}},
		"the time is not known":           {[]string{withdrawalOf(`"12.30"`, 11)}, with(func(s *Search) { s.Since = time.Time{} }), Finding{}},
		"no time of its own":              {[]string{`{"id":"x","amount":"12.30","currency":"EUR"}`}, base, Finding{}},
		"what was not sent is free":       {[]string{withdrawalOf(`"12.30"`, 11)}, with(func(s *Search) { s.Sent.Body = []byte(`{"amount":"12.30"}`) }), Finding{There, "id_0", []string{"id_0"}}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, o.Find(listOf(t, d, "withdrawal", c.list...), c.s)) })
	}
	require.Equal(t, Finding{}, mustOp(t, d, "order", "create").Find(nil, base), "an operation without find")
	small := ordered(t)
	require.Equal(t, Finding{Verdict: NotThere}, mustOp(t, small, "order", "create").Find(nil, Search{Sent: createOrder, Since: noon}), "a list that proves it")
}

func TestFindByRef(t *testing.T) {
	d := stripe(t)
	o := mustOp(t, d, "price", "create")
	priced := func(ref string) string { return `{"id":"x","metadata":{"tarn_ref":"` + ref + `"}}` }
	s := Search{Sent: Command{Kind: "price", Op: "create", Ref: "r", Body: []byte(`{"product":"p"}`)}, Others: []Command{{Body: []byte(`{"product":"p"}`)}}}
	require.Equal(t, Finding{There, "id_1", []string{"id_1"}}, o.Find(listOf(t, d, "price", priced("q"), priced("r"), `{"id":"y"}`), s), "refs tell commands apart")
	require.Equal(t, Finding{CannotTell, "", []string{"id_0", "id_1"}}, o.Find(listOf(t, d, "price", priced("r"), priced("r")), s), "doubled")
	require.Equal(t, Finding{}, o.Find(listOf(t, d, "price", priced("q")), s), "a search proves nothing by what it lacks")
}

func TestFindPage(t *testing.T) {
	asked := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		answers(200, `{"object":"list","data":[{"id":"price_1","metadata":{"tarn_ref":"r"}}],"has_more":false}`)(w, r)
	}))
	t.Cleanup(s.Close)
	d := stripe(t)
	c := clientOf(t, d, ClientOptions{}, s.URL)
	cmd := Command{Kind: "price", Op: "create", Ref: "r", Body: []byte(`{"product":"a&b"}`)}
	p, err := c.FindPage(t.Context(), "s", cmd, "", "command-1")
	require.NoError(t, err)
	require.Equal(t, "/v1/prices?limit=100&product=a%26b", <-asked)
	require.Equal(t, There, mustOp(t, d, "price", "create").Find(p.Items, Search{Sent: cmd}).Verdict)
	for _, bad := range []Command{{Kind: "price", Op: "create", Ref: "r"}, {Kind: "product", Op: "create", Ref: "r"}, {Kind: "moon", Op: "create"}} {
		_, err = c.FindPage(t.Context(), "s", bad, "", "x")
		require.True(t, fate.Is(err, fate.Permanent), "%v", err)
	}
}

// What is compared with a list has ids where the command has refs.
func TestResolve(t *testing.T) {
	d := stripe(t)
	cmd := Command{Kind: "price", Op: "create", Ref: "r", Body: []byte(`{"product":{"$ref":"product/a"},"unit_amount":1.10,"metadata":{"of":"b"}}`)}
	bound := func(name RefName) (string, bool) { return "prod_" + name.Ref, name.Kind == "product" }
	got, err := d.Resolve(cmd, bound)
	require.NoError(t, err)
	require.Equal(t, `{"product":"prod_a","unit_amount":1.10,"metadata":{"of":"b"}}`, string(got.Body))
	require.Equal(t, "r", got.Ref)
	_, err = d.Resolve(cmd, func(RefName) (string, bool) { return "", false })
	var unbound *UnboundError
	require.ErrorAs(t, err, &unbound)
	require.Equal(t, []RefName{{"product", "a"}}, unbound.Refs)
	cmd.Body = nil
	got, err = d.Resolve(cmd, bound)
	require.NoError(t, err)
	require.Nil(t, got.Body)
	for _, bad := range []Command{{Kind: "moon", Op: "create"}, {Kind: "price", Op: "create", Body: []byte(`[]`)}, {Kind: "price", Op: "create", Body: []byte(`{"moon":1}`)}} {
		_, err = d.Resolve(bad, bound)
		var invalid *InvalidError
		require.ErrorAs(t, err, &invalid)
	}
}

func TestSameNumber(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"5", "5.00", true}, {"05.0", "5", true}, {"0.10", "0.1", true}, {"123456789012345678901234567890.5", "123456789012345678901234567890.50", true},
		{"5", "5.01", false}, {"5", "50", false}, {"5", "", false}, {"-5", "-5.0", false}, {"1e1", "10", false}, {".5", "0.5", false},
	} {
		require.Equal(t, c.want, sameNumber(c.a, c.b), "%s %s", c.a, c.b)
	}
}
