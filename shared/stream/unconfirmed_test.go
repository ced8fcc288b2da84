package stream

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// replicated starts a master with a replica that has caught up.
func replicated(t *testing.T) (master, replica *redistest.Server) {
	t.Helper()
	master = redistest.Start(t)
	replica = redistest.Start(t, redistest.ReplicaOf(master))
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	}, soon, 10*time.Millisecond)
	return master, replica
}

// While a replica stands still, signals that the store has a row of go in without it, and
// all others are not confirmed. A process that waited in vain is not ready, and that ends by
// itself once the replica is back.
func TestRecordedSignalsDoNotWaitForReplicas(t *testing.T) {
	t.Parallel()
	master, replica := replicated(t)
	o := quiet(master.URL())
	o.WaitReplicas = 1
	var lacking atomic.Bool
	o.OnLack = lacking.Store
	s, worker := openStreams(t, o), openStreams(t, o)
	ctx := t.Context()
	require.Eventually(t, func() bool { // the first acknowledgement takes a moment
		_, err := s.Append(ctx, Draft{Signal: happened("evt_0", "a")})
		return err == nil
	}, soon, 10*time.Millisecond)
	require.Eventually(t, func() bool { return !lacking.Load() }, soon, 10*time.Millisecond)

	replica.Freeze()
	recorded, refresh := Draft{Signal: further("evt_0", "b"), Recorded: true}, Draft{Signal: look("c", event.Reconcile), Once: time.Hour}
	got, err := worker.AppendFurther(ctx, []Draft{recorded, recorded})
	require.NoError(t, err)
	require.Len(t, got, 2)
	got, err = worker.AppendFurther(ctx, []Draft{recorded, refresh})
	require.ErrorIs(t, err, ErrReplicas)
	require.Len(t, got, 1, "the recorded one is in")
	require.NoError(t, worker.Ping(ctx), "it accepts nothing from outside")
	_, err = s.AppendAll(ctx, []Draft{recorded})
	require.ErrorIs(t, err, ErrReplicas, "only further signals may go without")
	require.ErrorIs(t, s.Ping(ctx), fate.ErrNoWrites)
	require.True(t, lacking.Load())

	replica.Thaw()
	require.Eventually(t, func() bool { return !lacking.Load() }, soon, 10*time.Millisecond, "without a further append")
	require.Eventually(t, func() bool { return s.Ping(ctx) == nil }, soon, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		got, err = worker.AppendFurther(ctx, []Draft{refresh})
		return err == nil
	}, soon, 10*time.Millisecond)
	require.True(t, got[0].Duplicate, "it went in, and is confirmed now")
}

// In a cluster each master has replicas of its own. While those of one are lacking, the
// confirmations of another must not end the lack: it would be reported and ended with every
// batch.
func TestOneMasterSaysNothingOfAnother(t *testing.T) {
	t.Parallel()
	var said []bool
	w := &writes{onLack: func(lacking bool) { said = append(said, lacking) }}
	w.confirmed(nil, false)
	for range 3 {
		w.confirmed(ErrReplicas, false)
		w.confirmed(nil, false)
	}
	require.Equal(t, []bool{true}, said)
	w.confirmed(nil, true)
	require.Equal(t, []bool{true, false}, said)
	w.confirmed(ErrReplicas, true)
	w.confirmed(errRetired, true)
	require.Equal(t, []bool{true, false, true}, said, "a wait that was cut off says nothing")
}
