package stream

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// repeating runs every script twice and lets the caller see the second answer
// only, as after a lost reply and a silent repetition.
type repeating struct{}

func (repeating) DialHook(next redis.DialHook) redis.DialHook { return next }

func (repeating) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" && next(ctx, cmd) == nil {
			cmd.SetErr(nil)
		}
		return next(ctx, cmd)
	}
}

func (repeating) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := next(ctx, cmds); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// kinds of Redis that behaviour is tested on.
var kinds = []struct {
	name string
	urls func(testing.TB) []string
}{
	{"plain", func(t testing.TB) []string { return []string{redistest.Start(t).URL()} }},
	{"cluster", func(t testing.TB) []string { return redistest.StartCluster(t, 3) }},
}

// proxied are the same behind a proxy.
var proxied = []struct {
	name  string
	start func(testing.TB) (string, *redistest.Proxy)
	// repeats: the client repeats a command whose reply was lost, and says
	// nothing of it.
	repeats bool
}{
	{"plain", func(t testing.TB) (string, *redistest.Proxy) {
		p := redistest.NewProxy(t, redistest.Start(t))
		return p.URL(), p
	}, false},
	{"cluster", func(t testing.TB) (string, *redistest.Proxy) {
		p := redistest.StartProxiedCluster(t)
		return "redis+cluster://" + p.Addr(), p
	}, true},
}

// snapshot is all of Redis as text, but for what follows the clock.
func snapshot(t testing.TB, s *Streams) string {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	require.NoError(t, s.onMasters(t.Context(), func(ctx context.Context, c *redis.Client) error {
		all, err := c.Keys(ctx, "*").Result()
		for _, key := range all {
			line := key + " = " + valueOf(ctx, c, key)
			mu.Lock()
			lines = append(lines, line)
			mu.Unlock()
		}
		return err
	}))
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func valueOf(ctx context.Context, c *redis.Client, key string) string {
	switch kind := c.Type(ctx, key).Val(); kind {
	case "string":
		return c.Get(ctx, key).Val()
	case "hash":
		return fmt.Sprint(c.HGetAll(ctx, key).Val())
	case "list":
		return fmt.Sprint(c.LRange(ctx, key, 0, -1).Val())
	case "zset":
		return fmt.Sprint(c.ZRangeWithScores(ctx, key, 0, -1).Val())
	case "stream":
		return streamText(ctx, c, key)
	default:
		return kind
	}
}

func streamText(ctx context.Context, c *redis.Client, key string) string {
	text := fmt.Sprint(c.XRange(ctx, key, "-", "+").Val())
	for _, consumer := range c.XInfoConsumers(ctx, key, group).Val() {
		text += fmt.Sprintf(" %s has %d", consumer.Name, consumer.Pending)
	}
	return text
}

// scriptCase is one script, run directly.
type scriptCase struct {
	script *redis.Script
	keys   []string
	args   []any
	// second is the answer to the second run if it is another than the first's.
	second any
	// fails is the word the second run fails with.
	fails string
	// clock: the script writes times, so the snapshots may differ in them.
	clock bool
}

func TestScriptsRunTwiceHaveOneEffect(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			l := ready(t, s, "w1")
			covered := map[*redis.Script]bool{}
			for _, c := range scriptCases(t, s, l) {
				covered[c.script] = true
				runTwice(t, s, c)
			}
			require.Len(t, covered, 31, "every script is run")
		})
	}
}

func runTwice(t *testing.T, s *Streams, c scriptCase) {
	t.Helper()
	first, err := c.script.Run(t.Context(), s.client, c.keys, c.args...).Result()
	require.NoError(t, err, "%v", c.keys)
	after := snapshot(t, s)
	second, err := c.script.Run(t.Context(), s.client, c.keys, c.args...).Result()
	switch {
	case c.fails != "":
		require.ErrorContains(t, err, c.fails)
	case c.second != nil:
		require.NoError(t, err)
		require.Equal(t, c.second, second)
	case !c.clock:
		require.NoError(t, err)
		require.Equal(t, first, second, "%v", c.keys)
	}
	if !c.clock {
		require.Equal(t, after, snapshot(t, s), "%v", c.keys)
	}
}

// scriptCases are run in this order on one shard: the later ones work on what
// the earlier ones left.
func scriptCases(t *testing.T, s *Streams, l *Lease) []scriptCase {
	k := &s.keys
	live, back := k.stream(0, "lemon", "live"), k.stream(0, "lemon", "background")
	due, earliest := k.due(0, "lemon"), k.earliest(0, "lemon")
	e := order("a").String()
	list, record := k.parkedPrefix(0)+e, k.recordPrefix(0)+e
	ids := appended(t, s, happened("evt_1", "a"), happened("evt_2", "a"), happened("evt_3", "a"), happened("evt_4", "b"))

	fencedKeys := func(keys ...string) []string { return append([]string{k.lease(0)}, keys...) }
	fencedArgs := func(args ...any) []any { return append([]any{l.owner, l.epoch}, args...) }
	seq := sequence("lemon", "live")
	own, err := happened("evt_9", "a").Fields()
	require.NoError(t, err)
	at := l.at(live)
	parking := fencedKeys(live, back, due, earliest)
	require.NoError(t, s.client.HSet(t.Context(), k.source("probed"), "until", 1, "since", 7).Err())
	require.NoError(t, s.client.Set(t.Context(), k.probe("probed"), "token", 0).Err())
	return []scriptCase{
		{script: readScript, keys: fencedKeys(live, due), fails: "RESYNC",
			args: fencedArgs(group, seq, at.seq, 900, 3, 1<<20, "k")},
		{script: takeOverScript, keys: fencedKeys(live, due),
			args: fencedArgs(group, seq, 901, "0-0", 10, "k")},
		{script: parkScript, keys: append(slices.Clone(parking), list, record),
			args: fencedArgs(group, e, 902, 1, 60000, 1000, "state", "failed", 2, ids[0], 0, "x")},
		{script: parkBehindScript, keys: parking,
			args: fencedArgs(group, k.parkedPrefix(0), k.recordPrefix(0), 2, ids[1], e, "y")},
		{script: deferScript, keys: fencedKeys(due, earliest, record), args: fencedArgs(e, 903, 0)},
		{script: beginScript, keys: fencedKeys(), args: fencedArgs(), clock: true},
		{script: dueScript, keys: fencedKeys(due), args: fencedArgs(10)},
		{script: parkedScript, keys: fencedKeys(list, record), args: fencedArgs(0, 10)},
		{script: rebaseScript, keys: fencedKeys(list, record), args: fencedArgs(904, 1, 10, 2)},
		{script: unparkScript, keys: fencedKeys(due, earliest, list, record, k.hints(0, "lemon"), k.mark(0, "lemon", "evt_1")),
			args: fencedArgs(e, 905, 0, maxHints, 1, "7 "+e, ids[0])},
		{script: discardScript, keys: fencedKeys(due, earliest, list, record), args: fencedArgs(e, ids[1]+" 2 y")},
		{script: unparkScript, keys: fencedKeys(due, earliest, list, record, k.hints(0, "lemon")),
			args: fencedArgs(e, 906, 0, maxHints, 0, ids[1])},
		{script: ackScript, keys: fencedKeys(live, k.hints(0, "lemon"), k.mark(0, "lemon", "evt_3")), second: int64(0),
			args: fencedArgs(group, maxHints, 1, "8 "+e, ids[2])},
		{script: ringScript, keys: []string{k.bell("lemon")}, args: []any{0, 3}, second: int64(0)},
		{script: oldestHintScript, keys: []string{k.hints(0, "lemon")}, clock: true},
		{script: rungScript, keys: []string{k.bell("lemon")}, second: []any{}},
		{script: tellFeedScript, keys: fencedKeys(k.nothing(0)), args: fencedArgs("gen", 7, "tag")},
		{script: appendScript, keys: []string{live, k.mark(0, "lemon", "evt_9")}, clock: true,
			args: append([]any{60000, "", len(own)}, own...)},
		{script: recoverScript, keys: []string{live, due, k.recovery(0, "evt_8", e)}, clock: true,
			args: append([]any{e, "", 60000}, own...)},
		{script: retryScript, keys: []string{due, earliest}, second: int64(0)},
		{script: renewScript, keys: fencedKeys(), args: fencedArgs(5000)},
		{script: fleetScript, keys: fencedKeys(live, back, due), clock: true,
			args: []any{k.parkedPrefix(0), k.recordPrefix(0), 10}},
		{script: heartbeatScript, keys: []string{k.workers(), k.shardCount(), k.joined("w1")}, args: []any{"w1", 15000, 1, "token"}, clock: true},
		{script: pauseScript, keys: []string{k.source("lemon"), k.probe("lemon")}, args: []any{1, "why", "who", "{}"}, clock: true},
		{script: acceptScript, keys: []string{k.accepted("stripe"), k.source("stripe"), k.probe("stripe")}, args: []any{"ops", 60000}},
		{script: probeScript, keys: []string{k.source("stripe"), k.probe("stripe")}, args: []any{"token", 1000}},
		{script: toldScript, keys: []string{k.source("probed")}, args: []any{7, "what", 5000}, clock: true, second: int64(0)},
		{script: toldScript, keys: []string{k.source("probed")}, args: []any{7, "what", 0}, second: int64(0)},
		{script: endProbeScript, keys: []string{k.source("probed"), k.probe("probed")}, args: []any{"token"}},
		{script: takeScript, keys: []string{k.source("stripe"), k.budget("stripe")}, args: []any{0, 1, "10", "2", "0.5"}, clock: true},
		{script: forgetScript, keys: []string{live, back, due, earliest, k.hints(0, "lemon")},
			args: append([]any{k.parkedPrefix(0), k.recordPrefix(0), 500}, anys(ids)...)},
		{script: releaseScript, keys: fencedKeys(), args: fencedArgs(), fails: "FENCED"},
		{script: acquireScript, keys: []string{k.lease(0), k.epoch(0), live, back}, args: []any{"w2", "token", 5000, group, 0}},
	}
}

func TestAppendTwiceIsOneEntry(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			s.client.AddHook(repeating{})
			r, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
			require.NoError(t, err)
			require.True(t, r.Duplicate, "the second answer is the one seen")
			n, err := s.client.XLen(t.Context(), s.keys.stream(0, "lemon", "live")).Result()
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
		})
	}
}
