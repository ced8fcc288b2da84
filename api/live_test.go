package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// follower reads the events of GET /v1/live.
type follower struct {
	t     *testing.T
	body  *bufio.Reader
	close func()
}

// follow connects to a server; header as those of fixture.get.
func follow(t *testing.T, server string, header ...string) (*follower, *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server+"/v1/live", nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return &follower{t, bufio.NewReader(res.Body), func() { _ = res.Body.Close() }}, res
}

// next returns the next event; comments have the name ":".
func (f *follower) next(into any) (event string) {
	f.t.Helper()
	for {
		line, err := f.body.ReadString('\n')
		require.NoError(f.t, err)
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, ":"):
			event = ":"
		case strings.HasPrefix(line, "event: "):
			event = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			if into != nil {
				require.NoError(f.t, json.Unmarshal([]byte(line[len("data: "):]), into))
			}
		case line == "":
			return event
		}
	}
}

// served serves a fixture with its loops until the test ends.
func served(t *testing.T, f *fixture) (url string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, l) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + l.Addr().String(), stop
}

func TestLiveSaysWhoThenWhatWasThenWhatIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{viewerToken, operatorToken} })
	f.live.every = time.Hour // a summary is made for each who joins, and no other
	f.queue.workers = []string{"w1"}
	f.queue.shards = []stream.ShardState{
		{Shard: 0, Owner: "w1", Sources: map[string]stream.ShardSource{"lemon": {Live: 2, Oldest: 3 * time.Second, Background: 1}}},
		{Shard: 1, Sources: map[string]stream.ShardSource{"lemon": {Live: 1, Oldest: time.Hour, Parked: 4}}},
	}
	f.store.open = map[string]int64{"lemon": 2}
	f.store.tasks = []*storage.Task{
		redriveTask("job_1", storage.TaskRunning),
		{ID: "sweep_1", Kind: modeSweep, Source: "lemon", Status: storage.TaskDone, FinishedAt: noon, Counts: map[string]int64{"found": 2, "failed_checks": 3}},
	}
	url, _ := served(t, f)

	_, refused := follow(t, url)
	require.Equal(t, http.StatusUnauthorized, refused.StatusCode)

	me, res := follow(t, url, "Authorization", "Bearer "+viewerToken.Secret)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	var who hello
	require.Equal(t, "hello", me.next(&who))
	require.Equal(t, "grafana", who.By)
	require.Equal(t, "viewer", who.Role)
	require.Len(t, who.Sources, 1)
	require.Contains(t, who.Sources[0].Kinds, "order")
	var was past
	require.Equal(t, "past", me.next(&was))
	require.Empty(t, was.Points, "no client listened before")
	var is now
	require.Equal(t, "now", me.next(&is))
	require.Equal(t, 1, is.Workers)
	require.Equal(t, 1, is.Unowned)
	require.EqualValues(t, 3, is.Backlog.Live)
	require.EqualValues(t, 4, is.Backlog.Parked)
	require.Equal(t, []ageClass{{1, 0}, {10, 2}, {60, 0}, {600, 0}, {0, 1}}, is.Backlog.Ages)
	require.Equal(t, map[string]int64{"lemon": 2}, is.Letters)
	require.Equal(t, "job_1", is.Tasks[0].ID)
	require.Equal(t, []compared{{Source: "lemon", Sweep: "sweep_1", Status: "done", FinishedAt: momentOf(noon), Found: 2, Unchecked: 3}}, is.Compared)
	require.Equal(t, levelWrong, is.Verdict.Level)

	other, _ := follow(t, url, "Authorization", "Bearer "+operatorToken.Secret)
	require.Equal(t, "hello", other.next(&who))
	require.Equal(t, "operator", who.Role)
	require.Equal(t, "past", other.next(&was))
	require.NotEmpty(t, was.Points, "a page that comes later has what was before")
	require.EqualValues(t, 2, was.Points[0].Letters)
	require.Equal(t, "now", other.next(nil))
	require.Equal(t, "now", me.next(nil), "a summary is for all who listen")
}

// While a client listens a summary is made every two seconds, and once more when one joins.
func TestSummariesComeByThemselves(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f.live.wake = make(chan struct{}, 1) // of this test's time
		go f.live.run(ctx, nil)
		time.Sleep(time.Second)
		me, began := f.live.join(), time.Now()
		require.Contains(t, string(<-me.frames), "event: past")
		for _, after := range []time.Duration{0, time.Second, 3 * time.Second, 5 * time.Second} {
			require.Contains(t, string(<-me.frames), "event: now")
			require.Equal(t, after, time.Since(began))
		}
		f.live.leave(me)
		cancel()
	})
}

// However many listen, Redis and the database are asked once for each summary, and not at
// all while none does.
func TestLiveIsMadeOnceForAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	asked := func() (looks, calls int) {
		f.queue.mu.Lock()
		defer f.queue.mu.Unlock()
		f.store.mu.Lock()
		defer f.store.mu.Unlock()
		return f.queue.looks, f.store.calls
	}
	f.live.step(t.Context())
	looks, calls := asked()
	require.Zero(t, looks+calls, "no client listens")

	one := f.live.join()
	f.live.step(t.Context())
	looks, calls = asked()
	require.Equal(t, 1, looks)
	f.live.leave(one)

	many := make([]*listener, 20)
	for i := range many {
		many[i] = f.live.join()
	}
	f.live.summaries.turn = 0 // the same work as in the first
	f.clock.advance(liveEvery)
	f.live.step(t.Context())
	looksOfMany, callsOfMany := asked()
	require.Equal(t, looks, looksOfMany-looks)
	require.Equal(t, calls, callsOfMany-calls)
	for _, l := range many {
		f.live.leave(l)
	}
	f.live.step(t.Context())
	require.Empty(t, f.live.past, "points with a gap between them are no trend")
	looks, calls = asked()
	require.Equal(t, looksOfMany+callsOfMany, looks+calls)
}

// What changes slowly is not read for each summary.
func TestLiveReadsWhatIsSlowSeldom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var calls []int
	for range slowlyEvery + 1 {
		f.store.mu.Lock()
		before := f.store.calls
		f.store.mu.Unlock()
		me := f.live.join()
		f.live.step(t.Context())
		f.live.leave(me)
		f.store.mu.Lock()
		calls = append(calls, f.store.calls-before)
		f.store.mu.Unlock()
		f.clock.advance(liveEvery)
	}
	const quickly = 3 // newest events, open letters, tasks under way
	require.Equal(t, []int{quickly + 6, quickly, quickly, quickly, quickly, quickly + 6}, calls)
}

// Commands that stay as they are until an operator acts are counted.
func TestLiveCountsCommandsThatNeedAnOperator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.changes = openSQLite(t).Commands()
	require.Equal(t, needful{}, f.live.summaries.make(t.Context()).Commands)
	for i, state := range []storage.CommandState{storage.CommandDead, storage.CommandQueued, storage.CommandQueued} {
		c := &storage.Command{
			Source: "lemon", Key: fmt.Sprint(i), Kind: "order", Op: "cancel", Lane: event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprint("o", i)}, State: state,
		}
		c.ID = storage.CommandID(c.Source, c.Key)
		c, err := f.store.changes.Ask(t.Context(), c)
		require.NoError(t, err)
		if i == 1 {
			c.State, c.Asked = storage.CommandAsked, &storage.CommandQuestion{Since: f.clock.now(), Reason: "the answer was lost"}
			done, err := f.store.changes.Move(t.Context(), c)
			require.NoError(t, err)
			require.True(t, done)
		}
	}
	f.live.summaries.turn = 0 // it is looked at slowly
	require.Equal(t, needful{Asked: 1, Dead: 1}, f.live.summaries.make(t.Context()).Commands)
}

func TestASlowListenerIsCutOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	slow, quick := f.live.join(), f.live.join()
	drain := func() (n int, open bool) {
		for {
			select {
			case _, open := <-quick.frames:
				if !open {
					return n, false
				}
				n++
			default:
				return n, true
			}
		}
	}
	for range liveBehind {
		f.live.step(t.Context())
		_, open := drain()
		require.True(t, open)
	}
	require.Len(t, f.live.listeners, 1)
	for range liveBehind {
		_, open := <-slow.frames
		require.True(t, open, "what it has been sent it may still read")
	}
	_, open := <-slow.frames
	require.False(t, open)
	f.live.leave(slow) // again, as its handler does
}

func TestListenersAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range liveListeners {
		require.NotNil(t, f.live.join())
	}
	w := f.get("/v1/live")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	requireProblem(t, w, "unavailable")
}

// A server that stops ends the streams: they would keep it for its whole grace.
func TestStopEndsTheStreams(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Grace = time.Hour })
	url, stop := served(t, f)
	me, _ := follow(t, url)
	require.Equal(t, "hello", me.next(nil))
	require.NoError(t, stop())
	for {
		if _, err := me.body.ReadString('\n'); err != nil {
			break
		}
	}
}

// A stream lives longer than any other answer, and longer than a request may take to
// arrive.
func TestAStreamOutlivesTheRequestsTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.ReadTimeout = 4 * time.Second })
	f.live.every = time.Hour
	f.live.quiet = 10 * time.Millisecond // comments never cut off a test that is slow to read
	url, _ := served(t, f)
	began := time.Now()
	me, _ := follow(t, url)
	for time.Since(began) < 5*time.Second {
		me.next(nil)
	}
}

// A client that leaves is forgotten.
func TestAListenerThatLeavesIsForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.live.every = time.Hour
	f.live.quiet = 5 * time.Millisecond
	url, _ := served(t, f)
	me, _ := follow(t, url)
	require.Equal(t, "hello", me.next(nil))
	me.close()
	require.Eventually(t, func() bool {
		f.live.mu.Lock()
		defer f.live.mu.Unlock()
		return len(f.live.listeners) == 0
	}, 10*time.Second, 5*time.Millisecond)
}

// While there is nothing new, a comment says that the connection lives.
func TestQuietStreamsSaySo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.live.quiet = 5 * time.Millisecond
	server := httptest.NewServer(f.Handler()) // no loops: no summary is made
	t.Cleanup(server.Close)
	me, _ := follow(t, server.URL)
	require.Equal(t, "hello", me.next(nil))
	require.Equal(t, "past", me.next(nil))
	require.Equal(t, ":", me.next(nil))
	require.Equal(t, ":", me.next(nil))
	me.close()
}

func TestLiveNamesWhatIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.err = errors.New("away")
	n := f.live.summaries.make(t.Context())
	require.Equal(t, []string{"database"}, n.Away)
	require.Equal(t, levelUnknown, n.Verdict.Level)
	f.clock.advance(time.Minute)
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	n = f.live.summaries.make(t.Context())
	require.Equal(t, []string{"redis", "database"}, n.Away)
	f.store.err = nil
	f.queue.set(func(q *fakeQueue) { q.err = nil })
	n = f.live.summaries.make(t.Context())
	require.Empty(t, n.Away)
}

func TestLiveMatchesTheDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue.shards = []stream.ShardState{{Owner: "w1", Epoch: 1}}
	f.store.passages = []storage.Passage{{Source: "lemon", Status: storage.Processed, ReceivedAt: noon, ProcessedAt: noon}}
	me := f.live.join()
	f.live.step(t.Context())
	who, err := f.live.hello(context.WithValue(t.Context(), admitted{}, caller{name: "ops", role: Operator}))
	require.NoError(t, err)
	schemas := map[string]string{"hello": "Hello", "past": "Past", "now": "Now"}
	for _, frame := range [][]byte{who, <-me.frames, <-me.frames} {
		event, data, _ := strings.Cut(strings.TrimPrefix(string(frame), "event: "), "\ndata: ")
		requireFits(t, schemas[event], data)
	}
}

func TestFlow(t *testing.T) {
	t.Parallel()
	passage := func(ago, took time.Duration, status storage.EventStatus) storage.Passage {
		p := storage.Passage{Source: "lemon", Status: status, ReceivedAt: noon.Add(-ago)}
		if status.Final() {
			p.ProcessedAt = p.ReceivedAt.Add(took)
		}
		return p
	}
	require.Equal(t, flow{}, flowOf(nil, noon))
	require.Equal(t, flow{ReceivedPerS: 0.3, P50Ms: 20, P99Ms: 40, Measured: 3, Open: 1, Since: momentOf(noon.Add(-time.Hour))}, flowOf([]storage.Passage{
		passage(time.Second, 10*time.Millisecond, storage.Processed),
		passage(2*time.Second, 0, storage.Pending),
		passage(3*time.Second, 40*time.Millisecond, storage.Processed),
		passage(time.Minute, 20*time.Millisecond, storage.Processed),
		passage(time.Hour, time.Hour, storage.Dead),
	}, noon), "what was given up is no passage")

	var many []storage.Passage
	for i := range passagesRead {
		many = append(many, passage(time.Duration(i+1)*time.Millisecond, time.Millisecond, storage.Processed))
	}
	require.Equal(t, 1000.0, flowOf(many, noon).ReceivedPerS, "the window ends where the rows end")
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	require.Equal(t, 50.0, percentile(hundred, 50))
	require.Equal(t, 99.0, percentile(hundred, 99))
	require.Equal(t, 7.0, percentile([]float64{7}, 99))
	require.Zero(t, percentile(nil, 50))
	require.Zero(t, percentile([]float64{-5}, 50), "clocks of two machines may differ")
}

func TestTheRootNamesThePages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Contains(t, f.get("/").Body.String(), "/console")
	page := f.get("/console")
	require.Equal(t, http.StatusOK, page.Code)
	require.Contains(t, page.Body.String(), `src="console/app.js"`)
	require.Equal(t, http.StatusOK, f.get("/console/app.js").Code)
	require.Equal(t, http.StatusPermanentRedirect, f.get("/console/").Code)
}
