package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

// recoverMark is how long the mark of a recovery stays: longer than any client
// repeats a command, shorter than the pause between two rounds of recovery.
const recoverMark = 20 * time.Second

// Lost is work that is open on record, although Redis may no longer have it.
type Lost struct {
	// Signal is to be appended; it carries no event, whose row is there.
	Signal event.Signal
	// Known is the id of the entry that stood for it. "" if unknown.
	Known string
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

// Recover appends work anew unless its entry is still in the live stream or
// its entity is parked, in order per shard. The answer has one element each.
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

func (s *Streams) recoverPage(ctx context.Context, lost []Lost) ([]Recovered, error) {
	if s.full.Load() {
		return nil, fmt.Errorf("recover %d signals: %w", len(lost), ErrFull)
	}
	shards, cmds := make([]int, len(lost)), make([]*redis.Cmd, len(lost))
	pipe := s.client.Pipeline()
	for i, l := range lost {
		var err error
		if shards[i], cmds[i], err = s.recovery(ctx, pipe, l); err != nil {
			return nil, err
		}
	}
	_, err := pipe.Exec(ctx) // each command has its own error
	if noScript(err) {
		if err := recoverScript.Load(ctx, s.client).Err(); err != nil {
			return nil, fmt.Errorf("load the recover script into redis: %w", err)
		}
		return s.recoverPage(ctx, lost)
	}
	out := make([]Recovered, len(lost))
	for i, cmd := range cmds {
		answer, err := cmd.Text()
		if err != nil {
			return nil, explain(err, "recover a signal of "+lost[i].Signal.Ref.Key.String())
		}
		out[i] = recovered(shards[i], answer)
	}
	return out, nil
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
