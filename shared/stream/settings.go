package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// highWater is the share of maxmemory from which appends are refused: the
	// rest is for what still has to happen to what was accepted.
	highWater = 0.8
	// memoryEvery is how often used memory and the eviction policy are looked at while
	// they decide something, memoryIdle how often otherwise. settingsEvery is how often
	// the append-only file's settings are.
	memoryEvery   = time.Second
	memoryIdle    = 5 * time.Second
	settingsEvery = time.Minute
)

// onMasters calls f for every master, one of them for a single Redis.
func (s *Streams) onMasters(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, c)
	default:
		return fmt.Errorf("redis client of type %T", c)
	}
}

// checkServers refuses servers that would lose accepted events silently and
// warns about those that may, and about what it is not allowed to see.
func (s *Streams) checkServers(ctx context.Context) error {
	return s.onMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx).Result()
		if hidden(err) {
			s.opts.Logger.Warn("redis does not show its state (INFO); make sure that it is version 7.0 or newer and has maxmemory-policy noeviction; "+
				"appends are refused only once it is full, not from 80 % of maxmemory", "redis", c.Options().Addr, "error", err)
			return s.checkHidden(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("connect to redis: %w", err)
		}
		if err := checkVersion(c, info); err != nil {
			return err
		}
		if policy := infoText(info, infoPolicy); policy != "" {
			return s.checkSettings(ctx, c, policy)
		}
		return s.checkUnshown(ctx, c)
	})
}

// infoPolicy is the line of INFO with the eviction policy. Redis Enterprise has none.
const infoPolicy = "maxmemory_policy"

// checkUnshown checks the settings of a server whose INFO lacks the eviction policy.
func (s *Streams) checkUnshown(ctx context.Context, c *redis.Client) error {
	policy, err := policyOf(ctx, c)
	if err != nil {
		return err
	}
	if policy == "" {
		s.opts.Logger.Warn("redis does not show its maxmemory-policy; make sure that it is noeviction", "redis", c.Options().Addr)
		return s.checkDurability(ctx, c)
	}
	return s.checkSettings(ctx, c, policy)
}

// checkHidden checks what CONFIG says of a server that has no INFO for us.
func (s *Streams) checkHidden(ctx context.Context, c *redis.Client) error {
	policy, err := policyOf(ctx, c)
	if err != nil || policy == "" {
		return err // both were logged as settings to check
	}
	return s.checkSettings(ctx, c, policy)
}

// policyOf asks CONFIG for the eviction policy. "": it is not for us, or does not show it.
func policyOf(ctx context.Context, c *redis.Client) (string, error) {
	policy, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil && !hidden(err) {
		return "", fmt.Errorf("read maxmemory-policy of redis: %w", err)
	}
	return policy["maxmemory-policy"], nil
}

// noPermission begins the answer to what an ACL denies.
const noPermission = "NOPERM"

// hidden reports whether the error says that a command is not for us: denied by
// an ACL, or taken away, as hosted servers do.
func hidden(err error) bool {
	if _, replied := err.(redis.Error); !replied { //nolint:errorlint // a reply is never wrapped
		return false
	}
	return strings.HasPrefix(err.Error(), noPermission) || strings.HasPrefix(err.Error(), "ERR unknown command")
}

// checkRights fails with the names of the commands that are needed and that the
// user of the address may not run.
func (s *Streams) checkRights(ctx context.Context) error {
	var further []any
	if s.opts.WaitReplicas > 0 {
		further = append(further, "WAIT")
	}
	for _, key := range []string{s.keys.shardCount(), s.keys.nothing(0)} { // both forms of keys
		v, err := run(ctx, s.client, needsScript, "ask redis what its user may do", []string{key}, further...)
		if err != nil && strings.Contains(err.Error(), noPermission) { // the script itself, or all keys of the kind
			return fmt.Errorf("%w: on keys like %s: %w", ErrRights, key, err)
		}
		if err != nil {
			return err
		}
		if denied := texts(v); len(denied) > 0 {
			return fmt.Errorf("%w: %s, on keys like %s; shared/stream/REDIS.md has a user with all that is needed",
				ErrRights, strings.Join(denied, ", "), key)
		}
	}
	return nil
}

func checkVersion(c *redis.Client, info string) error {
	version := infoText(info, "redis_version")
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		return fmt.Errorf("redis at %s is version %q: 7.0 or newer is needed", c.Options().Addr, version)
	}
	return nil
}

// checkSettings takes the eviction policy from INFO and asks CONFIG for the
// rest, which hosted servers may refuse.
func (s *Streams) checkSettings(ctx context.Context, c *redis.Client, policy string) error {
	if err := checkPolicy(c, policy); err != nil {
		return err
	}
	return s.checkDurability(ctx, c)
}

// keepsAll is the only maxmemory-policy under which nothing is evicted.
const keepsAll = "noeviction"

func checkPolicy(c *redis.Client, policy string) error {
	if policy == keepsAll {
		return nil
	}
	return fmt.Errorf("redis at %s has maxmemory-policy %q and would evict accepted events: set it to noeviction",
		c.Options().Addr, policy)
}

// checkDurability warns of settings under which a restart of the server loses
// accepted events, once until they change.
func (s *Streams) checkDurability(ctx context.Context, c *redis.Client) error {
	warning, args, err := durability(ctx, c)
	if err != nil {
		return err
	}
	addr := c.Options().Addr
	if before, _ := s.warned.Swap(addr, warning); before != warning && warning != "" {
		s.opts.Logger.With("redis", addr).Warn(warning, args...)
	}
	return nil
}

func durability(ctx context.Context, c *redis.Client) (warning string, args []any, err error) {
	appendOnly, err := c.ConfigGet(ctx, "appendonly").Result()
	if hidden(err) {
		return "redis does not show its settings (CONFIG); make sure that it has appendonly yes and appendfsync always", []any{"error", err}, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("read appendonly of redis: %w", err)
	}
	if appendOnly["appendonly"] == "no" {
		return "redis keeps no append-only file: a restart loses what was accepted; set appendonly yes and appendfsync always", nil, nil
	}
	fsync, err := c.ConfigGet(ctx, "appendfsync").Result()
	if err != nil {
		return "", nil, fmt.Errorf("read appendfsync of redis: %w", err)
	}
	if f := fsync["appendfsync"]; f != "always" {
		return "up to 2 s of accepted events can be lost when redis dies; set appendfsync always", []any{"appendfsync", f}, nil
	}
	return "", nil, nil
}

// checkShards compares the number of shards with the one the fleet was first
// started with: with another one, an entity's signals would change streams.
func (s *Streams) checkShards(ctx context.Context) error {
	key := s.keys.shardCount()
	stored, err := s.client.Get(ctx, key).Int()
	if errors.Is(err, redis.Nil) { // only then: a full Redis, which a new worker is to empty, refuses SETNX
		if err := s.client.SetNX(ctx, key, s.opts.Shards, 0).Err(); err != nil {
			return fmt.Errorf("store the number of shards: %w", err)
		}
		stored, err = s.client.Get(ctx, key).Int()
	}
	if err != nil {
		return fmt.Errorf("read the number of shards: %w", err)
	}
	if stored != s.opts.Shards {
		return fmt.Errorf("%w: the fleet %q has %d, configured are %d; set shards to %d, or start a new fleet under another redis prefix",
			ErrShards, s.opts.Prefix, stored, s.opts.Shards, stored)
	}
	return nil
}

// infoText returns a line of INFO, "" if there is none.
func infoText(info, name string) string {
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && k == name {
			return v
		}
	}
	return ""
}

func infoNumber(info, name string) float64 {
	n, _ := strconv.ParseFloat(infoText(info, name), 64) // not a number: not bounded
	return n
}
