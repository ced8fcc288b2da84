package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Generations returns, by shard, the id its keys were given when Redis first
// had them, and gives one to those that have none. Another id than before
// means that Redis has lost what was in that shard.
func (s *Streams) Generations(ctx context.Context) ([]string, error) {
	pipe := s.client.Pipeline()
	made, found := make([]string, s.opts.Shards), make([]*redis.StatusCmd, s.opts.Shards)
	for shard := range found {
		made[shard] = rand.Text()
		found[shard] = pipe.SetArgs(ctx, s.keys.generation(shard), made[shard], redis.SetArgs{Mode: "NX", Get: true})
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for shard, cmd := range found {
		switch former, err := cmd.Result(); {
		case errors.Is(err, redis.Nil): // ours is the first
		case err != nil:
			return nil, fmt.Errorf("read the generation of shard %d: %w", shard, err)
		default:
			made[shard] = former
		}
	}
	return made, nil
}
