package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

var positionsRef = event.Ref{Key: event.Key{Source: "lemon", Kind: "positions", ID: "cusa_1"}}

// pages serves pages by their query string.
func pages(byQuery map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, ok := byQuery[r.URL.RawQuery]
		if !ok {
			answers(400, `{"message":"no such page"}`)(w, r)
			return
		}
		answers(200, text)(w, r)
	}
}

func TestFetchJoinsThePagesOfAList(t *testing.T) {
	c := server(t, ClientOptions{}, pages(map[string]string{
		"limit=100":       `{"data":[ {"q":1.10}, {"q":"2"}],"pagination":{"next_cursor":"a&b="}}`,
		"cursor=a%26b%3D": `{"data":[],"pagination":{"next_cursor":"c"}}`,
		"cursor=c":        `{"data":[{"q":3 }],"pagination":{"next_cursor":null}}`,
	}))
	s, err := c.Fetch(t.Context(), positionsRef, "x")
	require.NoError(t, err)
	require.Equal(t, `[{"q":1.10},{"q":"2"},{"q":3 }]`, string(s.Raw))
	again, err := lemon(t).Read("positions", s.Raw)
	require.NoError(t, err)
	require.Equal(t, s.Hash, again.Hash)
	require.Equal(t, now, s.SentAt)
}

func TestListsThatDoNotEndWell(t *testing.T) {
	next := func(cursor string) string { return `{"data":[{"q":1}],"pagination":{"next_cursor":` + cursor + `}}` }
	for name, c := range map[string]struct {
		pages  http.HandlerFunc
		class  fate.Class
		status int
	}{
		"a page that fails":     {pages(map[string]string{"limit=100": next(`"b"`)}), fate.Permanent, 400},
		"the same cursor again": {pages(map[string]string{"limit=100": next(`"b"`), "cursor=b": next(`"b"`)}), fate.Transient, 0},
		"a round":               {pages(map[string]string{"limit=100": next(`"b"`), "cursor=b": next(`"c"`), "cursor=c": next(`"b"`)}), fate.Transient, 0},
		"a cursor of no text":   {pages(map[string]string{"limit=100": next(`true`)}), fate.Transient, 0},
		"no data":               {answers(200, `{"pagination":{}}`), fate.Transient, 0},
		"data is no list":       {answers(200, `{"data":{}}`), fate.Transient, 0},
		"a bare list":           {answers(200, `[]`), fate.Transient, 0},
		"parent is gone":        {answers(404, `{"message":"x"}`), fate.Gone, 404},
		"a second page too long": {func(w http.ResponseWriter, r *http.Request) {
			n := len(r.URL.RawQuery)
			answers(200, fmt.Sprintf(`{"data":["%s"],"pagination":{"next_cursor":"%s"}}`, strings.Repeat("x", 1500), strings.Repeat("y", n)))(w, r)
		}, fate.Permanent, 0},
	} {
		t.Run(name, func(t *testing.T) {
			client := server(t, ClientOptions{MaxBody: 4096}, c.pages)
			_, err := client.Fetch(t.Context(), positionsRef, "x")
			requireClass(t, err, c.class, c.status)
		})
	}
}

func TestListPage(t *testing.T) {
	key := ListKey{Source: "lemon", Kind: "order", Parents: map[string]string{"account": "cusa_1"}}
	c := server(t, ClientOptions{}, pages(map[string]string{
		"limit=100": `{"data":[` + order + `,{"id":"bord_2","sca":{"challenge":"x"}}],"pagination":{"next_cursor":"b"}}`,
		"cursor=b":  `{"data":[{"id":"bord_3"}]}`,
		"cursor=x":  `{"data":[{"id":""},{"id":"bord_4"},{},"text"]}`,
	}))
	p, err := c.ListPage(t.Context(), key, "", "sweep-1")
	require.NoError(t, err)
	require.Equal(t, "b", p.Next)
	require.Equal(t, now, p.SentAt)
	require.Empty(t, p.Unread)
	items := p.Items
	require.Len(t, items, 2)
	require.Equal(t, orderRef, items[0].Ref)
	require.Equal(t, order, string(items[0].Snapshot.Raw))
	require.Equal(t, "created", items[0].Snapshot.Status)
	require.Equal(t, now, items[0].Snapshot.SentAt)
	require.Equal(t, `{"id":"bord_2","sca":{}}`, string(items[1].Snapshot.Raw))

	p, err = c.ListPage(t.Context(), key, "b", "sweep-1")
	require.NoError(t, err)
	require.Empty(t, p.Next)
	require.Len(t, p.Items, 1)

	p, err = c.ListPage(t.Context(), key, "x", "sweep-1")
	require.NoError(t, err)
	require.Len(t, p.Items, 1, "a bad element hides no other")
	require.Equal(t, "lemon/order/bord_4", p.Items[0].Ref.Key.String())
	require.Len(t, p.Unread, 3)
	require.ErrorContains(t, p.Unread[0], "element 0: element: id")
	for name, wrong := range map[string]ListKey{
		"a kind without a list": {Kind: "identification", Parents: map[string]string{"person": "p"}},
		"a kind that is a list": {Kind: "positions"},
		"an unknown kind":       {Kind: "moon"},
		"no parents":            {Kind: "order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.ListPage(t.Context(), wrong, "", "x")
			requireClass(t, err, fate.Permanent, 0)
		})
	}
}

func TestListPageKeepsToTheKindsParameters(t *testing.T) {
	c := server(t, ClientOptions{}, pages(map[string]string{
		"limit=100&person_customer=true": `{"data":[],"pagination":{"next_cursor":"b"}}`,
		"cursor=b":                       `{"data":[{"id":"cusa_1"}]}`, // a cursor holds them
	}))
	key := ListKey{Source: "lemon", Kind: "account"}
	p, err := c.ListPage(t.Context(), key, "", "x")
	require.NoError(t, err)
	p, err = c.ListPage(t.Context(), key, p.Next, "x")
	require.NoError(t, err)
	require.Equal(t, "lemon/account/cusa_1", p.Items[0].Ref.Key.String())
}

func TestListPageByLastID(t *testing.T) {
	s := httptest.NewServer(pages(map[string]string{
		"limit=100":                       `{"object":"list","has_more":true,"data":[{"id":"prod_1"},{"id":"prod_2"}]}`,
		"limit=100&starting_after=prod_2": `{"object":"list","has_more":false,"data":[{"id":"prod_3"}]}`,
		"limit=100&starting_after=odd":    `{"object":"list","has_more":true,"data":[]}`,
	}))
	t.Cleanup(s.Close)
	c := clientOf(t, stripe(t), ClientOptions{}, s.URL)
	key := ListKey{Source: "shop", Kind: "product"}
	p, err := c.ListPage(t.Context(), key, "", "x")
	require.NoError(t, err)
	require.Len(t, p.Items, 2)
	require.Equal(t, "prod_2", p.Next)
	p, err = c.ListPage(t.Context(), key, p.Next, "x")
	require.NoError(t, err)
	require.Len(t, p.Items, 1)
	require.Empty(t, p.Next)
	_, err = c.ListPage(t.Context(), key, "odd", "x")
	requireClass(t, err, fate.Transient, 0)
}

func TestEventsPage(t *testing.T) {
	since := time.Date(2026, 7, 1, 11, 0, 0, 0, time.FixedZone("", 3600))
	c := server(t, ClientOptions{}, pages(map[string]string{
		"limit=100&since=2026-07-01T10%3A00%3A00Z&sort=asc": `{"data":[` + published + `],"pagination":{"next_cursor":"b"}}`,
		"cursor=b": `{"data":[{"id":"evt_2"},` + published + `]}`,
	}))
	page, err := c.EventsPage(t.Context(), EventsKey{Source: "lemon"}, since, "", "gaps-1")
	require.NoError(t, err)
	require.Equal(t, "b", page.Next)
	require.Len(t, page.Events, 1)
	require.Equal(t, published, string(page.Events[0].Payload))
	require.Equal(t, "account", kindsOf(page.Events[0].Entities))
	require.Empty(t, page.Unread)

	page, err = c.EventsPage(t.Context(), EventsKey{Source: "lemon"}, since, "b", "gaps-1")
	require.NoError(t, err)
	require.Len(t, page.Events, 1, "a bad one hides no other")
	require.Len(t, page.Unread, 1)

	_, err = c.EventsPage(t.Context(), EventsKey{Source: "lemon"}, since, "c", "gaps-1")
	requireClass(t, err, fate.Permanent, 400)
	_, err = clientOf(t, example(t, "standard.yaml"), ClientOptions{}, "http://127.0.0.1:1").EventsPage(t.Context(), EventsKey{Source: "shop"}, since, "", "x")
	require.ErrorContains(t, err, "keeps none")
}

func TestEventsPageInTheProvidersWords(t *testing.T) {
	d := stripe(t)
	require.Equal(t, EventList{Kept: true, NewestFirst: true, Horizon: 720 * time.Hour}, d.EventList())
	require.Equal(t, EventList{Kept: true}, lemon(t).EventList())
	s := httptest.NewServer(pages(map[string]string{
		"created%5Bgte%5D=1782900000&limit=100": `{"has_more":false,"data":[{"id":"evt_1","type":"price.updated","created":1782900001,"livemode":true,
			"data":{"object":{"id":"price_1","object":"price"}}}]}`,
	}))
	t.Cleanup(s.Close)
	page, err := clientOf(t, d, ClientOptions{}, s.URL).EventsPage(t.Context(), EventsKey{Source: "shop"}, time.Unix(1782900000, 5), "", "x")
	require.NoError(t, err)
	require.Len(t, page.Events, 1)
	require.Equal(t, int64(1782900001), page.Events[0].CreatedAt.Unix())
	require.Equal(t, "price", kindsOf(page.Events[0].Entities))
	require.False(t, page.SentAt.IsZero())
}

func TestWhereEntitiesAreFound(t *testing.T) {
	d := lemon(t)
	names := func(kinds []*Kind) (out []string) {
		for _, k := range kinds {
			out = append(out, k.Name)
		}
		return out
	}
	require.Equal(t, []string{
		"corporate_action", "person", "treasury_fee", "business", "instrument", "account", "settlement_accounts", "agreements",
	}, names(d.Roots()))
	require.Equal(t, []string{"person_update"}, names(d.Under(d.Kind("person"))), "identifications are in no list")
	require.Equal(t, []string{"beneficial_owners", "legal_representatives"}, names(d.Under(d.Kind("business"))))
	under := names(d.Under(d.Kind("account")))
	require.Contains(t, under, "order")
	require.Contains(t, under, "financials", "a singleton")
	require.Contains(t, under, "positions", "a list")
	require.NotContains(t, under, "settlement")
	require.Equal(t, []string{"settlement"}, names(d.Under(d.Kind("settlement_accounts"))), "under the elements of a list")
	require.Empty(t, d.Under(d.Kind("order")))
	require.Empty(t, d.Under(d.Kind("identification")))
}
