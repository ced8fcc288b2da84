package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// The fake store has a feed without batches.

func (s *fakeStore) FeedHead(context.Context, string) (*storage.Batch, error) {
	return nil, storage.ErrNotFound
}

func (s *fakeStore) FeedTail(context.Context, string) (*storage.Batch, error) {
	return nil, storage.ErrNotFound
}

func (s *fakeStore) Batches(context.Context, string, int64, int) ([]*storage.Batch, error) {
	return nil, s.enter()
}

func (s *fakeStore) Walk(_ context.Context, _, kind, _ string, _ int) (all []*storage.Document, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.docs {
		if d.Key.Kind == kind && d.Known() {
			all = append(all, d)
		}
	}
	return all, nil
}

func (s *fakeStore) Documents(context.Context, []event.Key) ([]*storage.Document, error) {
	return nil, s.enter()
}

func (s *fakeStore) WatchFeed(context.Context, string, func()) error { return storage.ErrNoBell }

func (s *fakeStore) SaveSubscriptions(context.Context, []storage.Subscription) error { return nil }

func (s *fakeStore) Subscriptions(context.Context) ([]storage.Subscription, error) {
	return s.subscriptions, s.enter()
}

func (s *fakeStore) TrimSubscriptions(context.Context, time.Time) (int, error) { return 0, nil }

// watched is a store that counts what a test asks about, and can seem to be restored from
// an older copy.
type watched struct {
	*sqlite.Store
	heads, documents atomic.Int64
	// lost: the log is gone but for its first batch.
	lost atomic.Bool
}

func (s *watched) FeedHead(ctx context.Context, source string) (*storage.Batch, error) {
	s.heads.Add(1)
	if s.lost.Load() {
		return s.FeedTail(ctx, source)
	}
	return s.Store.FeedHead(ctx, source)
}

func (s *watched) Batches(ctx context.Context, source string, position int64, limit int) ([]*storage.Batch, error) {
	if s.lost.Load() && position > 1 {
		return nil, nil
	}
	return s.Store.Batches(ctx, source, position, limit)
}

func (s *watched) Documents(ctx context.Context, keys []event.Key) ([]*storage.Document, error) {
	s.documents.Add(1)
	return s.Store.Documents(ctx, keys)
}

// mirror is an api on a real store, with what workers and the sequencer do to it.
type mirror struct {
	*fixture
	t      *testing.T
	store  *watched
	writer *feed.Writer
}

// newMirror has the sources lemon and lime. The feed of lemon has begun.
func newMirror(t *testing.T, change ...func(*Options)) *mirror {
	t.Helper()
	opened, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	m := &mirror{t: t, store: &watched{Store: opened}}
	m.fixture = newFixture(t, append([]func(*Options){func(o *Options) {
		lime := lemon(t, o.Now, testSecret)
		lime.Name = "lime"
		o.Store, o.Sources = m.store, append(o.Sources, lime)
	}}, change...)...)
	m.writer = m.begun("lemon")
	return m
}

// begun begins the feed of a source.
func (m *mirror) begun(source string) *feed.Writer {
	w := feed.NewWriter(m.store, source, time.Now)
	_, err := w.Begun(m.t.Context())
	require.NoError(m.t, err)
	_, err = w.Begin(m.t.Context(), "begun")
	require.NoError(m.t, err)
	return w
}

func lemonKey(kind, id string) event.Key { return event.Key{Source: "lemon", Kind: kind, ID: id} }

// write changes the state of an entity, or deletes it, and returns its version.
func (m *mirror) write(k event.Key, state string) int64 {
	m.t.Helper()
	version, err := writeState(m.t.Context(), m.store, k, state)
	require.NoError(m.t, err)
	return version
}

// writeState is what a worker does. "" deletes.
func writeState(ctx context.Context, s storage.Store, k event.Key, state string) (int64, error) {
	ref := event.Ref{Key: k, Parents: map[string]string{"account": "cusa_1"}}
	doc, err := s.Claim(ctx, ref)
	if err != nil {
		return 0, err
	}
	w := &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: time.Now(), Raw: []byte(state), StateHash: state, DeletedBefore: !doc.DeletedAt.IsZero()}
	if state == "" {
		w.Raw, w.Deleted = nil, true
	}
	_, err = s.Write(ctx, w)
	return doc.Claim, err
}

// sequence adds to the feed of lemon what it lacks, as a sequencer does.
func (m *mirror) sequence() {
	m.t.Helper()
	require.NoError(m.t, sequence(m.t.Context(), m.store, m.writer))
}

func sequence(ctx context.Context, s storage.Store, w *feed.Writer) error {
	for _, kind := range []string{"account", "order"} {
		for {
			debts, err := s.Debts(ctx, "lemon", kind, "", storage.MaxItems)
			if err != nil || len(debts) == 0 {
				if err != nil {
					return err
				}
				break
			}
			if _, err := w.Add(ctx, debts); err != nil {
				return err
			}
			if _, err := s.Fed(ctx, debts); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed writes and sequences.
func (m *mirror) changed(kind, id, state string) int64 {
	m.t.Helper()
	v := m.write(lemonKey(kind, id), state)
	m.sequence()
	return v
}

// cloud is a change as a consumer reads it.
type cloud struct {
	SpecVersion, ID, Source, Type, Subject, Sequence, PartitionKey string
	Time                                                           time.Time
	Data                                                           struct {
		Version int64
		State   json.RawMessage
	}
}

// answered is a page as a consumer reads it.
type answered struct {
	Items  []cloud
	After  string
	More   bool
	Synced bool
}

func (a answered) subjects() (all []string) {
	for _, c := range a.Items {
		all = append(all, c.ID)
	}
	return all
}

// page asks for one page of lemon's changes.
func (m *mirror) page(query string) answered {
	m.t.Helper()
	w := m.get("/v1/changes?source=lemon&" + query)
	require.Equal(m.t, http.StatusOK, w.Code, w.Body)
	var a answered
	require.NoError(m.t, json.Unmarshal(w.Body.Bytes(), &a), w.Body)
	return a
}

// now is the cursor behind all that is in the feed.
func (m *mirror) now() string { return m.page("after=now").After }

// sse is a server-sent event. A comment has none but text.
type sse struct{ id, name, data, comment string }

// sseStream is a connection that receives events.
type sseStream struct {
	body io.ReadCloser
	from *bufio.Reader
	stop context.CancelFunc
}

// open opens a stream of lemon's changes. lastID is left out if it is "".
func open(ctx context.Context, addr, query, lastID string) (*sseStream, *http.Response, error) {
	ctx, stop := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/changes?source=lemon&"+query, nil)
	if err != nil {
		stop()
		return nil, nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return &sseStream{res.Body, bufio.NewReader(res.Body), stop}, res, nil
}

func (m *mirror) stream(addr, query, lastID string) *sseStream {
	m.t.Helper()
	s, res, err := open(m.t.Context(), addr, query, lastID)
	require.NoError(m.t, err)
	m.t.Cleanup(s.close)
	require.Equal(m.t, http.StatusOK, res.StatusCode)
	require.Equal(m.t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Equal(m.t, "no", res.Header.Get("X-Accel-Buffering"))
	return s
}

func (s *sseStream) close() {
	s.stop()
	_ = s.body.Close()
}

// next reads an event or a comment.
func (s *sseStream) next() (e sse, err error) {
	for {
		line, err := s.from.ReadString('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			return e, nil
		case field == "id":
			e.id = value
		case field == "event":
			e.name = value
		case field == "data":
			e.data = value
		case field == "":
			e.comment = "comment " + value
		}
	}
}

// until reads until an event has a name, "" for a change, and returns it and the changes
// before it.
func (s *sseStream) until(t *testing.T, name string) (sse, []cloud) {
	t.Helper()
	var before []cloud
	for {
		e, err := s.next()
		require.NoError(t, err)
		if e.name == "" && e.data != "" {
			var c cloud
			require.NoError(t, json.Unmarshal([]byte(e.data), &c))
			before = append(before, c)
		}
		if e.name == name && e.data != "" {
			return e, before
		}
	}
}

// copyOf is what a consumer keeps: for each subject the greatest version and what it
// says, and what went wrong.
type copyOf struct {
	mu       sync.Mutex
	at       string
	held     map[string]held
	lastSent map[string]int64
	wrong    []string
	resyncs  int
}

type held struct {
	version int64
	state   string
}

func newCopy() *copyOf {
	return &copyOf{at: "snapshot", held: map[string]held{}, lastSent: map[string]int64{}}
}

// take keeps a change, and sees to it that versions do not decrease.
func (c *copyOf) take(data []byte, at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var got cloud
	if err := json.Unmarshal(data, &got); err != nil {
		c.wrong = append(c.wrong, err.Error())
		return
	}
	if last := c.lastSent[got.Subject]; got.Data.Version < last {
		c.wrong = append(c.wrong, fmt.Sprintf("%s went from version %d to %d", got.Subject, last, got.Data.Version))
	}
	if want := fmt.Sprintf("%s@%d", got.Subject, got.Data.Version); got.ID != want {
		c.wrong = append(c.wrong, got.ID+" is not "+want)
	}
	c.lastSent[got.Subject] = got.Data.Version
	if got.Data.Version >= c.held[got.Subject].version {
		state := string(got.Data.State)
		if got.Type == feed.TypeDeleted {
			state = ""
		}
		c.held[got.Subject] = held{got.Data.Version, state}
	}
	c.at = at
}

func (c *copyOf) moved(at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func (c *copyOf) place() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// differs says how the copy differs from the mirror in some kinds, "" if it does not.
func (c *copyOf) differs(ctx context.Context, s storage.Store, kinds ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := 0
	for _, kind := range kinds {
		docs, err := s.Walk(ctx, "lemon", kind, "", 1000)
		if err != nil {
			return err.Error()
		}
		for _, d := range docs {
			all++
			want := held{d.Version, string(d.Raw)}
			if !d.DeletedAt.IsZero() {
				want.state = ""
			}
			if got := c.held[feed.Subject(d.Key)]; got != want {
				return fmt.Sprintf("%s is %v, not %v", d.Key, got, want)
			}
		}
	}
	if len(c.held) != all {
		return fmt.Sprintf("%d entities, not %d", len(c.held), all)
	}
	return ""
}

// pages follows in pages until ctx ends; each is one connection.
func (c *copyOf) pages(ctx context.Context, addr, query string) {
	for ctx.Err() == nil {
		res, err := get(ctx, "http://"+addr+"/v1/changes?source=lemon&wait=1s&limit=7&"+query+"&after="+url.QueryEscape(c.place()))
		if err != nil {
			continue
		}
		var page struct {
			Items []json.RawMessage
			After string
		}
		err = json.NewDecoder(res.Body).Decode(&page)
		_ = res.Body.Close()
		switch {
		case res.StatusCode == http.StatusGone:
			c.resync()
		case err == nil && res.StatusCode == http.StatusOK:
			for _, item := range page.Items {
				c.take(item, c.place()) // the cursor is stored with the last of them
			}
			c.moved(page.After)
		}
	}
}

func get(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
}

func (c *copyOf) resync() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.held, c.lastSent = "snapshot", map[string]held{}, map[string]int64{}
	c.resyncs++
}

// streams follows in streams until ctx ends. Each is cut off after a few events.
func (c *copyOf) streams(ctx context.Context, addr, query string, cut func() int) {
	for ctx.Err() == nil {
		s, res, err := open(ctx, addr, "after=snapshot&"+query, lastID(c.place()))
		if err != nil {
			continue
		}
		if res.StatusCode == http.StatusGone {
			c.resync()
		}
		for range cut() {
			e, err := s.next()
			if err != nil {
				break
			}
			switch {
			case e.name == "gone":
				c.resync()
			case e.name == "" && e.data != "":
				c.take([]byte(e.data), e.id)
			case e.id != "":
				c.moved(e.id)
			}
		}
		s.close()
	}
}

func lastID(at string) string {
	if at == "snapshot" {
		return ""
	}
	return at
}
