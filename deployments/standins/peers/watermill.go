package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

const (
	topic = "webhooks"
	group = "workers"
)

func fillWatermill(_ context.Context, o options, bodies [][]byte) error {
	client := redis.NewClient(o.redis)
	defer client.Close()
	publisher, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: client}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("make a publisher: %w", err)
	}
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, o.concurrency)
	for range o.concurrency {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(bodies)); i = next.Add(1) - 1 {
				if err := publisher.Publish(topic, message.NewMessage(watermill.NewUUID(), bodies[i])); err != nil {
					errs <- fmt.Errorf("publish: %w", err)
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

// runWatermill has as many subscribers as events are to be handled at once: one reads
// an entry at a time and waits for its ack.
func runWatermill(ctx context.Context, o options) error {
	o.redis.PoolSize = 2 * o.concurrency
	client := redis.NewClient(o.redis)
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var left atomic.Int64
	left.Store(int64(o.n))
	done := make(chan struct{})
	for range o.concurrency {
		subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: client, ConsumerGroup: group, DisableIndefiniteInitialBlock: true}, watermill.NopLogger{})
		if err != nil {
			return fmt.Errorf("make a subscriber: %w", err)
		}
		messages, err := subscriber.Subscribe(ctx, topic)
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		go func() {
			for m := range messages {
				m.Ack()
				if left.Add(-1) == 0 {
					close(done)
				}
			}
		}()
	}
	<-done
	for {
		pending, err := client.XPending(ctx, topic, group).Result()
		if err != nil {
			return fmt.Errorf("look at the group: %w", err)
		}
		if pending.Count == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}
