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

// recoverMark is how long the mark of a recovery stays: longer than any client
// repeats a command, shorter than the pause between two rounds of recovery.
const recoverMark = 20 * time.Second

const (
	// standingPage is how many entries of a stream are looked at in one go when
	// one of unknown id is looked for: 25 ms of Redis' time, were each an
	// event of 64 KiB, and next to nothing as they are.
	standingPage = 100
	// standingEarlier is how much older than its event an entry's id may be: the
	// id is of Redis' clock, the event's time of the api's.
	standingEarlier = 10 * time.Minute
	// notThere is the id of no entry. It says that an entry was looked for in vain.
	notThere = "0-0"
)

// Lost is work that is open on record, although Redis may no longer have it.
type Lost struct {
	// Signal is to be appended; it carries no event, whose row is there.
	Signal event.Signal
	// Known is the id of its entry. "" if unknown: then the stream is looked through
	// for one, whose id the caller should store.
	Known string
	// Since is when the event was received: no entry of its work is much
	// older. Zero: the stream is looked through from its beginning.
	Since time.Time
}

// RecoverState is what Recover found.
type RecoverState int

// The states.
const (
	// RecoverAppended: it was lost, and is there again.
	RecoverAppended RecoverState = iota
	// RecoverQueued: its entry is still in the stream.
	RecoverQueued
	// RecoverParked: its entity is parked.
	RecoverParked
)

// Recovered is what became of one Lost.
type Recovered struct {
	Receipt
	State RecoverState
}

// Recover appends work again unless its entry is still in the live stream or its
// entity is parked. It does so in order per shard, work of unknown entries last. The
// answer has one element for each.
// After an error some may have been appended; calling it again with the same
// ones soon is safe, since what was appended is remembered for 20 s. Near the
// memory limit it answers ErrFull, like Append.
func (s *Streams) Recover(ctx context.Context, lost []Lost) ([]Recovered, error) {
	out := make([]Recovered, 0, len(lost))
	for len(lost) > 0 {
		page := lost[:min(maxBatch, len(lost))]
		lost = lost[len(page):]
		got, err := s.recoverPage(ctx, page)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

// recoverPage asks Redis about each. Signals of further entities have no known entry
// until they have failed or were looked for once. Those that are not parked are looked
// for in their stream, and asked about once more. So a fan-out need not store the ids
// of its entries.
//
// A worker that dies right after logging an event leaves further signals to
// the next owner of its shard. If that one appends them between the look and the
// answer, they are there twice, which costs one sync too many.
func (s *Streams) recoverPage(ctx context.Context, lost []Lost) ([]Recovered, error) {
	out, unknown, err := s.recoverKnown(ctx, lost, false)
	if err != nil || len(unknown) == 0 {
		return out, err
	}
	again := make([]Lost, len(unknown))
	for i, at := range unknown {
		again[i] = lost[at]
	}
	if err := s.findStanding(ctx, again); err != nil {
		return nil, err
	}
	found, _, err := s.recoverKnown(ctx, again, false)
	if err != nil {
		return nil, err
	}
	for i, at := range unknown {
		out[at] = found[i]
	}
	return out, nil
}

// recoverKnown recovers what it can without looking through a stream; unknown
// are the positions of the others. again: the script has just been loaded.
func (s *Streams) recoverKnown(ctx context.Context, lost []Lost, again bool) (out []Recovered, unknown []int, err error) {
	if s.isFull() {
		return nil, nil, fmt.Errorf("recover %d signals: %w", len(lost), ErrFull)
	}
	shards, cmds := make([]int, len(lost)), make([]*redis.Cmd, len(lost))
	pipe := s.client.Pipeline()
	for i, l := range lost {
		if shards[i], cmds[i], err = s.recovery(ctx, pipe, l); err != nil {
			return nil, nil, err
		}
	}
	_, err = pipe.Exec(ctx) // each command has its own error
	if noScript(err) {
		if err := recoverScript.Load(ctx, s.client).Err(); err != nil {
			return nil, nil, fmt.Errorf("load the recover script into redis: %w", err)
		}
		if again {
			s.writes.retire()
			return nil, nil, explain(err, "recover signals")
		}
		return s.recoverKnown(ctx, lost, true)
	}
	out = make([]Recovered, len(lost))
	for i, cmd := range cmds {
		answer, err := cmd.Text()
		if err != nil {
			return nil, nil, explain(err, "recover a signal of "+lost[i].Signal.Ref.Key.String())
		}
		if answer == "?" {
			unknown = append(unknown, i)
			continue
		}
		out[i] = recovered(shards[i], answer)
	}
	return out, unknown, nil
}

// work is an event's work on an entity.
type work struct{ entity, cause string }

// findStanding fills in the entries of work of which none is known.
func (s *Streams) findStanding(ctx context.Context, lost []Lost) error {
	type queue struct {
		shard  int
		source string
	}
	byStream := map[queue][]*Lost{}
	for i := range lost {
		k := lost[i].Signal.Ref.Key
		q := queue{k.Shard(s.opts.Shards), k.Source}
		byStream[q] = append(byStream[q], &lost[i])
	}
	for q, lost := range byStream {
		if err := s.findInStream(ctx, s.keys.stream(q.shard, q.source, event.TierLive), lost); err != nil {
			return fmt.Errorf("look for signals in shard %d: %w", q.shard, err)
		}
	}
	return nil
}

// findInStream looks through one stream until it has found an entry for each.
func (s *Streams) findInStream(ctx context.Context, name string, lost []*Lost) error {
	wanted := make(map[work]*Lost, len(lost))
	since := lost[0].Since
	for _, l := range lost {
		l.Known = notThere
		wanted[work{l.Signal.Ref.Key.String(), l.Signal.CauseID}] = l
		if l.Since.Before(since) {
			since = l.Since
		}
	}
	from := "-"
	if !since.IsZero() {
		from = strconv.FormatInt(max(0, since.Add(-standingEarlier).UnixMilli()), 10)
	}
	for len(wanted) > 0 {
		reply, err := run(ctx, s.client, standingScript, "read a page", []string{name}, from, standingPage)
		if err != nil {
			return err
		}
		page := asList(reply)
		for entry := page[1:]; len(entry) >= 3; entry = entry[3:] {
			w := work{asText(entry[1]), asText(entry[2])}
			if l := wanted[w]; l != nil {
				l.Known = asText(entry[0])
				delete(wanted, w)
			}
		}
		last := asText(page[0])
		if last == "" {
			return nil
		}
		from = "(" + last
	}
	return nil
}

func (s *Streams) recovery(ctx context.Context, pipe redis.Pipeliner, l Lost) (shard int, cmd *redis.Cmd, err error) {
	k := l.Signal.Ref.Key
	shard = k.Shard(s.opts.Shards)
	args := []any{k.String(), l.Known, milliseconds(recoverMark)}
	if args, err = l.Signal.AppendFields(args); err != nil {
		return 0, nil, err
	}
	return shard, pipe.EvalSha(ctx, recoverScript.Hash(), []string{
		s.keys.stream(shard, k.Source, event.TierLive),
		s.keys.due(shard, k.Source),
		s.keys.recovery(shard, l.Signal.CauseID, k.String()),
	}, args...), nil
}

func recovered(shard int, answer string) Recovered {
	r := Recovered{Receipt: Receipt{Shard: shard}}
	switch {
	case strings.HasPrefix(answer, "+"):
		r.ID = answer[1:]
	case strings.HasPrefix(answer, "="):
		r.State, r.ID = RecoverQueued, answer[1:]
	default:
		r.State = RecoverParked
	}
	return r
}
