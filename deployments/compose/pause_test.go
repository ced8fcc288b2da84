package compose

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// at is a row of a shard, received and settled so many milliseconds after the start.
func at(shard, received, settled int) *storage.EventRow {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &storage.EventRow{ReceivedAt: start.Add(time.Duration(received) * time.Millisecond), Entities: make([]storage.Outcome, 1)}
	r.Entities[0].Signal.Shard = shard
	if settled > 0 {
		r.ProcessedAt = start.Add(time.Duration(settled) * time.Millisecond)
	}
	return r
}

func TestPausesOfSettling(t *testing.T) {
	for name, tc := range map[string]struct {
		rows []*storage.EventRow
		want int
	}{
		"none":                                 {nil, 0},
		"a shard without work does not pause":  {[]*storage.EventRow{at(1, 0, 10), at(1, 5000, 5020)}, 20},
		"one that waits does":                  {[]*storage.EventRow{at(1, 0, 10), at(1, 100, 5000)}, 4900},
		"while others are settled it does not": {[]*storage.EventRow{at(1, 0, 1000), at(1, 10, 400), at(1, 20, 700)}, 400},
		"others of another shard do not count": {[]*storage.EventRow{at(1, 0, 1000), at(2, 10, 400), at(2, 20, 700)}, 1000},
		"nor do those that lost their reader":  {[]*storage.EventRow{at(9, 0, 1000), at(1, 10, 30)}, 20},
		"what is not settled is not looked at": {[]*storage.EventRow{at(1, 0, 0), at(1, 10, 30)}, 20},
		"the oldest that waits, not the next":  {[]*storage.EventRow{at(1, 1000, 1010), at(1, 0, 3000)}, 1990},
		"before the first is settled, as well": {[]*storage.EventRow{at(1, 900, 1010), at(1, 0, 1100)}, 1010},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := settling(tc.rows, []int{9})
			require.Equal(t, time.Duration(tc.want)*time.Millisecond, got)
		})
	}
}

// An event whose second entity is in a shard without a reader waits for that one.
func TestAPauseIsThatOfTheShardsWaitedFor(t *testing.T) {
	both := at(1, 0, 5000)
	both.Entities = append(both.Entities, storage.Outcome{})
	both.Entities[1].Signal.Shard = 9
	own, others := settling([]*storage.EventRow{both, at(1, 10, 30), at(9, 10, 4010)}, []int{9})
	require.Equal(t, 5*time.Second, own)
	require.Equal(t, 20*time.Millisecond, others)
}

func TestIntake(t *testing.T) {
	rows := []*storage.EventRow{at(1, 2000, 2400), at(2, 0, 100), at(3, 500, 600)}
	require.Equal(t, 1500*time.Millisecond, intake(rows))
	require.Zero(t, intake(nil))
}

func TestARowMayNotShow(t *testing.T) {
	good := row{fault: "kill a worker", events: 10, hit: true, own: 5 * time.Second, others: time.Second, limit: limit{6 * time.Second, time.Second}}
	require.Empty(t, good.problems())
	for name, change := range map[string]func(*row){
		"no events":        func(r *row) { r.events = 0 },
		"lost":             func(r *row) { r.lost = 1 },
		"wrong":            func(r *row) { r.wrong = 1 },
		"differences":      func(r *row) { r.verify = 3 },
		"its shards pause": func(r *row) { r.own = 6001 * time.Millisecond },
		"others pause":     func(r *row) { r.others = 1001 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			change(&bad)
			require.Len(t, bad.problems(), 1)
		})
	}
	without := good
	without.hit, without.limit = false, limit{}
	without.others = time.Minute
	require.Empty(t, without.problems(), "no limit")

	require.Equal(t, limit{7 * time.Second, 2 * time.Second}, good.limit.allowing(time.Second))
	require.Equal(t, limit{}, limit{}.allowing(time.Second), "no limit is none")

	var out bytes.Buffer
	require.NoError(t, write(&out, []row{good, without}))
	require.Contains(t, out.String(), "| 5.00 s, others 1.00 s | 6.00 s, others 1.00 s |")
	require.Contains(t, out.String(), "| 60.00 s")
}
