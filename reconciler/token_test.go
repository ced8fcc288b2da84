package reconciler

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// tokenShop gives access tokens, of which only the last is good. A token ends when a page
// behind the first is asked for with it.
type tokenShop struct {
	mu      sync.Mutex
	given   int
	ended   bool // the good token; expire says when
	expire  func(r *http.Request) bool
	refused int // requests with a token that is not good
}

// answer answers for the shop what a token is needed for.
func (s *tokenShop) answer(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/token" {
		s.given, s.ended = s.given+1, false
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"bearer"}`, s.given)
		return true
	}
	if s.expire != nil && s.expire(r) {
		s.ended, s.expire = true, nil
	}
	if s.ended || r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", s.given) {
		s.refused++
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return false
}

// A token that ends in the middle of a sweep, on a later page of a list, costs one request
// for another, however many loops ask at the time. The sweep goes on as if nothing was.
func TestATokenEndsInTheMiddleOfASweep(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "api:\n", "api:\n  auth: {oauth2: {token_url: /token}}\n", 1)))
	require.NoError(t, err)
	shop := newShop(t)
	c := newSceneAt(t, def, "shop", shop.URL, shop)
	tokens := &tokenShop{}
	shop.interfere(tokens.answer)
	shop.stock(30, 3)
	c.fill()
	require.Equal(t, 1, tokens.given)
	shop.put("/customers/c7/orders/o7_1", shopOrder("o7_1", 9, "created", "made"))
	shop.put("/customers/c29/orders/new", shopOrder("new", 9, "created"))
	for name, ends := range map[string]func(r *http.Request) bool{
		"a page of a root list":       func(r *http.Request) bool { return r.URL.Path == "/customers" && r.URL.Query().Has("cursor") },
		"a page of a list under one":  func(r *http.Request) bool { return r.URL.Path == "/customers/c4/orders" && r.URL.Query().Has("cursor") },
		"an entity that is looked at": func(r *http.Request) bool { return r.URL.Path == "/customers/c7/orders/o7_1" },
	} {
		given := tokens.given
		tokens.mu.Lock()
		tokens.expire, tokens.refused = ends, 0
		tokens.mu.Unlock()
		task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"), c.replica("b"), c.replica("c"))
		require.Equal(t, storage.TaskDone, task.Status, task.Error)
		require.Empty(t, task.Error, name)
		require.EqualValues(t, 30+91, task.Counts["entities"], name)
		require.Zero(t, task.Counts["failed_lists"]+task.Counts["failed_checks"], name)
		require.Equal(t, given+1, tokens.given, name)
		require.Positive(t, tokens.refused, name)
		require.LessOrEqual(t, tokens.refused, 3, "once for each loop: %s", name)
		state, err := c.streams.Source(c.ctx, "shop")
		require.NoError(t, err)
		require.False(t, state.Paused, name)
	}
	require.Equal(t, []string{"missing order/new", "stale order/o7_1"}, c.recorded())
	c.work()
	require.Empty(t, c.differences())
	letters, err := c.store.Letters(c.ctx, storage.LetterFilter{Source: "shop", Limit: 1})
	require.NoError(t, err)
	require.Empty(t, letters.Items)
}
