package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// streamItems and streamBytes bound what a stream has in memory, so that a consumer
	// that does not read costs little. A single item may have more bytes.
	streamItems, streamBytes = 32, 32 << 10
	// passedItems is after how many items of other kinds a bookmark is sent.
	passedItems = 1000
	// streamAway is how long a stream waits before it asks a store again that does not
	// answer.
	streamAway = time.Second
)

// streamTimes are the times of a stream.
type streamTimes struct {
	// comment is how long a stream is silent at most, so that proxies leave it open.
	comment time.Duration
	// bookmark is how often a consumer gets a cursor though none of its kinds changes.
	bookmark time.Duration
	// taken is how long a consumer may take for what is written at once.
	taken time.Duration
}

var usualTimes = streamTimes{comment: 15 * time.Second, bookmark: 10 * time.Second, taken: 10 * time.Second}

// changeStream sends server-sent events to one consumer.
type changeStream struct {
	*changes
	w        *wanted
	at       place
	consumer *consumer
	out      http.ResponseWriter
	control  *http.ResponseController
	// told is the id that was sent last, and since when. passed is how many items of
	// other kinds have come since.
	told   place
	passed int
	// bookmarked and wrote are when the last id and the last byte were sent.
	bookmarked, wrote time.Time
	err               error // of writing: the consumer is gone
}

func newStream(c *changes, out huma.Context, w *wanted, at place, consumer *consumer) *changeStream {
	writer := humagin.Unwrap(out).Writer
	return &changeStream{
		changes: c, w: w, at: at, consumer: consumer, out: writer, control: http.NewResponseController(writer), bookmarked: time.Now(),
	}
}

// run sends a first part and what follows, until the consumer or the server leaves.
func (s *changeStream) run(ctx context.Context, p *part) {
	header := s.out.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep events until it has a page of them
	s.out.WriteHeader(http.StatusOK)
	s.writef("retry: 2000\n\n")
	s.bookmark() // what has nothing to send yet has a cursor from the start
	var after *ring
	for first := true; s.err == nil; first = false {
		next := s.hub.nextRing(s.w.source)
		if !first {
			var err error
			if p, err = s.hub.next(ctx, s.w, s.at, after); err != nil {
				after = nil
				if !s.failed(ctx, err) {
					return
				}
				continue
			}
		}
		moved := p.next.String() != s.at.String()
		s.send(p)
		if after = nil; s.err == nil && !moved {
			if !s.wait(ctx, next.rung) {
				return
			}
			after = next
		}
		select {
		case <-s.leaving:
			return
		case <-ctx.Done():
			return
		default:
		}
	}
}

// send sends a part.
func (s *changeStream) send(p *part) {
	for i := range p.items {
		s.writef("id: %s\ndata: %s\n\n", p.items[i].at, p.items[i].json)
		s.said(p.items[i].at)
	}
	s.at = p.next
	s.passed += p.passed
	switch {
	case p.synced:
		s.event("synced")
	case s.passed >= passedItems:
		s.bookmark()
	}
	s.flush()
	if s.err == nil && (len(p.items) > 0 || p.synced) {
		s.consumer.sent(s.at)
	}
}

// said notes the id that was sent last.
func (s *changeStream) said(at place) { s.told, s.passed, s.bookmarked = at, 0, time.Now() }

// bookmark sends where the consumer is.
func (s *changeStream) bookmark() {
	s.event("bookmark")
	s.consumer.sent(s.at)
}

// event sends an event that is no change, with the cursor.
func (s *changeStream) event(name string) {
	s.writef("id: %s\nevent: %s\ndata: {\"after\":\"%s\"}\n\n", s.at, name, s.at)
	s.said(s.at)
}

// wait waits until the feed may have more, and keeps the connection open meanwhile. False:
// the stream ends.
func (s *changeStream) wait(ctx context.Context, rung <-chan struct{}) bool {
	for s.err == nil {
		now := time.Now()
		quiet := s.wrote.Add(s.times.comment).Sub(now)
		due := min(quiet, s.bookmarked.Add(s.times.bookmark).Sub(now))
		timer := time.NewTimer(due)
		select {
		case <-rung:
			timer.Stop()
			return true
		case <-timer.C:
			s.beat(now.Add(due))
		case <-s.leaving:
			timer.Stop()
			return false
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
	return false
}

// beat sends what is due at a time while nothing changes.
func (s *changeStream) beat(now time.Time) {
	switch {
	case now.Sub(s.bookmarked) >= s.times.bookmark && s.told.String() != s.at.String():
		s.bookmark()
	case now.Sub(s.wrote) >= s.times.comment:
		s.writef(":\n\n")
	default:
		s.bookmarked = now // the consumer has the cursor
		s.consumer.sent(s.at)
		return
	}
	s.flush()
}

// failed handles an error of the feed. It reports whether the stream goes on.
func (s *changeStream) failed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if storage.IsAway(err) {
		s.log.WarnContext(ctx, "changes cannot be read; streams wait", "source", s.w.source, "error", err)
		s.writef(": the database does not answer\n\n")
		s.flush()
		return s.err == nil && s.sleep(ctx, streamAway)
	}
	if g, _ := s.gone(ctx, s.w.source, err); g != nil {
		s.writef("event: gone\ndata: {\"type\":\"%s\",\"reason\":\"%s\",\"oldest\":%d,\"resync\":\"?after=%s\"}\n\n",
			problems.Base+problems.CursorGone, g.reason, g.oldest, afterSnapshot)
	} else {
		s.log.ErrorContext(ctx, "a stream of changes ends", "source", s.w.source, "error", err)
	}
	s.flush()
	return false
}

// writef writes, unless the consumer is gone. A consumer that does not read is gone after
// a while.
func (s *changeStream) writef(format string, args ...any) {
	if s.err != nil {
		return
	}
	s.wrote = time.Now()
	_ = s.control.SetWriteDeadline(s.wrote.Add(s.times.taken)) // not supported by a recorder, in tests
	_, s.err = fmt.Fprintf(s.out, format, args...)
}

func (s *changeStream) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
}
