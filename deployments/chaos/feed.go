package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// feedVerdict has the figures of those who follow the change feed; see the package
// comment.
type feedVerdict struct {
	consumers, missing, backwards, holes, stuck, resyncs int
}

func (v feedVerdict) String() string {
	return fmt.Sprintf("feed: consumers=%d missing=%d backwards=%d holes=%d stuck=%d resyncs=%d",
		v.consumers, v.missing, v.backwards, v.holes, v.stuck, v.resyncs)
}

// clean reports whether all that must be 0 is.
func (v feedVerdict) clean() bool { return v.missing+v.backwards+v.holes+v.stuck == 0 }

// filtered are the kinds that the consumer with a filter follows, of either provider.
var filtered = []string{"order", "customer"}

// follower is a consumer of the change feed: one that asks, or one that is sent it.
type follower interface {
	Missing(context.Context) ([]string, error)
	Stuck(context.Context) (bool, error)
	Backwards() []string
	Resyncs() int
}

// receive starts the consumer that is sent the feed, and returns what ends it. The settings of
// the fleet name it.
func (c *chaos) receive() (end func() error, err error) {
	if c.options.alone {
		return func() error { return nil }, nil
	}
	if c.receiver, err = fleet.Receive("receiver"); err != nil {
		return nil, err
	}
	c.hooks = c.receiver.Settings()
	return c.receiver.Close, nil
}

// follow starts the consumers that ask, and returns what ends them.
func (c *chaos) follow() (end func()) {
	if c.options.alone {
		return func() {}
	}
	ctx, cancel := context.WithCancel(c.ctx)
	var kinds []string
	if definition, err := c.fleet.Definition(); err == nil {
		for _, k := range definition.Kinds() {
			if slices.Contains(filtered, k.Name) {
				kinds = append(kinds, k.Name)
			}
		}
	}
	c.consumers = []*fleet.Consumer{
		c.fleet.Follow(ctx, "stream", true), c.fleet.Follow(ctx, "pages", false, kinds...),
	}
	c.receiver.Of(c.fleet)
	return func() {
		cancel()
		for _, consumer := range c.consumers {
			consumer.Wait()
		}
	}
}

// followers are all consumers of the feed, by their names.
func (c *chaos) followers() map[string]follower {
	all := map[string]follower{}
	for _, consumer := range c.consumers {
		all[consumer.Name] = consumer
	}
	if c.receiver != nil {
		all[c.receiver.Name] = c.receiver
	}
	return all
}

// catchUpWithin is how long consumers may take, once all is calm, until they hold what the
// mirror holds. The sequencer looks through the store each 30 s for changes whose hints were
// lost with Redis.
const catchUpWithin = 3 * time.Minute

// caughtUp waits until all consumers hold what the mirror holds, or for as long as they
// may take. The verdict says what is missing then.
func (c *chaos) caughtUp() error {
	if c.receiver != nil {
		if err := c.receiver.Resume(c.ctx); err != nil {
			return err
		}
	}
	end := time.Now().Add(min(catchUpWithin, c.drain))
	pause := 500 * time.Millisecond
	if c.mongoDB {
		pause = 5 * time.Second
	}
	for time.Now().Before(end) && c.ctx.Err() == nil {
		if c.known() {
			return nil
		}
		if v, err := c.judgeFeed(counted); err == nil && v.clean() {
			if v.consumers > 0 {
				c.say("the consumers hold what the mirror holds")
			}
			return nil
		}
		if err := fleet.Pause(c.ctx, pause); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// judgeFeed compares what consumers hold with the mirror.
func (c *chaos) judgeFeed(tell teller) (v feedVerdict, err error) {
	followers := c.followers()
	v.consumers = len(followers)
	for _, name := range slices.Sorted(maps.Keys(followers)) {
		follower := followers[name]
		missing, err := follower.Missing(c.ctx)
		if err != nil {
			return v, err
		}
		stuck, err := follower.Stuck(c.ctx)
		if err != nil {
			return v, err
		}
		if stuck {
			tell("stuck", []string{name})
			v.stuck++
		}
		tell("missing", missing)
		v.missing += len(missing)
		backwards := follower.Backwards()
		tell("backwards", backwards)
		v.backwards += len(backwards)
		v.resyncs += follower.Resyncs()
	}
	holes, err := c.fleet.FeedHoles(c.ctx)
	tell("holes", holes)
	v.holes = len(holes)
	return v, err
}
