package stream

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// What was confirmed with a replica is there after that replica was promoted,
// with its marks, although the master has nothing on disk and is gone.
func TestConfirmedAppendsSurviveFailover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	master := redistest.Start(t)
	replica := redistest.Start(t, redistest.ReplicaOf(master))
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Client().Info(ctx, "replication").Val(), "master_link_status:up")
	}, soon, 10*time.Millisecond)
	url := redistest.StartSentinel(t, master, "main")
	sentinel := sentinelOf(t, url)

	o := quiet(url)
	o.WaitReplicas = 1
	confirming := openStreams(t, o)
	require.Eventually(t, func() bool { // the first acknowledgement takes a moment
		_, err := confirming.Append(ctx, Draft{Signal: happened("evt_0", "a")})
		return err == nil
	}, soon, 10*time.Millisecond)
	former := ready(t, confirming, "w1")
	first := idsOf(readLive(t, former))
	var drafts []Draft
	for i := range 300 {
		drafts = append(drafts, Draft{Signal: happened(fmt.Sprint("evt_", i+1), fmt.Sprint("bord_", i%7))})
	}
	var receipts []Receipt
	require.Eventually(t, func() bool { // a replica that stalls confirms what comes again
		var err error
		receipts, err = confirming.AppendAll(ctx, drafts)
		return err == nil
	}, soon, 10*time.Millisecond)
	want := slices.Clone(first)
	for _, r := range receipts {
		want = append(want, r.ID)
	}

	master.Kill() // before a master that stalls for a moment would be taken for down
	require.NoError(t, sentinel.Set(ctx, "main", "down-after-milliseconds", "500").Err())
	require.Eventually(t, func() bool {
		addr, err := sentinel.GetMasterAddrByName(ctx, "main").Result()
		return err == nil && net.JoinHostPort(addr[0], addr[1]) == replica.Addr() &&
			strings.Contains(replica.Client().Info(ctx, "replication").Val(), "role:master")
	}, 60*time.Second, 50*time.Millisecond, "the replica is promoted")

	o.WaitReplicas = 0
	s := openStreams(t, o)
	again, err := s.AppendAll(ctx, drafts)
	require.NoError(t, err)
	for i, r := range again {
		require.True(t, r.Duplicate)
		require.Equal(t, receipts[i].ID, r.ID)
	}
	l := acquired(t, s, "w1")
	require.Greater(t, l.Epoch(), former.Epoch())
	var got []string
	_, err = l.TakeOver(ctx, "lemon", event.TierLive, func(page []event.Entry) error {
		got = append(got, idsOf(page)...)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, first, got, "what was in flight")
	for entries := readLive(t, l); len(entries) > 0; entries = readLive(t, l) {
		got = append(got, idsOf(entries)...)
	}
	require.Equal(t, want, got)

	require.Eventually(t, func() bool { // once it has left the connections to the former master
		_, err := confirming.Append(ctx, Draft{Signal: happened("evt_new", "a")})
		require.Error(t, err, "there is no replica left that could confirm")
		return errors.Is(err, ErrReplicas)
	}, soon, 10*time.Millisecond)
}

func sentinelOf(t *testing.T, url string) *redis.SentinelClient {
	t.Helper()
	addr, _, _ := strings.Cut(strings.TrimPrefix(url, "redis+sentinel://"), "/")
	c := redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}
