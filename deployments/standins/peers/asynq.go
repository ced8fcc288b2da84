package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

const taskType = "webhook"

func (o options) asynq() asynq.RedisClientOpt {
	return asynq.RedisClientOpt{Addr: o.redis.Addr, PoolSize: o.concurrency}
}

func fillAsynq(ctx context.Context, o options, bodies [][]byte) error {
	client := asynq.NewClient(o.asynq())
	defer client.Close()
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, o.concurrency)
	for range o.concurrency {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(bodies)); i = next.Add(1) - 1 {
				if _, err := client.EnqueueContext(ctx, asynq.NewTask(taskType, bodies[i])); err != nil {
					errs <- fmt.Errorf("enqueue: %w", err)
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

func runAsynq(_ context.Context, o options) error {
	server := asynq.NewServer(o.asynq(), asynq.Config{Concurrency: o.concurrency, LogLevel: asynq.ErrorLevel})
	var left atomic.Int64
	left.Store(int64(o.n))
	done := make(chan struct{})
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if left.Add(-1) == 0 {
			close(done)
		}
		return nil
	}))
	if err != nil {
		return fmt.Errorf("start asynq: %w", err)
	}
	<-done
	queue := asynq.NewInspector(o.asynq())
	defer queue.Close()
	for {
		info, err := queue.GetQueueInfo("default")
		if err != nil {
			return fmt.Errorf("look at the queue: %w", err)
		}
		if info.Active == 0 && info.Pending == 0 {
			return nil // the server ends with the process
		}
		time.Sleep(5 * time.Millisecond)
	}
}
