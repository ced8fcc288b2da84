package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// restoredCheck is how often the head of the log is compared with what it was.
	restoredCheck = 2 * time.Second
	// bellWait is how long one command waits for hints.
	bellWait = 25 * time.Second
	// hintShards is how many shards are read at once, and hintsAtOnce how many hints of
	// each.
	hintShards, hintsAtOnce = 64, storage.MaxItems
	// trimEvery is how often old batches are removed.
	trimEvery = 10 * time.Minute
)

// Why a generation of the log begins.
const (
	reasonBegun    = "begun"
	reasonRestored = feed.Restored
)

// sequencer adds what has changed of a source to its change feed: what hints name, as
// soon as their shards ring, and what the store shows that the feed lacks, at its start
// and now and then; and commands that have come to rest, which the store alone shows.
// Package feed says why that is all, and why it may be cut off anywhere.
//
// While nothing changes, it asks Redis for nothing but to be woken.
type sequencer struct {
	*finder
	w      *work
	writer *feed.Writer
	keep   time.Duration
	rung   chan []int
	// due are the shards whose hints are to be read. commands: the bell has rung for
	// commands.
	due      map[int]bool
	commands bool
	// checked, looked and trimmed are when these were done last.
	checked, looked, trimmed time.Time
}

// sequence runs the sequencer of a source for ever.
func (r *Reconciler) sequence(ctx context.Context, w *work) error {
	f := r.finder(r.source(w.task.Source), w.loop)
	s := &sequencer{
		finder: f, w: w, keep: r.FeedKeep, rung: make(chan []int), due: map[int]bool{},
		writer: feed.NewWriter(f.store, f.name, r.Now),
	}
	defer f.metrics.FeedHead.DeleteLabelValues(f.name) // an old figure must not remain beside that of the next holder
	ctx, stop := context.WithCancel(ctx)
	listening := make(chan struct{})
	go func() { defer close(listening); s.listen(ctx) }()
	defer func() { stop(); <-listening }()
	return s.run(ctx)
}

// listen passes on for which shards the bell has rung. If Redis did not answer as it
// should, it may have rung for any.
func (s *sequencer) listen(ctx context.Context) {
	bell := s.streams.Bell(s.name)
	defer bell.Close()
	for ctx.Err() == nil {
		shards, err := bell.Wait(ctx, bellWait)
		if err != nil {
			s.sayQuietly("could not wait for hints of the change feed; trying again", err)
			loops.Sleep(ctx, s.pace.backoff)
			shards = s.allShards()
		}
		if len(shards) == 0 {
			continue
		}
		select {
		case s.rung <- shards:
		case <-ctx.Done():
		}
	}
}

func (s *sequencer) sayQuietly(what string, err error) {
	s.log.Debug(what, "source", s.name, "error", err)
}

func (s *sequencer) allShards() []int {
	all := make([]int, s.streams.Shards())
	for i := range all {
		all[i] = i
	}
	return all
}

func (s *sequencer) mark(shards []int) {
	for _, shard := range shards {
		if shard == stream.BellOfCommands {
			s.commands = true
		} else {
			s.due[shard] = true
		}
	}
}

// run takes rounds until ctx ends. Rings of a former holder may have been lost with it.
func (s *sequencer) run(ctx context.Context) error {
	told, err := s.told(ctx)
	if err != nil {
		return err
	}
	s.writer.Know(told)
	s.mark(s.allShards())
	for ctx.Err() == nil {
		s.loop.Turn()
		begun := time.Now()
		if err := s.round(ctx, begun); err != nil {
			return err
		}
		s.loop.Waiting("changes")
		if !loops.Sleep(ctx, s.pace.round-time.Since(begun)) {
			break
		}
		if len(s.due) > 0 {
			s.take()
			continue
		}
		select {
		case shards := <-s.rung:
			s.mark(shards)
		case <-time.After(min(restoredCheck, s.pace.look)):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// take takes what has rung meanwhile.
func (s *sequencer) take() {
	select {
	case shards := <-s.rung:
		s.mark(shards)
	default:
	}
}

// told asks Redis how far the log had come.
func (s *sequencer) told(ctx context.Context) (c feed.Cursor, err error) {
	err = s.insist(ctx, "ask how far the change feed has come", func() error {
		told, err := s.streams.FeedHead(ctx, s.name)
		if told.Position > 0 {
			c = feed.Cursor(told)
		}
		return err
	})
	return c, err
}

// tell tells Redis how far the log has come.
func (s *sequencer) tell(ctx context.Context) error {
	s.metrics.FeedHead.WithLabelValues(s.name).Set(float64(s.writer.Known().Position))
	return s.insist(ctx, "tell how far the change feed has come", func() error {
		return s.w.lease.TellFeed(ctx, stream.FeedHead(s.writer.Known()))
	})
}

// round does what is due at a time.
func (s *sequencer) round(ctx context.Context, now time.Time) error {
	if now.Sub(s.checked) >= restoredCheck {
		if err := s.check(ctx); err != nil {
			return err
		}
		s.checked, s.commands = now, true
	}
	err := s.takeHints(ctx)
	if err == nil && s.commands {
		s.commands = false
		err = s.takeCommands(ctx)
	}
	if err == nil && now.Sub(s.looked) >= s.pace.look && !fault.Off("feed-look") {
		s.looked = now
		err = s.lookThrough(ctx)
	}
	if errors.Is(err, feed.ErrRestored) || errors.Is(err, feed.ErrDetached) {
		s.log.Warn("the log of the change feed is another than it was", "source", s.name, "error", err)
		s.checked = time.Time{} // the next round begins a generation, if need be
		return nil
	}
	if err == nil && now.Sub(s.trimmed) >= trimEvery {
		s.trimmed = now
		err = s.trim(ctx)
	}
	return err
}

// check sees to it that the log has begun, and begins a generation if the log lacks what
// it had before.
func (s *sequencer) check(ctx context.Context) error {
	for {
		var begun bool
		var restored error
		err := s.persist(ctx, "read the head of the change feed", func() (err error) {
			begun, err = s.writer.Begun(ctx)
			if restored = nil; errors.Is(err, feed.ErrRestored) {
				restored, err = err, nil
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case restored == nil && begun:
			s.metrics.FeedHead.WithLabelValues(s.name).Set(float64(s.writer.Known().Position))
			return nil
		}
		if err := s.begin(ctx, restored); err != nil {
			return err
		}
	}
}

// begin begins a generation, unless another sequencer was first.
func (s *sequencer) begin(ctx context.Context, restored error) error {
	reason, had := reasonBegun, s.writer.Known()
	if restored != nil {
		reason = reasonRestored
	}
	held := ""
	if restored != nil {
		var err error
		if held, err = s.holdCommands(ctx); err != nil {
			return err
		}
		fault.Point("after-hold")
	}
	var added bool
	err := s.persist(ctx, "begin a generation of the change feed", func() (err error) {
		added, err = s.writer.Begin(ctx, reason)
		return err
	})
	switch {
	case errors.Is(err, feed.ErrDetached):
		return nil // it is looked at again
	case err != nil || !added:
		return err
	}
	if restored == nil {
		return s.tell(ctx)
	}
	fault.Point("after-generation")
	s.log.Error("the database was restored from an older copy: the change feed begins a generation, and who follows it reads everything again",
		"source", s.name, "had", had.String(), "error", restored)
	if s.alert != nil {
		s.alert(alert.Alert{Kind: alert.Restored, Source: s.name, Reason: "the change feed had come to position " + fmt.Sprint(had.Position) + held})
	}
	// Redis is told last: a sequencer that goes on from here finds the restore again.
	if err := s.tell(ctx); err != nil {
		return err
	}
	return s.forgetHints(ctx)
}

// forgetHints removes all hints after a restore: they name versions that the database
// does not have. What the feed lacks by now the store shows.
func (s *sequencer) forgetHints(ctx context.Context) error {
	for shards := s.allShards(); len(shards) > 0; {
		found, err := s.readHints(ctx, shards)
		if err == nil {
			err = s.dropHints(ctx, found)
		}
		if err != nil {
			return err
		}
		shards = shards[:0]
		for _, at := range found {
			shards = append(shards, at.Shard)
		}
	}
	clear(s.due)
	s.looked = time.Time{}
	return nil
}

func (s *sequencer) readHints(ctx context.Context, shards []int) (found []stream.ShardHints, err error) {
	err = s.insist(ctx, "read hints of the change feed", func() (err error) {
		found, err = s.streams.Hints(ctx, s.name, shards, hintsAtOnce)
		return err
	})
	return found, err
}

func (s *sequencer) dropHints(ctx context.Context, taken []stream.ShardHints) error {
	return s.insist(ctx, "remove hints of the change feed", func() error { return s.streams.DropHints(ctx, s.name, taken) })
}

// takeHints adds what hints of due shards name: insert, then remove them, then raise
// fed.
func (s *sequencer) takeHints(ctx context.Context) error {
	var shards []int
	for shard := range s.due {
		if shards = append(shards, shard); len(shards) == hintShards {
			break
		}
	}
	if len(shards) == 0 {
		return nil
	}
	found, err := s.readHints(ctx, shards)
	if err != nil {
		return err
	}
	items := newest(found)
	if err := s.add(ctx, items); err != nil {
		return err
	}
	fault.Point("after-feed-insert")
	if err := s.dropHints(ctx, found); err != nil {
		return err
	}
	fault.Point("after-hint-delete")
	for _, shard := range shards {
		delete(s.due, shard)
	}
	for _, at := range found {
		if len(at.Unreadable) > 0 {
			s.log.Error("hints of the change feed could not be read, and are removed", "source", s.name, "shard", at.Shard, "hints", len(at.Unreadable))
		}
		if at.More {
			s.due[at.Shard] = true
		}
	}
	return s.fed(ctx, items)
}

// takeCommands adds the commands that the store shows as owed: insert, then pay. Nothing but
// the store says which: a ring that is lost delays them until the next look, which is one
// read of an index that holds nothing else.
func (s *sequencer) takeCommands(ctx context.Context) error {
	for after, more := "", true; more; {
		var owed []storage.Item
		err := s.persist(ctx, "look for commands that the change feed lacks", func() (err error) {
			owed, err = s.store.Commands().Owed(ctx, s.name, after, storage.MaxItems)
			return err
		})
		if err != nil || len(owed) == 0 {
			return err
		}
		if err := s.add(ctx, owed); err != nil {
			return err
		}
		fault.Point("after-command-insert")
		err = s.persist(ctx, "note which commands are in the change feed", func() error {
			_, err := s.store.Commands().Paid(ctx, owed)
			return err
		})
		if err != nil {
			return err
		}
		s.loop.Turn()
		if more = len(owed) == storage.MaxItems; more {
			after = owed[len(owed)-1].Key.ID
		}
	}
	return nil
}

// newest are the highest versions that hints name, each entity once, in the order of
// their first hints.
func newest(found []stream.ShardHints) (items []storage.Item) {
	at := map[event.Key]int{}
	for _, shard := range found {
		for _, h := range shard.Hints {
			i, there := at[h.Key]
			if !there {
				i = len(items)
				at[h.Key] = i
				items = append(items, storage.Item{Key: h.Key})
			}
			items[i].Version = max(items[i].Version, h.Version)
		}
	}
	return items
}

// add adds items to the log, in batches, and tells Redis.
func (s *sequencer) add(ctx context.Context, items []storage.Item) error {
	for part := range slices.Chunk(items, storage.MaxItems) {
		err := s.persist(ctx, "add to the change feed", func() error {
			_, err := s.writer.Add(ctx, part)
			return err
		})
		if err != nil {
			return err
		}
		s.metrics.FeedItems.WithLabelValues(s.name).Add(float64(len(part)))
		if err := s.tell(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *sequencer) fed(ctx context.Context, items []storage.Item) error {
	if len(items) == 0 {
		return nil
	}
	return s.persist(ctx, "note what is in the change feed", func() error {
		_, err := s.store.Fed(ctx, items)
		return err
	})
}

// lookThrough adds what the store shows that the feed lacks. Where hints were lost with
// their ring, or were not left, this is what finds it. A change that is being acked may
// be added twice.
func (s *sequencer) lookThrough(ctx context.Context) error {
	any := false
	for _, kind := range s.kinds() {
		for after, more := "", true; more; {
			var debts []storage.Item
			err := s.persist(ctx, "look for what the change feed lacks", func() (err error) {
				debts, err = s.store.Debts(ctx, s.name, kind, after, storage.MaxItems)
				return err
			})
			if err == nil {
				err = s.add(ctx, debts)
			}
			if err == nil {
				err = s.fed(ctx, debts)
			}
			if err != nil {
				return err
			}
			s.loop.Turn()
			if more = len(debts) == storage.MaxItems; more {
				after = debts[len(debts)-1].Key.Local()
			}
			any = any || len(debts) > 0
		}
	}
	if any { // their hints may be there without a ring
		s.mark(s.allShards())
	}
	return s.tell(ctx) // Redis may have lost it
}

// trim removes what is older than is kept.
func (s *sequencer) trim(ctx context.Context) error {
	return s.persist(ctx, "trim the change feed", func() error {
		_, err := s.store.TrimFeed(ctx, s.name, s.now().Add(-s.keep))
		return err
	})
}
