package main

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
)

// fault is something that goes wrong and ends.
type fault struct {
	name string
	// once: it happens once in a run.
	once bool
	// shows: the provider shows what is no longer so.
	shows bool
	// follows: it is of those who follow the change feed.
	follows bool
	// writes: it is of changes at the provider.
	writes bool
	// do makes it happen and returns when all is as before.
	do func(c *chaos, r *rand.Rand)
}

var faults = []fault{
	{name: "kill-api", do: kill(fleet.API)},
	{name: "kill-worker", do: kill(fleet.Worker)},
	{name: "kill-reconciler", do: kill(fleet.Reconciler)},
	{name: "freeze-api", do: freeze(fleet.API)},
	{name: "freeze-worker", do: freeze(fleet.Worker)},
	{name: "freeze-reconciler", do: freeze(fleet.Reconciler)},
	{name: "restart-worker", do: restart(fleet.Worker)},
	{name: "restart-api", do: restart(fleet.API)},
	{name: "add-worker", do: addWorker},
	{name: "kill-redis", do: killRedis},
	{name: "freeze-redis", do: freezeRedis},
	{name: "flush-redis", once: true, do: flushRedis},
	{name: "cut-redis", do: cutRedis},
	{name: "refuse-redis", do: refuseRedis},
	{name: "lose-replies", do: loseReplies},
	{name: "slow-store", do: slowStore},
	{name: "refuse-store", do: refuseStore},
	{name: "provider-slow", do: provider("answers slowly", func(c, _ *sim.Chaos) { c.Latency = seconds(0.3) }, func(c, usual *sim.Chaos) { c.Latency = usual.Latency })},
	{name: "provider-throttles", do: provider("answers 429 to a third", func(c, _ *sim.Chaos) { c.TooMany = 0.3 }, func(c, _ *sim.Chaos) { c.TooMany = 0 })},
	{name: "provider-fails", do: provider("answers 5xx to a third", func(c, _ *sim.Chaos) { c.ServerError = 0.3 }, func(c, _ *sim.Chaos) { c.ServerError = 0 })},
	{name: "provider-hangs", do: provider("does not answer a tenth", func(c, _ *sim.Chaos) { c.Hang, c.HangFor = 0.1, seconds(3) }, func(c, _ *sim.Chaos) { c.Hang = 0 })},
	{name: "provider-stale", shows: true, do: provider("shows half as it was", func(c, _ *sim.Chaos) { c.Stale, c.StaleFor = 0.5, seconds(1.5) }, func(c, _ *sim.Chaos) { c.Stale = 0 })},
	{name: "provider-hides", do: provider("does not find half of what is young", func(c, _ *sim.Chaos) { c.NotFound, c.NotFoundFor = 0.5, seconds(2) }, func(c, _ *sim.Chaos) { c.NotFound = 0 })},
	{name: "provider-down", do: outage("down")},
	{name: "provider-unavailable", do: outage("503")},
	{name: "provider-elsewhere", do: outage("not-provider")},
	{name: "provider-locked", do: outage("401")},
	{name: "provider-mute", writes: true, do: provider("does what is asked and says nothing of it", func(c, _ *sim.Chaos) { c.LoseAnswer, c.ResetAnswer = 0.2, 0.3 },
		func(c, usual *sim.Chaos) { c.LoseAnswer, c.ResetAnswer = usual.LoseAnswer, usual.ResetAnswer })},
	{name: "provider-denies", writes: true, do: provider("answers 500 to changes, done or not", func(c, _ *sim.Chaos) { c.ErrorAfter, c.ErrorBefore = 0.3, 0.3 },
		func(c, usual *sim.Chaos) { c.ErrorAfter, c.ErrorBefore = usual.ErrorAfter, usual.ErrorBefore })},
	{name: "provider-late", writes: true, do: provider("answers changes late", func(c, _ *sim.Chaos) { c.SlowAnswer = 0.5 }, func(c, usual *sim.Chaos) { c.SlowAnswer = usual.SlowAnswer })},
	{name: "kill-consumer", follows: true, do: hitConsumer("kill", (*fleet.Consumer).Kill)},
	{name: "reset-consumer", follows: true, do: hitConsumer("take everything from", (*fleet.Consumer).Forget)},
	{name: "restore-consumer", follows: true, do: hitConsumer("back up or restore", (*fleet.Consumer).Restore)},
	{name: "kill-receiver", follows: true, do: killReceiver},
	{name: "reset-receiver", follows: true, do: resetReceiver},
	{name: "receiver-fails", follows: true, do: troubleReceiver("answers 500 to a half", func(r *rand.Rand) fleet.Trouble {
		return fleet.Trouble{Status: http.StatusInternalServerError * r.IntN(2)}
	})},
	{name: "receiver-throttles", follows: true, do: troubleReceiver("answers 429 to a third", func(r *rand.Rand) fleet.Trouble {
		if r.IntN(3) > 0 {
			return fleet.Trouble{}
		}
		return fleet.Trouble{Status: http.StatusTooManyRequests, RetryAfter: 1}
	})},
	{name: "receiver-slow", follows: true, do: troubleReceiver("is slow", func(r *rand.Rand) fleet.Trouble { return fleet.Trouble{Late: between(r, 0, 0.6)} })},
	{name: "receiver-mute", follows: true, do: troubleReceiver("cuts a half off, stored or not", func(r *rand.Rand) fleet.Trouble {
		return fleet.Trouble{Cut: r.IntN(2) == 0, Keep: r.IntN(2) == 0}
	})},
	{name: "webhooks-late", do: provider("sends most twice, late and out of order", func(c, _ *sim.Chaos) { c.Duplicate, c.Reorder, c.MaxDelay = 0.5, 0.8, seconds(3) },
		func(c, usual *sim.Chaos) {
			c.Duplicate, c.Reorder, c.MaxDelay = usual.Duplicate, usual.Reorder, usual.MaxDelay
		})},
	{name: "webhooks-forged", do: provider("signs a fifth wrongly", func(c, _ *sim.Chaos) { c.WrongSignature = 0.2 }, func(c, _ *sim.Chaos) { c.WrongSignature = 0 })},
}

func seconds(s float64) sim.Duration { return sim.Duration(s * float64(time.Second)) }

// between draws a duration, in seconds.
func between(r *rand.Rand, from, to float64) time.Duration {
	return time.Duration((from + r.Float64()*(to-from)) * float64(time.Second)).Round(time.Millisecond)
}

func kill(program string) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		away := between(r, 0, 4)
		c.hit(r, program, func(m *fleet.Member) {
			c.say("kill %s, back in %s", m.Name, away)
			c.struck(m)
			m.Kill()
			c.sleep(away)
			c.check(m.Start())
		})
	}
}

// freeze stops a process for longer than its lease lives.
func freeze(program string) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		d := time.Duration((1.2 + r.Float64()) * float64(c.fleet.LeaseTTL())).Round(time.Millisecond)
		c.hit(r, program, func(m *fleet.Member) {
			c.say("freeze %s for %s", m.Name, d)
			c.struck(m)
			m.Freeze()
			c.sleep(d)
			m.Thaw()
		})
	}
}

func restart(program string) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		away := between(r, 0, 3)
		c.hit(r, program, func(m *fleet.Member) {
			c.say("stop %s, back in %s", m.Name, away)
			c.check(m.Stop())
			c.sleep(away)
			c.check(m.Start())
		})
	}
}

// hitConsumer does something to each consumer of the change feed, one after the other.
func hitConsumer(what string, do func(*fleet.Consumer)) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		for _, follower := range c.consumers {
			c.say("%s consumer %s", what, follower.Name)
			do(follower)
			c.sleep(between(r, 0, 0.5))
		}
	}
}

// killReceiver kills the consumer that is sent the feed.
func killReceiver(c *chaos, r *rand.Rand) {
	away := between(r, 0, 4)
	c.alone("receiver", func() {
		c.say("kill the receiver, back in %s", away)
		c.receiver.Kill()
		c.sleep(away)
		c.check(c.receiver.Start(c.ctx))
	})
}

// resetReceiver takes everything from the consumer that is sent the feed.
func resetReceiver(c *chaos, _ *rand.Rand) {
	c.alone("reset of the receiver", func() {
		c.say("take everything from the receiver")
		c.check(c.receiver.Forget(c.ctx))
	})
}

// troubleReceiver has something go wrong with what the receiver is sent for a while.
func troubleReceiver(what string, trouble func(*rand.Rand) fleet.Trouble) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		d := between(r, 2, 6)
		c.alone("receiver's answers", func() {
			c.say("the receiver %s for %s", what, d)
			c.receiver.Troubled(func() fleet.Trouble { return trouble(r) })
			c.sleep(d)
			c.receiver.Troubled(nil)
		})
	}
}

func addWorker(c *chaos, r *rand.Rand) {
	stays := between(r, 4, 10)
	m, err := c.fleet.Add(c.ctx, fleet.Worker)
	if err != nil {
		c.check(err)
		return
	}
	c.say("add %s for %s", m.Name, stays)
	if !c.reserve(m.Name) {
		return
	}
	c.sleep(stays)
	c.check(m.Stop())
	// It stays reserved: no fault hits a member that is gone for good.
}

func killRedis(c *chaos, r *rand.Rand) {
	away := between(r, 0, 2)
	c.alone("redis", func() {
		c.say("kill redis, back in %s", away)
		c.struck(nil)
		c.fleet.Redis.Kill()
		c.sleep(away)
		c.check(c.fleet.Redis.StartAgain(c.ctx))
	})
}

// flushRedis makes Redis lose everything it holds.
func flushRedis(c *chaos, _ *rand.Rand) {
	c.alone("redis", func() {
		c.say("redis loses everything")
		c.struck(nil)
		c.check(c.fleet.Redis.Ask(c.ctx, "FLUSHALL"))
	})
}

func freezeRedis(c *chaos, r *rand.Rand) {
	d := between(r, 0.5, 4)
	c.alone("redis", func() {
		c.say("freeze redis for %s", d)
		c.fleet.Redis.Freeze()
		c.sleep(d)
		c.fleet.Redis.Thaw()
	})
}

func cutRedis(c *chaos, r *rand.Rand) {
	times := 1 + r.IntN(5)
	c.say("cut all connections to redis %d times", times)
	for range times {
		c.fleet.Link.Cut()
		c.sleep(between(r, 0, 0.5))
	}
}

func refuseRedis(c *chaos, r *rand.Rand) {
	d := between(r, 0.5, 3)
	c.alone("link", func() {
		c.say("redis is unreachable for %s", d)
		c.fleet.Link.Refuse(true)
		c.sleep(d)
		c.fleet.Link.Refuse(false)
	})
}

// loseReplies loses the answers to what Redis has done: to appends, which carry
// an event's id, and to whatever script comes next.
func loseReplies(c *chaos, r *rand.Rand) {
	times := 20 + r.IntN(60)
	c.say("lose %d replies of redis", times)
	for range times {
		text := []string{"evt_", "evalsha"}[r.IntN(2)]
		select {
		case <-c.fleet.Link.LoseReply(text):
		case <-time.After(200 * time.Millisecond):
		case <-c.over.Done():
			return
		}
		c.sleep(between(r, 0, 0.05))
	}
}

func slowStore(c *chaos, r *rand.Rand) {
	d := between(r, 0.5, 4)
	c.alone("store", func() {
		c.say("the store takes %s", d)
		c.ended(c.fleet.Database.Slow(c.over, d))
	})
}

func refuseStore(c *chaos, r *rand.Rand) {
	d := between(r, 3, 6)
	c.alone("store", func() {
		c.say("the store refuses for %s", d)
		c.ended(c.fleet.Database.Refuse(c.over, d))
	})
}

// provider makes something of the provider go wrong for a while; off gets the
// usual settings to restore.
func provider(what string, on, off func(now, usual *sim.Chaos)) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		d := between(r, 2, 6)
		c.alone(what, func() {
			c.say("the provider %s for %s", what, d)
			c.provider(on)
			c.sleep(d)
			c.provider(off)
		})
	}
}

// outage makes the whole API answer in one way for a while.
func outage(kind string) func(*chaos, *rand.Rand) {
	return func(c *chaos, r *rand.Rand) {
		d := between(r, 1, 4)
		c.alone("outage", func() {
			c.say("the provider's API answers %q for %s", kind, d)
			c.provider(func(s, _ *sim.Chaos) { s.Outage = kind })
			c.sleep(d)
			c.provider(func(s, _ *sim.Chaos) { s.Outage = "" })
		})
	}
}
