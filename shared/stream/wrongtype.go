package stream

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

// wrongType reports whether Redis says that a key holds something of another
// type than the fleet writes: another program wrote it.
func wrongType(err error) bool {
	return err != nil && strings.HasPrefix(strings.TrimPrefix(err.Error(), "ERR "), "WRONGTYPE")
}

// lookApart looks at a shard of which some key holds another type. The sources
// that have such a key are left out, and the keys named. cause is returned if it
// cannot find out.
func (s *Streams) lookApart(ctx context.Context, shard int, sources []string, spilled int, cause error) (ShardState, error) {
	bare := ShardState{Shard: shard, Sources: map[string]ShardSource{}}
	wrong, err := s.wrongKeys(ctx, s.keys.lease(shard), "hash")
	if err != nil {
		return bare, cause
	}
	if len(wrong) > 0 {
		bare.Wrong = wrong
		return bare, nil
	}
	var good []string
	for _, source := range sources {
		found, err := s.wrongKeys(ctx,
			s.keys.stream(shard, source, event.TierLive), "stream",
			s.keys.stream(shard, source, event.TierBackground), "stream",
			s.keys.due(shard, source), "zset")
		if err != nil {
			return bare, cause
		}
		if wrong = append(wrong, found...); len(found) == 0 {
			good = append(good, source)
		}
	}
	reply := s.lookAt(ctx, s.client, shard, good, spilled)
	if wrongType(reply.Err()) && spilled > 0 { // a list or a record of a parked entity
		wrong = append(wrong, s.keys.parkedPrefix(shard)+"… or "+s.keys.recordPrefix(shard)+"…")
		spilled = 0
		reply = s.lookAt(ctx, s.client, shard, good, spilled)
	}
	if reply.Err() != nil {
		return bare, fmt.Errorf("look at shard %d: %w", shard, reply.Err())
	}
	st := s.shardState(shard, good, spilled, asList(reply.Val()))
	st.Wrong = wrong
	return st, nil
}

// wrongKeys returns the keys that are there and of another type. keys are pairs:
// a key and its type.
func (s *Streams) wrongKeys(ctx context.Context, keys ...string) (wrong []string, err error) {
	pipe := s.client.Pipeline()
	var types []*redis.StatusCmd
	for i := 0; i < len(keys); i += 2 {
		types = append(types, pipe.Type(ctx, keys[i]))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ask for the types of keys: %w", err)
	}
	for i, t := range types {
		if is := t.Val(); is != "none" && is != keys[2*i+1] {
			wrong = append(wrong, keys[2*i])
		}
	}
	return wrong, nil
}
