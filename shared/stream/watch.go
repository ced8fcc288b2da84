package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/loops"
)

// watchServers looks at what may be set while the servers run: in the
// background, so that an append costs one atomic load.
func (s *Streams) watchServers() {
	checked := time.Now()        // at the start
	var unseen, looked time.Time // when INFO was last denied, and asked
	for {
		if asked := s.asked.Swap(false) || time.Since(looked) >= memoryIdle; asked && time.Since(unseen) >= settingsEvery {
			if looked = time.Now(); hidden(s.lookAtMemory(s.life)) {
				unseen = looked
			}
		}
		if time.Since(checked) >= settingsEvery {
			checked = time.Now()
			_ = s.recheckDurability(s.life) // calls that need a server report that it does not answer
		}
		if s.writes.lacking.Load() {
			_ = s.tryWrite(s.life, tryToRemove) // else only the next append would find them back
		}
		t := time.NewTimer(loops.UntilTick(memoryEvery))
		select {
		case <-t.C:
		case <-s.closed:
			t.Stop()
			return
		}
	}
}

// lacks says that replicas are lacking or back.
func (s *Streams) lacks(lacking bool) {
	if s.opts.OnLack != nil {
		s.opts.OnLack(lacking)
	}
	if lacking {
		s.opts.Logger.Warn("too few replicas of redis confirm; events are not accepted until they do, what was accepted is worked on", "wait_replicas", s.opts.WaitReplicas)
		return
	}
	s.opts.Logger.Info("enough replicas of redis confirm again", "wait_replicas", s.opts.WaitReplicas)
}

// isFull reports whether appends are to be refused, as last seen.
func (s *Streams) isFull() bool {
	s.ask()
	return s.full.Load()
}

// ask says that the state of memory decides something, so that it is looked at each
// memoryEvery.
func (s *Streams) ask() {
	if !s.asked.Load() { // a plain load keeps the hot path free of stores
		s.asked.Store(true)
	}
}

// lookAtMemory keeps s.full true while any master is past its high-water mark,
// and s.evicting what is wrong while one evicts. It leaves both as they were when
// Redis cannot be asked: the append itself will fail.
func (s *Streams) lookAtMemory(ctx context.Context) error {
	var found atomic.Bool // masters are asked at once
	var evicting atomic.Pointer[error]
	var fullest fullestMemory
	err := s.onMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		memory, err := c.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		used, limit := infoNumber(memory, "used_memory"), infoNumber(memory, "maxmemory")
		if limit > 0 && used >= highWater*limit {
			found.Store(true)
		}
		fullest.add(Memory{Used: int64(used), Max: int64(limit)})
		policy := infoText(memory, infoPolicy)
		if policy == "" {
			return nil // it was warned of at the start
		}
		if err := checkPolicy(c, policy); err != nil {
			evicting.Store(&err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.memory.Store(&fullest.memory)
	if full := found.Load(); s.full.Swap(full) != full {
		s.opts.Logger.Warn("redis memory crossed 80 % of maxmemory", "appends_refused", full)
	}
	now := evicting.Load()
	switch before := s.evicting.Swap(now); {
	case before == nil && now != nil:
		s.opts.Logger.Error("redis may evict accepted events; not ready until it is set back", "error", *now)
	case before != nil && now == nil:
		s.opts.Logger.Info("redis evicts nothing again")
	}
	return nil
}

// Memory is how much of its memory a Redis uses.
type Memory struct {
	// Used and Max are bytes. Max 0: there is no limit.
	Used, Max int64
}

// share is the used part of what may be used, 0 without a limit.
func (m Memory) share() float64 {
	if m.Max <= 0 {
		return 0
	}
	return float64(m.Used) / float64(m.Max)
}

// fullestMemory finds the fullest of several masters, which are asked at once.
type fullestMemory struct {
	mu     sync.Mutex
	asked  bool
	memory Memory
}

func (f *fullestMemory) add(m Memory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.memory
	if !f.asked || m.share() > before.share() || m.share() == before.share() && m.Used > before.Used {
		f.asked, f.memory = true, m
	}
}

// Memory returns the memory of Redis, of a cluster that of its fullest master, as last
// seen. False: Redis has not shown it.
func (s *Streams) Memory() (Memory, bool) {
	m := s.memory.Load()
	if m == nil {
		return Memory{}, false
	}
	return *m, true
}

func (s *Streams) recheckDurability(ctx context.Context) error {
	return s.onMasters(ctx, s.checkDurability)
}

// errEvicts wraps what is wrong while a server may evict accepted events.
var errEvicts = errors.New("redis may evict what it holds")

// Evicting returns an error while a server has a maxmemory-policy under which it
// may remove accepted events, as last seen. Open refuses one that has it then.
func (s *Streams) Evicting() error {
	s.ask()
	if why := s.evicting.Load(); why != nil {
		return fmt.Errorf("%w: %w", errEvicts, *why)
	}
	return nil
}
