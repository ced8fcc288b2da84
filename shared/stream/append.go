package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

// Draft is a signal on its way into a stream.
type Draft struct {
	Signal event.Signal
	// Once, for signals that carry no event, suppresses a further one of the
	// same cause for the same entity for that long, or until ForgetOnce.
	// A signal that carries its event is always marked by the event's id.
	Once time.Duration
}

// Receipt says where an append went.
type Receipt struct {
	Shard int
	// ID is the stream id; of the earlier entry, if known, for a duplicate.
	ID string
	// Duplicate: the mark was there, nothing was appended.
	Duplicate bool
	// Processed: the mark says that the earlier one is done.
	Processed bool
}

// Append appends one signal and returns when Redis (and WaitReplicas
// replicas) confirmed it. Concurrent calls share pipelines. On an error the
// signal may or may not have been appended. Above 80 % of maxmemory it answers
// ErrFull.
func (s *Streams) Append(ctx context.Context, d Draft) (Receipt, error) {
	shard, cmd, err := s.draft(d)
	if err != nil {
		return Receipt{}, err
	}
	a := &appending{cmds: []*redis.Cmd{cmd}, done: make(chan struct{})}
	if err := s.submit(ctx, a); err != nil {
		return Receipt{}, fmt.Errorf("append a signal of %s: %w", d.Signal.Ref.Key, err)
	}
	return receipt(shard, cmd)
}

// AppendAll appends many signals in one pipeline per node, in order per shard.
// On an error the receipts are those of the signals before the first one in
// doubt; later ones may have been appended.
func (s *Streams) AppendAll(ctx context.Context, ds []Draft) ([]Receipt, error) {
	receipts := make([]Receipt, 0, len(ds))
	for len(ds) > 0 {
		page := ds[:min(maxBatch, len(ds))]
		ds = ds[len(page):]
		got, err := s.appendPage(ctx, page)
		if receipts = append(receipts, got...); err != nil {
			return receipts, err
		}
	}
	return receipts, nil
}

func (s *Streams) appendPage(ctx context.Context, ds []Draft) ([]Receipt, error) {
	a := &appending{cmds: make([]*redis.Cmd, len(ds)), done: make(chan struct{})}
	shards := make([]int, len(ds))
	for i, d := range ds {
		var err error
		if shards[i], a.cmds[i], err = s.draft(d); err != nil {
			return nil, err
		}
	}
	if err := s.submit(ctx, a); err != nil {
		return nil, fmt.Errorf("append %d signals: %w", len(ds), err)
	}
	receipts := make([]Receipt, 0, len(ds))
	for i, cmd := range a.cmds {
		r, err := receipt(shards[i], cmd)
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, r)
	}
	return receipts, nil
}

// draft makes the command that appends a signal: the script when the signal
// has a mark, else a plain XADD. A plain one that is repeated by the client
// means one look too many at an entity, which changes nothing.
func (s *Streams) draft(d Draft) (shard int, cmd *redis.Cmd, err error) {
	key := d.Signal.Ref.Key
	shard = key.Shard(s.opts.Shards)
	to := s.keys.stream(shard, key.Source, d.Signal.Class.Tier())

	var mark string
	ttl := d.Once
	switch {
	case d.Signal.Body != nil:
		mark, ttl = s.keys.mark(shard, key.Source, d.Signal.Body.ID), s.opts.DedupeTTL
	case d.Once > 0:
		mark = s.keys.once(shard, d.Signal.Cause, key.String())
	}

	args := make([]any, 0, 32)
	if mark == "" {
		args = append(args, "xadd", to, "*")
	} else {
		args = append(args, "evalsha", appendScript.Hash(), "2", to, mark, strconv.FormatInt(milliseconds(ttl), 10))
	}
	if args, err = d.Signal.AppendFields(args); err != nil {
		return 0, nil, err
	}
	cmd = redis.NewCmd(s.life, args...)
	if mark != "" {
		cmd.SetFirstKeyPos(3)
	}
	return shard, cmd, nil
}

// receipt reads the answer of append.lua, or a plain XADD's id.
func receipt(shard int, cmd *redis.Cmd) (Receipt, error) {
	answer, err := cmd.Text()
	if err != nil {
		return Receipt{}, explain(err, "append to shard "+strconv.Itoa(shard))
	}
	value, duplicate := strings.CutPrefix(answer, "=")
	if !duplicate {
		return Receipt{Shard: shard, ID: strings.TrimPrefix(answer, "+")}, nil
	}
	id, queued := strings.CutPrefix(value, "queued:")
	if !queued {
		id = ""
	}
	return Receipt{Shard: shard, ID: id, Duplicate: true, Processed: !queued}, nil
}

// ForgetEvent removes the mark of an event, so that the provider's sending it
// again is taken up. home is the event's Home key.
func (s *Streams) ForgetEvent(ctx context.Context, home event.Key, eventID string) error {
	return s.forget(ctx, s.keys.mark(home.Shard(s.opts.Shards), home.Source, eventID))
}

// ForgetOnce removes the mark of a Draft with Once.
func (s *Streams) ForgetOnce(ctx context.Context, cause event.Cause, k event.Key) error {
	return s.forget(ctx, s.keys.once(k.Shard(s.opts.Shards), cause, k.String()))
}

func (s *Streams) forget(ctx context.Context, mark string) error {
	if err := s.client.Del(ctx, mark).Err(); err != nil {
		return fmt.Errorf("remove mark %s: %w", mark, err)
	}
	return nil
}

// milliseconds rounds up, so that nothing short becomes nothing.
func milliseconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}
