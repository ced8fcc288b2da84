package examples

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The follower is killed before, while and after it reads pages, of its snapshot and of what
// comes then, and while it stores them; an entity is erased, and the database is restored from
// an older copy. In the end its copy is what the mirror holds.
func TestFollowerIsKilled(t *testing.T) {
	t.Parallel()
	f, ctx := start(t, fleet.Plan{Reconcile: "{gaps: {every: 1s, overlap: 5m}, recover: {every: 1s, after: 2s}}"})
	k := killer(t, f.Members(fleet.API)[0].Addr)
	db := filepath.Join(t.TempDir(), "copy.db")
	follower := build(t, "follower")
	begin := func(at moment, n int) {
		follower.args = []string{"-api", k.next(at, n, follower), "-source", fleet.Source, "-db", db}
		follower.start()
	}
	load := func(events int) {
		require.NoError(t, f.Simulator.StartLoad(ctx, simulator.Load{Entities: 150, Accounts: 20, Events: events, Rate: 150}))
	}
	sent := func() { require.NoError(t, f.Simulator.WaitSent(ctx, time.Minute)) }
	same := func() {
		var differs []string
		wait(t, ctx, func() string { return fmt.Sprintf("the copy is what the mirror holds: %v", differs) }, func() bool {
			differs = compare(t, ctx, f, db)
			return len(differs) == 0
		})
	}
	all := func(do func(*fleet.Member) error) {
		for _, m := range f.Members("") {
			require.NoError(t, do(m))
		}
	}

	load(150)
	sent()
	require.NoError(t, f.Drain(ctx, time.Minute))
	// It takes up to half a minute until the feed has it, or until the reconciler starts again.
	one := someOrder(t, ctx, f)
	require.NoError(t, f.Operate(ctx, http.MethodDelete, "/v1/entities/"+one.String(), nil, nil))
	const kills = 18 // the first of them of the snapshot
	load(900)
	for i := range kills {
		begin(moment(i%int(moments)), 1+i%3)
		select {
		case <-follower.ended:
		case <-time.After(time.Minute):
			require.FailNow(t, "the follower is not killed")
		}
	}
	begin(never, 0)
	sent()

	all((*fleet.Member).Stop)
	require.NoError(t, f.Backup(ctx))
	all((*fleet.Member).Start)
	load(150)
	sent()
	same()
	all((*fleet.Member).Stop)
	require.NoError(t, f.Restore(ctx))
	all((*fleet.Member).Start)
	wait(t, ctx, func() string { return "the follower begins with a snapshot" }, func() bool { return number(t, ctx, db, "SELECT snapshot FROM place") > 1 })
	require.NoError(t, f.Drain(ctx, time.Minute))
	same()
}

// moment is when a follower is killed.
type moment int

const (
	asking  moment = iota // its request has come, and is not answered
	reading               // half of an answer is sent
	storing               // all of an answer is sent, a moment ago
	moments
	never
)

// storesFor is about how long a page takes to be stored.
const storesFor = 8 * time.Millisecond

// deadly is an api that passes pages on and kills the follower.
type deadly struct {
	*httptest.Server
	api string

	mu     sync.Mutex
	life   int // of the victim
	at     moment
	after  int // requests
	victim *program
}

func killer(t *testing.T, api string) *deadly {
	k := &deadly{api: api}
	k.Server = httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(k.Close)
	return k
}

// next has a program killed at its n-th request, and returns the address of the api for it.
func (k *deadly) next(at moment, n int, victim *program) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.life++
	k.at, k.after, k.victim = at, n, victim
	return fmt.Sprintf("%s/%d", k.URL, k.life)
}

// due is when the program is killed at this request. False: it is of one that is dead.
func (k *deadly) due(life string) (at moment, victim *program, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if life != strconv.Itoa(k.life) {
		return never, nil, false
	}
	if k.after--; k.after != 0 {
		return never, nil, true
	}
	return k.at, k.victim, true
}

func (k *deadly) serve(w http.ResponseWriter, r *http.Request) {
	life, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	at, victim, ok := k.due(life)
	if at == asking {
		victim.kill()
	}
	if !ok || at == asking {
		panic(http.ErrAbortHandler)
	}
	query := r.URL.Query()
	query.Set("wait", "1s") // or the last kill would wait for a change
	query.Set("limit", "100")
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+k.api+"/"+path+"?"+query.Encode(), nil)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	req.Header = r.Header
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		panic(http.ErrAbortHandler) // it is restarted
	}
	defer func() { _ = res.Body.Close() }() // read to its end or failed
	body, err := io.ReadAll(res.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(res.StatusCode)
	if at == reading {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		victim.kill()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
	if at == storing {
		time.Sleep(rand.N(storesFor))
		victim.kill()
	}
}

// someOrder returns an order of the mirror.
func someOrder(t *testing.T, ctx context.Context, f *fleet.Fleet) event.Key {
	t.Helper()
	docs, err := f.Store.Walk(ctx, fleet.Source, "order", "", 1)
	require.NoError(t, err)
	require.NotEmpty(t, docs)
	return docs[0].Key
}

// open opens a database that a program writes to.
func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)")
	require.NoError(t, err)
	return db
}

func number(t *testing.T, ctx context.Context, path, query string) (n int64) {
	t.Helper()
	db := open(t, path)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(ctx, query).Scan(&n))
	return n
}

// row is what the copy, or the mirror, has of an entity.
type row struct {
	version int64
	state   string
	deleted bool
}

// compare says in what the copy differs from the mirror.
func compare(t *testing.T, ctx context.Context, f *fleet.Fleet, path string) (differs []string) {
	t.Helper()
	mirror, held := mirrored(t, ctx, f), copied(t, ctx, path)
	require.NotEmpty(t, mirror)
	for subject, is := range mirror {
		if has, there := held[subject]; has != is {
			differs = append(differs, fmt.Sprintf("%s has version %d (%t), and the mirror version %d", subject, has.version, there, is.version))
		}
	}
	for subject, has := range held {
		if _, there := mirror[subject]; !there && !(has.deleted && has.state == "") {
			differs = append(differs, subject+" is not in the mirror")
		}
	}
	slices.Sort(differs)
	return differs[:min(len(differs), 5)]
}

func mirrored(t *testing.T, ctx context.Context, f *fleet.Fleet) map[string]row {
	t.Helper()
	definition, err := f.Definition()
	require.NoError(t, err)
	mirror := map[string]row{}
	for _, kind := range definition.Kinds() {
		for after, more := "", true; more; {
			docs, err := f.Store.Walk(ctx, fleet.Source, kind.Name, after, storage.MaxItems)
			require.NoError(t, err)
			for _, d := range docs {
				var state bytes.Buffer
				require.NoError(t, json.Compact(&state, d.Raw))
				mirror[feed.Subject(d.Key)] = row{d.Version, state.String(), !d.DeletedAt.IsZero()}
				after = d.Key.Local()
			}
			more = len(docs) == storage.MaxItems
		}
	}
	return mirror
}

func copied(t *testing.T, ctx context.Context, path string) map[string]row {
	t.Helper()
	db := open(t, path)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.QueryContext(ctx, "SELECT subject, version, ifnull(state, ''), deleted FROM entities")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	held := map[string]row{}
	for rows.Next() {
		var subject string
		var has row
		require.NoError(t, rows.Scan(&subject, &has.version, &has.state, &has.deleted))
		held[subject] = has
	}
	require.NoError(t, rows.Err())
	return held
}
