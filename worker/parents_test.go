package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

var (
	errGone      = fate.New(fate.Gone, errors.New("no such widget"))
	errForbidden = fate.New(fate.Refused, errors.New("not yours"))
	errBroken    = fate.New(fate.Transient, errors.New("bad gateway"))
	errRejected  = fate.New(fate.Permanent, errors.New("no such shop"))
)

// shops is a provider whose widgets are under shops. A widget is gone in
// every shop that nothing else is said of.
type shops struct {
	*acme
	mu sync.Mutex
	// answers are by shop and widget; n counts the requests for both from 1.
	answers map[string]func(n int) (string, error)
	asked   map[string]int
	// order is what was asked for, in order, as shop/widget.
	order []string
}

// in sets what a shop answers for a widget.
func (p *shops) in(shop, widget string, answer func(n int) (string, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[shop+"/"+widget] = answer
}

// move puts a widget into one shop alone.
func (p *shops) move(widget, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.answers {
		if strings.HasSuffix(at, "/"+widget) {
			delete(p.answers, at)
		}
	}
	p.answers[to+"/"+widget] = always(ok, nil)
}

func always(raw string, err error) func(int) (string, error) {
	return func(int) (string, error) { return raw, err }
}

// requests returns what was asked for since it was called last.
func (p *shops) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	order := p.order
	p.order = nil
	return order
}

// Fetch answers for the provider.
func (p *shops) Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error) {
	if ref.Key.Kind != "widget" {
		return p.acme.Fetch(ctx, ref, why)
	}
	sent := time.Now()
	at := ref.Parents["shop"] + "/" + ref.Key.ID
	p.mu.Lock()
	p.asked[at]++
	p.order = append(p.order, at)
	n, answer := p.asked[at], p.answers[at]
	p.mu.Unlock()
	if answer == nil {
		return nil, errGone
	}
	raw, err := answer(n)
	if err != nil {
		return nil, err
	}
	snap, err := p.def.Read(ref.Key.Kind, []byte(raw))
	if err != nil {
		return nil, err
	}
	snap.SentAt = sent
	return snap, nil
}

// inShops is a fleet whose provider is shops.
func inShops(t *testing.T, change ...func(*worker.Options)) (*bundle, *shops) {
	t.Helper()
	text := strings.NewReplacer("    list: /widgets\n", "", "/widgets", "/shops/{shop}/widgets", "derived: [stock]", "derived: []",
		"    terminal: [sold]", "    terminal: [sold]\n    deleted: deleted").Replace(definition)
	def, err := provider.Parse("acme.yaml", []byte(text))
	require.NoError(t, err)
	p := &shops{acme: newAcme(def), answers: map[string]func(int) (string, error){}, asked: map[string]int{}}
	b := setup(t, append([]func(*worker.Options){func(o *worker.Options) {
		o.Sources[0].Definition, o.Sources[0].Client = def, p
	}}, change...)...)
	b.def, b.provider = def, p.acme
	return b, p
}

// widget sends an event about a widget that names its shop.
func (b *bundle) widget(id, shop string) string {
	b.t.Helper()
	return b.send("widget.sold", "widget", id, "shop", shop)
}

func inShop(id string) map[string]string { return map[string]string{"shop": id} }

// known makes the mirror hold a widget that is in shop s1.
func known(b *bundle, p *shops, id string) {
	b.t.Helper()
	p.move(id, "s1")
	b.row(b.widget(id, "s1"), storage.Processed)
	b.empty()
	require.Equal(b.t, inShop("s1"), b.document("widget", id).Parents)
	p.requests()
}

// An event, or an operator, that names another parent than the one a known
// entity is under moves nothing and deletes nothing.
func TestAWrongParentIsAHint(t *testing.T) {
	t.Parallel()
	b, p := inShops(t)
	b.start("w1")
	known(b, p, "w1")
	id := b.widget("w1", "s2")
	require.True(t, b.row(id, storage.Processed).ParentsDiffer)
	b.signal(event.CauseOperator, "sync_1", event.Ref{Key: key("widget", "w1"), Parents: inShop("s3")})
	b.empty()
	require.Equal(t, []string{"s1/w1", "s1/w1"}, p.requests(), "only where it is known to stand")
	doc := b.document("widget", "w1")
	require.True(t, doc.DeletedAt.IsZero())
	require.Equal(t, inShop("s1"), doc.Parents)
	require.False(t, b.row(b.widget("w1", "s1"), storage.Processed).ParentsDiffer)
}

// Two events in one batch name the old and the new parent of an entity that has
// moved: both are covered by the answer under the new one, in either order.
func TestAMoveIsFollowed(t *testing.T) {
	t.Parallel()
	for name, named := range map[string][]string{"old first": {"s1", "s2"}, "new first": {"s2", "s1"}, "only the new": {"s2"}} {
		t.Run(name, func(t *testing.T) {
			b, p := inShops(t)
			stop := b.start("w1")
			known(b, p, "w1")
			stop()
			p.move("w1", "s2")
			events := map[string]string{}
			for _, shop := range named {
				events[shop] = b.widget("w1", shop)
			}
			b.start("w2")
			for shop, id := range events {
				row := b.row(id, storage.Processed)
				require.Equal(t, shop == "s1", row.ParentsDiffer, shop)
				require.Zero(t, row.Attempts)
			}
			b.empty()
			require.Equal(t, []string{"s1/w1", "s2/w1"}, p.requests())
			doc := b.document("widget", "w1")
			require.True(t, doc.DeletedAt.IsZero())
			require.Equal(t, inShop("s2"), doc.Parents, "though not a byte of its state differs")

			late := b.row(b.widget("w1", "s1"), storage.Processed)
			require.True(t, late.ParentsDiffer)
			require.Equal(t, []string{"s2/w1"}, p.requests(), "a late event with the old parent is a hint too")
			require.True(t, b.document("widget", "w1").DeletedAt.IsZero())
		})
	}
}

// What becomes of an entity that is not where it is known to be depends on
// what all other parents its signals name have to say.
func TestOnlyAllGoneIsATombstone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		known, other error
		want         storage.EventStatus
		deleted      bool
		parents      string
		attempts     int
	}{
		"gone, gone":            {errGone, errGone, storage.Processed, true, "s1", 0},
		"gone, there":           {errGone, nil, storage.Processed, false, "s2", 0},
		"forbidden, there":      {errForbidden, nil, storage.Processed, false, "s2", 0},
		"gone, forbidden":       {errGone, errForbidden, storage.Dead, false, "s1", 3},
		"forbidden, gone":       {errForbidden, errGone, storage.Dead, false, "s1", 3},
		"gone, broken":          {errGone, errBroken, storage.Dead, false, "s1", 3},
		"gone, rejected":        {errGone, errRejected, storage.Dead, false, "s1", 3},
		"forbidden, forbidden":  {errForbidden, errForbidden, storage.Dead, false, "s1", 1},
		"broken, never asked":   {errBroken, nil, storage.Dead, false, "s1", 3},
		"rejected, never asked": {errRejected, nil, storage.Dead, false, "s1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := inShops(t)
			b.start("w1")
			for i := range 10 { // few 404s among many answers are believed
				known(b, p, fmt.Sprint("other", i))
			}
			known(b, p, "w1")
			p.in("s1", "w1", always(ok, c.known))
			p.in("s2", "w1", always(ok, c.other))
			id := b.widget("w1", "s2")
			b.row(id, c.want)
			b.empty()
			doc := b.document("widget", "w1")
			require.Equal(t, c.deleted, !doc.DeletedAt.IsZero())
			require.Equal(t, inShop(c.parents), doc.Parents)
			if c.want == storage.Dead {
				l := b.letter(id, "widget", "w1")
				require.Len(t, l.Attempts, c.attempts)
				require.Equal(t, inShop("s2"), l.Ref.Parents, "a redrive names what the event named")
			}
		})
	}
}

// A parent that is named while a 404 waits to be confirmed is given as much
// time as the others had: its first answer may be too early as well.
func TestANewParentIsAskedTwice(t *testing.T) {
	t.Parallel()
	b, p := inShops(t)
	b.start("w1")
	known(b, p, "w1")
	seen := make(chan struct{}, 10)
	p.in("s1", "w1", func(int) (string, error) { seen <- struct{}{}; return "", errGone })
	first := b.widget("w1", "s1")
	<-seen
	p.in("s2", "w1", func(n int) (string, error) {
		if n == 1 {
			return "", errGone
		}
		return ok, nil
	})
	second := b.widget("w1", "s2")
	require.True(t, b.row(first, storage.Processed).ParentsDiffer)
	require.False(t, b.row(second, storage.Processed).ParentsDiffer)
	doc := b.document("widget", "w1")
	require.True(t, doc.DeletedAt.IsZero())
	require.Equal(t, inShop("s2"), doc.Parents)
}

// An entity that was taken for gone comes back when a signal names the parent it
// is under, also if that is asked too early at first; a plain signal, which
// names none, leaves it as it is.
func TestATombstoneIsRevivedUnderAnotherParent(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]int{"at once": 0, "on the second look": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := inShops(t)
			b.start("w1")
			for i := range 10 {
				known(b, p, fmt.Sprint("other", i))
			}
			known(b, p, "w1")
			p.in("s1", "w1", nil)
			b.row(b.widget("w1", "s1"), storage.Processed)
			require.False(t, b.document("widget", "w1").DeletedAt.IsZero())
			p.in("s2", "w1", func(n int) (string, error) {
				if n <= early {
					return "", errGone
				}
				return ok, nil
			})
			b.signal(event.CauseOperator, "sync_1", event.Ref{Key: key("widget", "w1"), Parents: inShop("s1")})
			b.empty()
			require.False(t, b.document("widget", "w1").DeletedAt.IsZero())
			b.signal(event.CauseDiscrepancy, "dis_1", event.Ref{Key: key("widget", "w1"), Parents: inShop("s2")})
			b.empty()
			doc := b.document("widget", "w1")
			require.True(t, doc.DeletedAt.IsZero())
			require.Equal(t, inShop("s2"), doc.Parents)
		})
	}
}

// A parent that answers with the stub of a deleted entity says for certain that
// it is gone there, and no more than that.
func TestAStubUnderOneParent(t *testing.T) {
	t.Parallel()
	const stub = `{"deleted":true}`
	for name, c := range map[string]struct {
		other   error
		deleted bool
		parents string
		asks    int
	}{
		"gone under another":   {errGone, true, "s1", 6}, // once more after a witness was found
		"there under another":  {nil, false, "s2", 2},
		"another is forbidden": {errForbidden, false, "s1", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := inShops(t)
			b.start("w1")
			known(b, p, "witness")
			known(b, p, "w1")
			p.in("s1", "w1", always(stub, nil))
			p.in("s2", "w1", always(ok, c.other))
			b.widget("w1", "s2")
			b.rows()
			b.empty()
			doc := b.document("widget", "w1")
			require.Equal(t, c.deleted, !doc.DeletedAt.IsZero())
			require.Equal(t, inShop(c.parents), doc.Parents)
			asked := slices.DeleteFunc(p.requests(), func(at string) bool { return at == "s1/witness" })
			require.Len(t, asked, c.asks)
		})
	}
}

// Of an entity never fetched nothing is known: each parent its signals name is
// asked, and the first that has it is the fact.
func TestParentsOfANewEntity(t *testing.T) {
	t.Parallel()
	b, p := inShops(t)
	p.move("w1", "s2")
	wrong, right := b.widget("w1", "s1"), b.widget("w1", "s2")
	b.start("w1")
	require.True(t, b.row(wrong, storage.Processed).ParentsDiffer)
	require.False(t, b.row(right, storage.Processed).ParentsDiffer)
	require.Equal(t, []string{"s1/w1", "s2/w1"}, p.requests())
	require.Equal(t, inShop("s2"), b.document("widget", "w1").Parents)
}

// However many parents the signals of an entity name, a sync asks few of them,
// and covers only signals whose parents it has asked.
func TestManyParentsAreAskedInSeveralSyncs(t *testing.T) {
	t.Parallel()
	for name, parked := range map[string]bool{"in a lane": false, "parked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := inShops(t)
			stop := b.start("w1")
			known(b, p, "witness")
			known(b, p, "w1")
			if parked {
				p.in("s1", "w1", always("", errBroken))
				b.row(b.widget("w1", "s1"), storage.Retrying)
			}
			stop()
			const n = 20
			p.move("w1", fmt.Sprint("t", n))
			var events []string
			for i := 1; i <= n; i++ {
				events = append(events, b.widget("w1", fmt.Sprint("t", i)))
			}
			p.requests()
			b.start("w2")
			var claims []int64
			for _, id := range events {
				claims = append(claims, b.row(id, storage.Processed).Entities[0].CoveredBy.Claim)
			}
			b.empty()
			doc := b.document("widget", "w1")
			require.True(t, doc.DeletedAt.IsZero())
			require.Equal(t, inShop(fmt.Sprint("t", n)), doc.Parents)
			require.Less(t, claims[0], claims[n-1])
			together := map[int64]int{}
			for _, c := range claims {
				together[c]++
				require.LessOrEqual(t, together[c], 8)
			}
			asked := 0 // others since the known parent was asked
			for _, at := range p.requests() {
				if at == "s1/witness" {
					continue
				}
				if asked++; at == "s1/w1" {
					asked = 0
				}
				require.LessOrEqual(t, asked, 8)
			}
		})
	}
}

// A sync counts once among the answers that tell whether we ask at the wrong
// place, however many parents it asked: many that moved are no sign of it.
func TestMovedEntitiesAreNotMissing(t *testing.T) {
	t.Parallel()
	b, p := inShops(t)
	b.start("w1")
	const n = 60
	for i := range n {
		p.move(fmt.Sprint(i), "s1")
		b.widget(fmt.Sprint(i), "s1")
	}
	b.rows()
	for i := range n {
		p.move(fmt.Sprint(i), "s2")
		b.widget(fmt.Sprint(i), "s2")
	}
	b.rows()
	p.move("0", "nowhere")
	b.row(b.widget("0", "s2"), storage.Processed)
	require.False(t, b.document("widget", "0").DeletedAt.IsZero())
	require.Equal(t, inShop("s2"), b.document("widget", "1").Parents)
}

// Each further parent that is asked takes a token of the budget.
func TestFurtherParentsCostBudget(t *testing.T) {
	t.Parallel()
	const each = 2 * time.Second // none is saved up: a token comes each time
	b, p := inShops(t, func(o *worker.Options) { o.Sources[0].Rate = stream.Rate{Limit: 1, Per: each} })
	begun := time.Now()
	b.start("w1")
	known(b, p, "w1")
	p.move("w1", "s2")
	b.row(b.widget("w1", "s2"), storage.Processed)
	require.Equal(t, []string{"s1/w1", "s2/w1"}, p.requests())
	require.GreaterOrEqual(t, time.Since(begun), 2*each, "the third request, with one token to begin with")
}
