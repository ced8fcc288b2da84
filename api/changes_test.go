package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

// patience is for conditions that come about.
const patience = 60 * time.Second

func TestASnapshotAndWhatFollows(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.changed("order", "b1", `{"id":"b1","quantity":1.10}`)
	m.changed("order", "b2", `{"id":"b2"}`)
	m.changed("account", "a1", `{"id":"a1"}`)
	m.changed("order", "b2", "")

	first := m.page("limit=2")
	require.Equal(t, []string{"account/a1@1", "order/b1@1"}, first.subjects())
	require.True(t, first.More)
	require.False(t, first.Synced)
	require.Contains(t, first.After, "~")
	require.JSONEq(t, `{"id":"b1","quantity":1.10}`, string(first.Items[1].Data.State))
	require.Contains(t, string(first.Items[1].Data.State), "1.10")
	m.changed("account", "a1", `{"id":"a1","behind":"the walk"}`)

	second := m.page("limit=2&after=" + first.After)
	require.Equal(t, []string{"order/b2@2"}, second.subjects())
	require.Equal(t, feed.TypeDeleted, second.Items[0].Type)
	require.True(t, second.Synced)
	require.True(t, second.More)

	third := m.page("after=" + second.After)
	require.Equal(t, []string{"account/a1@2"}, third.subjects(), "what changed during the snapshot")
	require.False(t, third.More)
	require.Equal(t, cloud{
		SpecVersion: "1.0", ID: "account/a1@2", Source: "/tarn/lemon", Type: feed.TypeChanged, Subject: "account/a1",
		Sequence: "00000000000000000006", PartitionKey: "lemon/account/a1", Time: third.Items[0].Time, Data: third.Items[0].Data,
	}, third.Items[0])
	require.EqualValues(t, 2, third.Items[0].Data.Version)
	require.Empty(t, m.page("after="+third.After).Items)
	require.Equal(t, third.After, m.now())

	require.Equal(t, []string{"account/a1@2"}, m.page("kind=account").subjects())
	require.Empty(t, m.page("kind=person&after="+second.After).Items)
	require.Equal(t, third.After, m.page("kind=person&after="+second.After).After, "a filter moves the cursor")

	// The entity in a change is the entity as it is read.
	data := struct {
		Items []struct{ Data json.RawMessage }
	}{}
	require.NoError(t, json.Unmarshal(m.get("/v1/changes?source=lemon&kind=account").Body.Bytes(), &data))
	require.JSONEq(t, m.get("/v1/entities/lemon/account/a1").Body.String(), string(data.Items[0].Data))
}

// A page of a limit ends there, and the next one begins there, wherever that is in a batch.
func TestPagesOfAllSizes(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	from := m.now()
	var want []string
	for i := range 40 {
		m.write(lemonKey("order", fmt.Sprintf("b%02d", i)), `{}`)
		want = append(want, fmt.Sprintf("order/b%02d@1", i))
		if i%7 == 0 {
			m.sequence()
		}
	}
	m.sequence()
	for _, limit := range []int{1, 2, 3, 39, 40, 41, 1000} {
		var got []string
		at, more := from, true
		for more {
			page := m.page(fmt.Sprintf("limit=%d&after=%s", limit, at))
			require.LessOrEqual(t, len(page.Items), limit)
			got, at, more = append(got, page.subjects()...), page.After, page.More
		}
		require.Equal(t, want, got, "limit %d", limit)
	}
}

// The state is read when it is delivered: the feed may have versions in any order, and
// what is delivered does not go backwards.
func TestVersionsNeverGoBackwards(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	from := m.now()
	k := lemonKey("order", "b1")
	for i := range 3 {
		m.write(k, fmt.Sprintf(`{"n":%d}`, i))
	}
	for _, version := range []int64{3, 1, 2, 1} {
		_, err := m.writer.Add(t.Context(), []storage.Item{{Key: k, Version: version}})
		require.NoError(t, err)
	}
	for more := true; more; {
		page := m.page("limit=1&after=" + from)
		for _, c := range page.Items {
			require.Equal(t, "order/b1@3", c.ID)
			require.JSONEq(t, `{"n":2}`, string(c.Data.State))
		}
		from, more = page.After, page.More
	}
}

// What the mirror does not hold any more was erased.
func TestErasedEntities(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	from := m.now()
	_, err := m.writer.Add(t.Context(), []storage.Item{{Key: lemonKey("order", "b9"), Version: 4}})
	require.NoError(t, err)
	w := m.get("/v1/changes?source=lemon&after=" + from)
	require.Contains(t, w.Body.String(), `"id":"order/b9@4"`)
	require.Contains(t, w.Body.String(), `"type":"dev.tarn.entity.erased"`)
	require.Contains(t, w.Body.String(), `"data":{"source":"lemon","kind":"order","id":"b9","version":4}`)
}

func TestBadCursors(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.begun("lime")
	for i := range 3 {
		m.changed("order", fmt.Sprintf("b%d", i), `{}`)
	}
	good := m.now()
	parts := strings.Split(good, ".")
	walk := m.page("limit=1").After
	ofLime := struct{ After string }{}
	require.NoError(t, json.Unmarshal(m.get("/v1/changes?source=lime&after=now").Body.Bytes(), &ofLime))
	for name, c := range map[string]struct {
		query, says  string
		status       int
		kind, reason string
	}{
		"empty":                   {"after=%20", "no cursor", 400, "bad-request", ""},
		"a word":                  {"after=yesterday", "no cursor", 400, "bad-request", ""},
		"a position alone":        {"after=4", "no cursor", 400, "bad-request", ""},
		"cut short":               {"after=" + parts[0] + "." + parts[1], "no cursor", 400, "bad-request", ""},
		"lower case":              {"after=" + strings.ToLower(good), "no cursor", 400, "bad-request", ""},
		"negative":                {"after=" + parts[0] + ".-4." + parts[2], "no cursor", 400, "bad-request", ""},
		"too large a number":      {"after=" + parts[0] + ".99999999999999999999." + parts[2], "no cursor", 400, "bad-request", ""},
		"a mangled walk":          {"after=" + walk + "%25", "no cursor", 400, "bad-request", ""},
		"half a walk":             {"after=" + good + "~", "no cursor", 400, "bad-request", ""},
		"a walk of other kinds":   {"kind=order&after=" + walk, "snapshot of other kinds", 400, "bad-request", ""},
		"of another source":       {"after=" + ofLime.After, "of the source lime", 400, "bad-request", ""},
		"from the future":         {"after=" + parts[0] + ".1000." + parts[2], "has not come to that position", 410, problems.CursorGone, "unknown"},
		"another tag":             {"after=" + parts[0] + "." + parts[1] + ".AAAA", "older copy", 410, problems.CursorGone, "restored"},
		"another generation":      {"after=AAAA." + parts[1] + "." + parts[2], "older copy", 410, problems.CursorGone, "restored"},
		"a walk of another":       {"after=AAAA.1.BBBB" + walk[strings.Index(walk, "~"):], "older copy", 410, problems.CursorGone, "restored"},
		"no such kind":            {"kind=nothing", `no kind \"nothing\"`, 404, "not-found", ""},
		"too long a wait":         {"wait=61s", "from 0s to 1m0s", 422, "invalid", ""},
		"too many items":          {"limit=1001", "<= 1000", 422, "invalid", ""},
		"a name that is no label": {"consumer=a%20b", "pattern", 422, "invalid", ""},
	} {
		for _, accept := range []string{"application/json", "text/event-stream"} {
			t.Run(name+" as "+accept, func(t *testing.T) {
				w := m.get("/v1/changes?source=lemon&"+c.query, "Accept", accept)
				require.Equal(t, c.status, w.Code, w.Body)
				requireProblem(t, w, c.kind)
				p := requireShape(t, w)
				require.Contains(t, w.Body.String(), c.says)
				require.Equal(t, c.reason, p.Reason)
				if c.status == http.StatusGone {
					require.Equal(t, "?after=snapshot", p.Resync)
				}
			})
		}
	}
	require.Equal(t, 404, m.get("/v1/changes?source=none").Code)
	require.Equal(t, 422, m.get("/v1/changes").Code)
	require.Empty(t, m.page("after="+good).Items, "the good one is good")

	old := m.page("limit=1&after=0").After
	_, err := m.store.TrimFeed(t.Context(), "lemon", time.Now().Add(time.Hour))
	require.NoError(t, err)
	w := m.get("/v1/changes?source=lemon&after=" + old)
	require.Equal(t, http.StatusGone, w.Code)
	p := requireShape(t, w)
	require.Equal(t, feed.Retention, p.Reason)
	require.EqualValues(t, 3, p.Oldest)
	// The walk began at the head, which is never trimmed; one that began before it is gone.
	require.Equal(t, http.StatusOK, m.get("/v1/changes?source=lemon&after="+walk).Code)
	require.Equal(t, http.StatusGone, m.get("/v1/changes?source=lemon&after="+old+walk[strings.Index(walk, "~"):]).Code)
}

// A document that is older than the feed says is of a database that was restored.
func TestADocumentOlderThanTheFeed(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	from := m.now()
	m.write(lemonKey("order", "b1"), `{}`)
	_, err := m.writer.Add(t.Context(), []storage.Item{{Key: lemonKey("order", "b1"), Version: 9}})
	require.NoError(t, err)
	w := m.get("/v1/changes?source=lemon&after=" + from)
	require.Equal(t, http.StatusGone, w.Code, w.Body)
	require.Equal(t, feed.Restored, requireShape(t, w).Reason)
}

func TestAPageWaitsForAChange(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	from := m.now()
	answer := make(chan answered, 1)
	go func() { answer <- m.page("wait=60s&kind=order&after=" + from) }()
	require.Eventually(t, func() bool { return m.followers() == 1 }, patience, time.Millisecond)
	m.changed("account", "a1", `{}`) // it does not wait for that
	m.changed("order", "b1", `{}`)
	require.Equal(t, []string{"order/b1@1"}, (<-answer).subjects())
	require.Zero(t, m.followers())
	require.Empty(t, m.page("wait=10ms&after="+m.now()).Items)
}

func (m *mirror) followers() int {
	m.follow.hub.mu.Lock()
	defer m.follow.hub.mu.Unlock()
	return m.follow.hub.followers
}

func TestAStream(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.follow.times.bookmark, m.follow.times.comment = 50*time.Millisecond, 50*time.Millisecond
	addr, _ := m.serve(t)
	m.changed("order", "b1", `{"id":"b1"}`)
	s := m.stream(addr, "", "")
	synced, before := s.until(t, "synced")
	require.Len(t, before, 1)
	require.Equal(t, m.now(), synced.id)

	m.changed("order", "b2", `{"id":"b2"}`)
	e, _ := s.until(t, "")
	require.Equal(t, m.now(), e.id)
	require.Contains(t, e.data, `"state":{"id":"b2"}`)
	for range 3 { // comments keep it open, also beyond the time that a request may take to arrive
		for {
			e, err := s.next()
			require.NoError(t, err)
			if e.comment != "" {
				break
			}
		}
	}

	filtered := m.stream(addr, "kind=account&after="+e.id, "")
	m.changed("order", "b3", `{}`)
	for {
		mark, before := filtered.until(t, "bookmark")
		require.Empty(t, before)
		if mark.id == m.now() {
			require.JSONEq(t, `{"after":"`+mark.id+`"}`, mark.data)
			break
		}
	}

	again := m.stream(addr, "after=snapshot", e.id)
	e, before = again.until(t, "")
	require.Contains(t, e.data, "b3", "Last-Event-ID wins over after")
	require.Len(t, before, 1)
}

// A stream lasts longer than the header and the body of a request may take.
func TestAStreamOutlivesTheReadTimeout(t *testing.T) {
	t.Parallel()
	m := newMirror(t, func(o *Options) { o.ReadTimeout = 4 * time.Second })
	m.follow.times.comment = 200 * time.Millisecond
	addr, _ := m.serve(t)
	s := m.stream(addr, "after=now", "")
	for comments := 0; comments < 25; {
		e, err := s.next()
		require.NoError(t, err)
		if e.comment != "" {
			comments++
		}
	}
}

// Items of other kinds move the cursor without waiting for a time.
func TestAStreamTellsWhatItPassesOver(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.follow.times.bookmark = time.Hour
	from := m.now()
	for i := range 1200 {
		m.write(lemonKey("order", strconv.Itoa(i)), `{}`)
	}
	m.sequence()
	addr, _ := m.serve(t)
	s := m.stream(addr, "kind=account&after="+from, "")
	first, _ := s.until(t, "bookmark")
	require.Equal(t, from, first.id)
	second, _ := s.until(t, "bookmark")
	require.NotEqual(t, from, second.id)
}

func TestAStreamThatIsLost(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.changed("order", "b1", `{}`)
	at := m.now()
	addr, _ := m.serve(t)
	s := m.stream(addr, "after="+at, "")
	_, _ = s.until(t, "bookmark")
	m.store.lost.Store(true)
	gone, before := s.until(t, "gone")
	require.Empty(t, before)
	require.Empty(t, gone.id, "the consumer must not take a cursor from it")
	require.JSONEq(t, `{"type":"urn:tarn:problem:cursor-gone","reason":"unknown","oldest":0,"resync":"?after=snapshot"}`, gone.data)
	_, err := s.next()
	require.ErrorIs(t, err, io.EOF)
	_, res, err := open(t.Context(), addr, "", at)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusGone, res.StatusCode)
}

func TestTooManyFollowers(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.follow.hub.most = 2
	addr, _ := m.serve(t)
	one := m.stream(addr, "after=now", "")
	m.stream(addr, "after=now", "")
	w := m.get("/v1/changes?source=lemon")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	requireProblem(t, w, problems.Followers)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	one.close()
	require.Eventually(t, func() bool { return m.get("/v1/changes?source=lemon").Code == http.StatusOK }, patience, 10*time.Millisecond)
}

func TestAStopEndsStreams(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	addr, stop := m.serve(t)
	s := m.stream(addr, "after=now", "")
	_, _ = s.until(t, "bookmark")
	waits := make(chan answered, 1)
	from := m.now()
	go func() { waits <- m.page("wait=60s&after=" + from) }()
	require.Eventually(t, func() bool { return m.followers() == 2 }, patience, time.Millisecond)
	require.NoError(t, stop())
	_, err := s.next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, from, (<-waits).After)
	require.NotContains(t, m.logs.String(), "did not finish in time")
}

// A consumer that never reads is cut off, and slows no other.
func TestAConsumerThatNeverReads(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.follow.times.taken = 200 * time.Millisecond
	addr, _ := m.serve(t)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/changes?source=lemon&after=now HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	require.Eventually(t, func() bool { return m.followers() == 1 }, patience, time.Millisecond)
	big := `{"text":"` + strings.Repeat("x", 1<<20) + `"}`
	for i := 0; m.followers() > 0; i++ {
		require.Less(t, i, 1000)
		m.changed("order", "b"+strconv.Itoa(i%5), strings.Replace(big, "x", string(rune('a'+i%26)), 1))
	}
}

// Followers of one feed share its reads, and each takes little memory.
func TestAThousandConsumers(t *testing.T) {
	m := newMirror(t)
	m.changed("order", "b1", `{}`)
	addr, _ := m.serve(t)
	const n = 1000
	memory := func() uint64 {
		var s runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&s)
		return s.HeapInuse + s.StackInuse
	}
	before := memory()
	conns := make([]net.Conn, n)
	for i := range conns {
		var err error
		conns[i], err = net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conns[i].Close()
		fmt.Fprintf(conns[i], "GET /v1/changes?source=lemon&after=now HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	}
	await := func(text string) {
		var all sync.WaitGroup
		for _, c := range conns {
			all.Go(func() {
				_ = c.SetReadDeadline(time.Now().Add(patience))
				var seen string
				buf := make([]byte, 4096)
				for !strings.Contains(seen, text) {
					k, err := c.Read(buf)
					if err != nil {
						t.Errorf("no %s: %v", text, err)
						return
					}
					seen += string(buf[:k])
				}
			})
		}
		all.Wait()
	}
	await("bookmark")
	reads := m.store.documents.Load()
	const rounds = 5
	for i := range rounds {
		version := m.changed("order", "b1", fmt.Sprintf(`{"n":%d}`, i))
		await(fmt.Sprintf(`"id":"order/b1@%d"`, version))
	}
	reads = m.store.documents.Load() - reads
	each := (int64(memory()) - int64(before)) / n
	t.Logf("%d consumers: %d bytes each with both ends of the connection, %d reads of documents for %d changes", n, each, reads, rounds)
	require.Less(t, each, int64(64<<10))
	require.LessOrEqual(t, reads, int64(rounds*3*readsAtOnce), "reads are shared")
	heads := m.store.heads.Load()
	require.Eventually(t, func() bool { return m.store.heads.Load() >= heads+20 }, patience, time.Millisecond)
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	m := newMirror(t, func(o *Options) {
		o.Now = time.Now
		o.Tokens = []Token{{Name: "app", Secret: "0123456789abcdef", Role: Viewer}}
	})
	auth := []string{"Authorization", "Bearer 0123456789abcdef"}
	require.Equal(t, http.StatusUnauthorized, m.get("/v1/subscriptions").Code)
	require.Equal(t, http.StatusUnauthorized, m.get("/v1/changes?source=lemon").Code)
	m.changed("order", "b1", `{}`)
	require.Equal(t, http.StatusOK, m.get("/v1/changes?source=lemon&after=now&consumer=billing", auth...).Code)
	require.Equal(t, http.StatusOK, m.get("/v1/changes?source=lemon&limit=1&kind=order&consumer=search", auth...).Code)
	m.changed("order", "b2", `{}`)
	m.changed("order", "b3", `{}`)
	require.True(t, m.follow.consumers.save(t.Context()))
	m.follow.consumers.measure(t.Context())
	require.Contains(t, m.get("/metrics").Body.String(), `tarn_feed_lag{consumer="billing",source="lemon"} 2`)

	var list subscriptionList
	require.NoError(t, json.Unmarshal(m.get("/v1/subscriptions", auth...).Body.Bytes(), &list))
	require.Len(t, list.Items, 2)
	of := map[string]subscription{}
	for _, s := range list.Items {
		of[s.Consumer] = s
	}
	b := of["billing"]
	require.EqualValues(t, 2, b.Lag.Positions)
	require.Greater(t, b.Lag.Seconds, 0.0)
	require.Equal(t, "app", b.By)
	require.Equal(t, "page", b.Form)
	require.False(t, b.Snapshot)
	require.True(t, of["search"].Snapshot)
	require.Equal(t, []string{"order"}, of["search"].Kinds)

	require.Equal(t, http.StatusOK, m.get("/v1/changes?source=lemon&consumer=billing&after="+b.After, auth...).Code)
	require.True(t, m.follow.consumers.save(t.Context()))
	m.follow.consumers.measure(t.Context())
	require.Contains(t, m.get("/metrics").Body.String(), `tarn_feed_lag{consumer="billing",source="lemon"} 0`)
}

// Followers in all forms, killed and going on from their stored cursors, against writers
// and racing sequencers: at calm each copy equals the mirror, and none saw a version go
// backwards.
func TestCopiesEqualTheMirror(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.follow.times.bookmark = 20 * time.Millisecond
	addr, _ := m.serve(t)
	copies, wrong := m.race(addr, 1500)
	require.Empty(t, wrong)
	for name, c := range copies {
		require.Empty(t, c.wrong, name)
		require.Zero(t, c.resyncs, name)
	}
}

// race runs writers, sequencers and followers, and says which copies differ at calm.
func (m *mirror) race(addr string, changes int) (copies map[string]*copyOf, wrong []string) {
	t := m.t
	ctx, end := context.WithCancel(t.Context())
	var writing, working sync.WaitGroup
	kinds := []string{"order", "account"}
	write := func(random *rand.Rand) {
		k := lemonKey(kinds[random.IntN(2)], fmt.Sprintf("e%02d", random.IntN(60)))
		state := fmt.Sprintf(`{"n":%d}`, random.Int32())
		if random.IntN(10) == 0 {
			state = ""
		}
		if _, err := writeState(ctx, m.store, k, state); err != nil && ctx.Err() == nil {
			t.Errorf("write: %v", err)
		}
	}
	first := rand.New(rand.NewPCG(1, 1))
	for range 150 {
		write(first)
	}
	for i := range 3 {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(i)))
			for range changes / 3 {
				write(random)
			}
		})
	}
	for range 2 {
		working.Go(func() {
			w := feed.NewWriter(m.store, "lemon", time.Now)
			for ctx.Err() == nil {
				if err := sequence(ctx, m.store, w); err != nil && ctx.Err() == nil {
					t.Errorf("sequence: %v", err)
					return
				}
			}
		})
	}
	copies = map[string]*copyOf{"pages": newCopy(), "pages of orders": newCopy(), "streams": newCopy(), "streams of orders": newCopy()}
	cut := func() int { return 1 + rand.IntN(40) }
	working.Go(func() { copies["pages"].pages(ctx, addr, "") })
	working.Go(func() { copies["pages of orders"].pages(ctx, addr, "kind=order") })
	working.Go(func() { copies["streams"].streams(ctx, addr, "", cut) })
	working.Go(func() { copies["streams of orders"].streams(ctx, addr, "kind=order", cut) })
	writing.Wait()
	late := time.Now().Add(patience)
	for name, c := range copies {
		of := kinds
		if strings.HasSuffix(name, "orders") {
			of = kinds[:1]
		}
		differs := c.differs(ctx, m.store, of...)
		for differs != "" && time.Now().Before(late) {
			time.Sleep(5 * time.Millisecond) // between looks
			differs = c.differs(ctx, m.store, of...)
		}
		if differs != "" {
			wrong = append(wrong, name+": "+differs)
		}
	}
	end()
	working.Wait()
	return copies, wrong
}

// A snapshot that breaks goes on where it was.
func TestABrokenSnapshotGoesOn(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	const n = 100
	for i := range n {
		m.write(lemonKey("order", fmt.Sprintf("b%03d", i)), `{}`)
	}
	m.sequence()
	addr, _ := m.serve(t)
	seen := map[string]int{}
	at := ""
	for range n/10 + 5 {
		s := m.stream(addr, "", at)
		synced := false
		for k := 0; k < 10 && !synced; {
			e, err := s.next()
			require.NoError(t, err)
			if e.id != "" {
				at = e.id
			}
			if e.name == "" && e.data != "" {
				var c cloud
				require.NoError(t, json.Unmarshal([]byte(e.data), &c))
				seen[c.Subject]++
				k++
			}
			synced = e.name == "synced"
		}
		s.close()
		if synced {
			break
		}
	}
	require.Len(t, seen, n)
	for subject, times := range seen {
		require.Equal(t, 1, times, subject)
	}
	require.Equal(t, m.now(), at)
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	c := feed.Cursor{Gen: "ABC", Position: 7, Tag: "DEF"}
	k := event.Key{Source: "lemon", Kind: "order", ID: "a/b ü~.", Under: "x,y"}
	for _, p := range []place{
		{}, {Cursor: c}, {c, &walkPlace{}}, {c, &walkPlace{filter: "account,order", kind: "order", id: k.Local()}}, {walk: &walkPlace{}},
	} {
		read, err := parsePlace(p.String())
		require.NoError(t, err)
		require.Equal(t, p, read)
		require.NotContains(t, p.String(), "+")
	}
}
