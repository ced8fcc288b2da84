package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// bulky serves a list of n elements, the second half with size bytes of white space
// after each, in pages of what is asked for, and notes the limits. A page begins at the cursor "<place>,<limit>" or after the
// element of a last id; heedless: the limit means nothing.
type bulky struct {
	n, size  int
	heedless bool
	asked    []string
}

func (b *bulky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	b.asked = append(b.asked, q.Get("limit"))
	from, limit := 0, b.n
	if !b.heedless {
		limit, _ = strconv.Atoi(q.Get("limit"))
	}
	if c := q.Get("cursor"); c != "" {
		_, _ = fmt.Sscanf(c, "%d,%d", &from, &limit)
	}
	if after := q.Get("starting_after"); after != "" {
		_, _ = fmt.Sscanf(after, "e%d", &from)
		from++
	}
	to := min(from+limit, b.n)
	var elements []string
	for i := from; i < to; i++ {
		size := b.size
		if i < b.n/2 {
			size = 10 // what is first is small
		}
		elements = append(elements, fmt.Sprintf(`{"id":"e%d","type":"price.updated","created":1782900001,"data":{"object":{"id":"price_1","object":"price"}}}%s`,
			i, strings.Repeat(" ", size)))
	}
	next := "null"
	if to < b.n {
		next = fmt.Sprintf(`"%d,%d"`, to, limit)
	}
	answers(200, fmt.Sprintf(`{"data":[%s],"has_more":%t,"pagination":{"next_cursor":%s}}`, strings.Join(elements, ","), to < b.n, next))(w, r)
}

// A page that is too long is asked for in smaller ones, by every reader of a list.
func TestAPageTooLongIsAskedForInSmallerOnes(t *testing.T) {
	for name, read := range map[string]func(c *Client) (int, error){
		"a list kind": func(c *Client) (int, error) {
			s, err := c.Fetch(t.Context(), positionsRef, "x")
			if err != nil {
				return 0, err
			}
			return strings.Count(string(s.Raw), `"id":"e`), nil
		},
		"webhooks": func(c *Client) (int, error) {
			hooks, err := c.Webhooks(t.Context(), "x")
			return len(hooks), err
		},
		"entities": func(c *Client) (n int, err error) {
			return walked(func(cursor string) (int, string, error) {
				p, err := c.ListPage(t.Context(), ListKey{Source: "lemon", Kind: "order", Parents: map[string]string{"account": "cusa_1"}}, cursor, "x")
				if err != nil {
					return 0, "", err
				}
				return len(p.Items), p.Next, nil
			})
		},
		"events": func(c *Client) (n int, err error) {
			return walked(func(cursor string) (int, string, error) {
				p, err := c.EventsPage(t.Context(), EventsKey{Source: "lemon"}, time.Time{}, cursor, "x")
				if err != nil {
					return 0, "", err
				}
				return len(p.Events) + len(p.Unread), p.Next, nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bulky{n: 20, size: 600}
			c := server(t, ClientOptions{MaxBody: 5 << 10}, b.ServeHTTP)
			n, err := read(c)
			require.NoError(t, err)
			require.Equal(t, 20, n)
			require.Equal(t, []string{"100", "50", "25", "12", "", "6"}, b.asked[:6], "from the beginning again where the cursor has the size")
		})
	}
}

// walked reads a list as its callers do.
func walked(page func(cursor string) (int, string, error)) (n int, err error) {
	for cursor := ""; ; {
		m, next, err := page(cursor)
		switch {
		case errors.Is(err, ErrBeginAgain):
			n, cursor = 0, ""
			continue
		case errors.Is(err, ErrSmaller):
			continue
		case err != nil:
			return n, err
		}
		if n += m; next == "" {
			return n, nil
		}
		cursor = next
	}
}

func TestTheGoodSizeOfAPageIsRemembered(t *testing.T) {
	b := &bulky{n: 10, size: 1500}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	clock := now
	c := clientOf(t, stripe(t), ClientOptions{MaxBody: 5 << 10, Now: func() time.Time { return clock }}, s.URL)
	read := func() []string {
		b.asked = nil
		n, err := walked(func(cursor string) (int, string, error) {
			p, err := c.EventsPage(t.Context(), EventsKey{Source: "shop"}, time.Time{}, cursor, "x")
			if err != nil {
				return 0, "", err
			}
			return len(p.Events), p.Next, nil
		})
		require.NoError(t, err)
		require.Equal(t, 10, n)
		return b.asked
	}
	halved := []string{"100", "50", "25", "12", "6", "6", "3", "3"}
	require.Equal(t, halved, read(), "a last id is sent with the limit: the list goes on")
	for _, limit := range read() {
		require.Equal(t, "3", limit)
	}
	clock = clock.Add(sizedFor + time.Second)
	require.Equal(t, halved, read(), "for some time")
}

func TestAPageThatCannotBeMadeSmaller(t *testing.T) {
	b := &bulky{n: 10, size: 5000, heedless: true}
	c := server(t, ClientOptions{MaxBody: 8 << 10}, b.ServeHTTP)
	_, err := c.Webhooks(t.Context(), "x")
	require.ErrorIs(t, err, ErrPageTooLong)
	require.ErrorContains(t, err, "api.pagination.limit")
	requireClass(t, err, fate.Permanent, 0)
	require.Len(t, b.asked, 7, "100, 50, 25, 12, 6, 3, 1")
}

// One bound on the pages of a list, for every reader of it, also if no cursor comes
// twice.
func TestAListThatNeverEnds(t *testing.T) {
	asked := 0
	endless := func(w http.ResponseWriter, r *http.Request) {
		asked++
		answers(200, fmt.Sprintf(`{"data":[],"pagination":{"next_cursor":"c%d"}}`, asked))(w, r)
	}
	for name, read := range map[string]func(c *Client) error{
		"a list kind": func(c *Client) error { _, err := c.Fetch(t.Context(), positionsRef, "x"); return err },
		"webhooks":    func(c *Client) error { _, err := c.Webhooks(t.Context(), "x"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			asked = 0
			var paid int
			c := server(t, ClientOptions{MaxPages: 30, Page: func(context.Context) error { paid++; return nil }}, endless)
			err := read(c)
			require.ErrorIs(t, err, ErrEndless)
			require.ErrorContains(t, err, "reconcile.max_pages")
			requireClass(t, err, fate.Transient, 0)
			require.Equal(t, 30, asked)
			require.Equal(t, 29, paid, "each further page is paid for")
		})
	}
	var c Cursors
	for i := range DefaultMaxPages - 1 {
		require.NoError(t, c.Follow(strconv.Itoa(i)))
	}
	require.ErrorIs(t, c.Follow("one more"), ErrEndless)
	require.ErrorContains(t, c.Follow("7"), "goes round")
}

// The largest event that is taken as a webhook can be read from a list.
func TestTheLargestEventFitsAPage(t *testing.T) {
	require.Less(t, int64(15<<20), ClientOptions{}.withDefaults().MaxBody)
}
