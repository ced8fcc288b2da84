package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Consumer follows the change feed as a program that is no part of Tarn does: it keeps what it
// got and the cursor behind it together, in what stands for its database, goes on from
// there after each end of a connection, and keeps the greater version of each entity.
type Consumer struct {
	// Name is what it gives as ?consumer=.
	Name string

	fleet  *Fleet
	stream bool
	kinds  []string
	client *http.Client
	ended  sync.WaitGroup

	mu sync.Mutex
	// at and held are stored.
	at string
	// began is where its snapshot began: no command before it is in what follows.
	began string
	held  map[string]copied
	// backup is what was stored at some time, and where; nil: there is none.
	backup *backup
	// sent is the greatest version it was ever sent of each entity, also in connections that
	// ended before it stored anything.
	sent map[string]int64
	// life is the connection that may store, nil between two.
	life      *connection
	backwards []string
	resyncs   int
}

// backup is a copy of what stands for the database of a consumer.
type backup struct {
	at, began string
	held      map[string]copied
}

// connection is what a consumer knows of one connection, and loses if it is killed. What a
// connection still reads after that is not stored.
type connection struct {
	*Consumer

	cut context.CancelFunc
	// pending is what was received and is not stored, and reached is the cursor behind it.
	pending []received
	reached string
}

// copied is what a consumer holds of an entity.
type copied struct {
	version int64
	// state is "" of a deleted entity.
	state string
}

// received is a change that a consumer got.
type received struct {
	subject string
	copied
}

// storeEvery is after how many changes of a stream a consumer stores them, and storeAfter
// after how long without another.
const (
	storeEvery = 25
	storeAfter = 300 * time.Millisecond
)

// silentFor is how long a consumer waits for a sign of life: streams have a comment each
// 15 s.
const silentFor = 25 * time.Second

// Follow starts a consumer that follows in streams, or else in pages, until ctx ends. Without
// kinds it follows all.
func (f *Fleet) Follow(ctx context.Context, name string, stream bool, kinds ...string) *Consumer {
	c := &Consumer{
		Name: name, fleet: f, stream: stream, kinds: kinds, at: fromStart, held: map[string]copied{}, sent: map[string]int64{},
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	c.ended.Go(func() {
		for ctx.Err() == nil {
			if err := c.connect(ctx); err != nil {
				_ = Pause(ctx, 50*time.Millisecond)
			}
		}
	})
	return c
}

// fromStart is the place of a consumer that has nothing.
const fromStart = "snapshot"

// Wait waits until the consumer has ended, once its context has.
func (c *Consumer) Wait() { c.ended.Wait() }

// Kill kills the consumer: what it has not stored is gone, and it goes on from its stored
// cursor.
func (c *Consumer) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
}

// Forget makes the consumer begin again with a snapshot.
func (c *Consumer) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.held = fromStart, map[string]copied{}
	c.end()
}

// Restore makes of what the consumer has stored what a backup has, which it makes if there is
// none. So every other call takes it back to where it was at the call before.
func (c *Consumer) Restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.backup
	if c.backup = nil; b == nil {
		c.backup = &backup{c.at, c.began, maps.Clone(c.held)}
		return
	}
	c.at, c.began, c.held = b.at, b.began, b.held
	c.end()
}

// end ends the connection, under the lock.
func (c *Consumer) end() {
	if c.life != nil {
		c.life.cut()
		c.life = nil
	}
}

// begin begins a connection, and returns the cursor to go on from.
func (c *Consumer) begin(cut context.CancelFunc) (conn *connection, at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life = &connection{Consumer: c, cut: cut, reached: c.at}
	return c.life, c.at
}

// Backwards returns how the versions that the consumer was sent decreased.
func (c *Consumer) Backwards() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.backwards)
}

// Resyncs returns how often its cursor was gone.
func (c *Consumer) Resyncs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resyncs
}

// connect is one connection.
func (c *Consumer) connect(ctx context.Context) error {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	conn, at := c.begin(cut)
	members := c.fleet.Members(API)
	query := url.Values{"source": {Source}, "kind": c.kinds, "after": {at}, "consumer": {c.Name}, "type": {feed.OfEntities, feed.OfCommands}}
	if !c.stream {
		query["wait"], query["limit"] = []string{"2s"}, []string{"50"}
	}
	address := "http://" + members[rand.IntN(len(members))].Addr + "/v1/changes?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+Token)
	if c.stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	silence := time.AfterFunc(silentFor, cut)
	defer silence.Stop()
	res, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // read to its end or cut off
	switch {
	case res.StatusCode == http.StatusGone:
		return conn.gone(res.Body)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("follow: %s", res.Status)
	case c.stream:
		return conn.events(res.Body, func() { silence.Reset(silentFor) })
	}
	return conn.page(res.Body)
}

// gone begins again with a snapshot, as the answer says.
func (c *connection) gone(body io.Reader) error {
	var why struct{ Reason string }
	if err := json.NewDecoder(body).Decode(&why); err != nil {
		return fmt.Errorf("follow: read why the cursor is gone: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != c {
		return nil
	}
	c.resyncs++
	c.pending, c.at, c.reached = nil, fromStart, fromStart
	if why.Reason != feed.Retention {
		c.held, c.sent = map[string]copied{}, map[string]int64{}
	}
	return nil
}

// page stores a page.
func (c *connection) page(body io.Reader) error {
	var page struct {
		Items []json.RawMessage
		After string
	}
	if err := json.NewDecoder(body).Decode(&page); err != nil {
		return fmt.Errorf("follow: read a page: %w", err)
	}
	for _, item := range page.Items {
		if err := c.receive(item); err != nil {
			return err
		}
	}
	c.reach(page.After, true)
	return nil
}

// events reads a stream to its end.
func (c *connection) events(body io.Reader, alive func()) error {
	lines := bufio.NewReader(body)
	quiet := time.AfterFunc(storeAfter, c.store)
	defer quiet.Stop()
	var id, name string
	var data []byte
	for unstored := 0; ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		alive()
		field, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(": "))
		switch string(field) {
		case "id":
			id = string(value)
		case "event":
			name = string(value)
		case "data":
			data = value
		case "":
			if len(line) > 1 {
				continue // a comment
			}
			switch {
			case name == "gone":
				return c.gone(bytes.NewReader(data))
			case name == "" && len(data) > 0:
				if err := c.receive(data); err != nil {
					return err
				}
				unstored++
			}
			if id != "" {
				c.reach(id, unstored%storeEvery == 0)
				quiet.Reset(storeAfter)
			}
			id, name, data = "", "", nil
		}
	}
}

// receive takes a change, and sees to it that versions do not decrease.
func (c *connection) receive(text []byte) error {
	var got struct {
		ID, Type, Subject string
		Data              struct {
			Version int64
			State   json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("follow: read a change: %w", err)
	}
	r := received{got.Subject, copied{version: got.Data.Version}}
	if got.Type == feed.TypeChanged || isCommand(got.Subject) {
		r.state = compact(got.Data.State)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.sent[r.subject]; r.version < last {
		c.backwards = append(c.backwards, fmt.Sprintf("%s was sent %s in version %d after version %d", c.Name, r.subject, r.version, last))
	}
	c.sent[r.subject] = max(c.sent[r.subject], r.version)
	c.pending = append(c.pending, r)
	return nil
}

// compact returns JSON without white space, of which answers have none.
func compact(raw []byte) string {
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return string(raw)
	}
	return out.String()
}

// reach notes the cursor behind what was received, and stores both if it says so.
func (c *connection) reach(at string, store bool) {
	c.mu.Lock()
	if c.life == c && c.reached == fromStart {
		c.began = at
	}
	c.reached = at
	c.mu.Unlock()
	if store {
		c.store()
	}
}

// store stores what was received with the cursor behind it.
func (c *connection) store() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != c {
		return
	}
	for _, r := range c.pending {
		if r.version >= c.held[r.subject].version {
			c.held[r.subject] = r.copied
		}
	}
	c.at, c.pending = c.reached, nil
}

// Missing says in what the stored copy differs from the mirror, and which commands that rest
// it has not got as they are.
func (c *Consumer) Missing(ctx context.Context) (differs []string, err error) {
	definition, err := c.fleet.Definition()
	if err != nil {
		return nil, err
	}
	mirror := map[string]copied{}
	for _, kind := range definition.Kinds() {
		if len(c.kinds) > 0 && !slices.Contains(c.kinds, kind.Name) {
			continue
		}
		for after, more := "", true; more; {
			docs, err := c.fleet.Store.Walk(ctx, Source, kind.Name, after, storage.MaxItems)
			if err != nil {
				return nil, fmt.Errorf("walk the mirror: %w", err)
			}
			for _, d := range docs {
				is := copied{version: d.Version}
				if d.DeletedAt.IsZero() {
					is.state = compact(d.Raw)
				}
				mirror[feed.Subject(d.Key)] = is
				after = d.Key.Local()
			}
			more = len(docs) == storage.MaxItems
		}
	}
	differs, err = c.missingCommands(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for subject, is := range mirror {
		switch has, there := c.held[subject]; {
		case !there:
			differs = append(differs, fmt.Sprintf("%s has not got %s", c.Name, subject))
		case has.version != is.version:
			differs = append(differs, fmt.Sprintf("%s has %s in version %d, the mirror in version %d", c.Name, subject, has.version, is.version))
		case has.state != is.state:
			differs = append(differs, fmt.Sprintf("%s has another state of %s in version %d", c.Name, subject, has.version))
		}
	}
	for subject := range c.held {
		if _, there := mirror[subject]; !there && !isCommand(subject) {
			differs = append(differs, fmt.Sprintf("%s has %s, which the mirror has not", c.Name, subject))
		}
	}
	slices.Sort(differs)
	return differs, nil
}

// Stuck reports whether the consumer is not at the end of the feed.
func (c *Consumer) Stuck(ctx context.Context) (bool, error) {
	head, err := feed.Head(ctx, c.fleet.Store, Source)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at != head.String(), err
}

// FeedHoles returns where the log of the feed is not a chain: a batch that does not begin
// where the one before it ends, or does not name it.
func (f *Fleet) FeedHoles(ctx context.Context) (holes []string, err error) {
	before, err := f.Store.FeedTail(ctx, Source)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	for err == nil {
		var found []*storage.Batch
		found, err = f.Store.Batches(ctx, Source, before.Next(), 100)
		if err != nil || len(found) == 0 {
			break
		}
		for _, b := range found {
			if b.First != before.Next() || b.Prev != before.Tag {
				holes = append(holes, fmt.Sprintf("the batch at %d (after %s) follows the one at %d (%s, %d positions)", b.First, b.Prev, before.First, before.Tag, before.Len))
			}
			before = b
		}
	}
	if err != nil {
		return holes, fmt.Errorf("read the feed: %w", err)
	}
	return holes, nil
}
