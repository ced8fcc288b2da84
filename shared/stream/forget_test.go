package stream

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// trips counts what a client sends, a pipeline as one.
type trips struct {
	n atomic.Int64
}

// DialHook is for go-redis.
func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook is for go-redis.
func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "del" {
			c.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook is for go-redis.
func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "del" {
			c.n.Add(1)
		}
		return next(ctx, cmds)
	}
}

// The marks of many events are removed by one round trip for each thousand.
func TestManyEventsAreForgottenAtOnce(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	homes := map[string]event.Key{}
	var drafts []Draft
	for i := range 2*maxIDs + 1 {
		id, name := fmt.Sprint("evt_", i), fmt.Sprint("bord_", i)
		drafts, homes[id] = append(drafts, Draft{Signal: happened(id, name)}), order(name)
	}
	_, err := s.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	c := &trips{}
	s.client.AddHook(c)
	require.NoError(t, s.ForgetEvents(t.Context(), homes))
	require.EqualValues(t, 3, c.n.Load())
	keys, err := srv.Client().Keys(t.Context(), "*mark:*evt_*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
	require.NoError(t, s.ForgetEvents(t.Context(), homes), "again, and none is there")
	require.NoError(t, s.ForgetEvents(t.Context(), nil))
}
