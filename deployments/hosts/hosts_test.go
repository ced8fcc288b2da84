//go:build e2e && linux

package hosts

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/trial"
)

const leaseTTL = 2 * time.Second

// site is a fleet on several hosts, of which something goes wrong.
type site struct {
	*fleet.Fleet
	*lan
	t   *testing.T
	ctx context.Context
	// clocks are the files from which hosts with a clock of their own read how far it is off.
	clocks string
}

// wait waits while something goes wrong.
func (s *site) wait(d time.Duration) { require.NoError(s.t, fleet.Pause(s.ctx, d)) }

// happening is what goes wrong with a fleet.
type happening struct {
	name    string
	goWrong func(*site)
	load    time.Duration
	// settling is the longest time in which no worker may settle anything, without this
	// machine's own pauses. 0: there is no limit.
	settling time.Duration
	// mongo: the store is reached by the network.
	mongo bool
	// clocks: hosts have clocks of their own.
	clocks bool
}

// oneOf is within what time the other worker has the shards of a worker that is lost.
const oneOf = leaseTTL + time.Second

var happenings = []happening{
	{name: "worker 1 and Redis, cut for 15 s", goWrong: cut("worker 1", "redis", both, 15*time.Second), load: 30 * time.Second, settling: oneOf},
	{name: "worker 1 to Redis, cut for 15 s", goWrong: cut("worker 1", "redis", to, 15*time.Second), load: 30 * time.Second, settling: oneOf},
	{name: "Redis to worker 1, cut for 15 s", goWrong: cut("worker 1", "redis", from, 15*time.Second), load: 30 * time.Second, settling: oneOf},
	{name: "worker 1 and Redis, half open", goWrong: halfOpen, load: 25 * time.Second, settling: oneOf},
	{name: "worker 1 and the provider, cut for 15 s", goWrong: cut("worker 1", "provider", both, 15*time.Second), load: 30 * time.Second},
	{name: "both workers and the provider, cut for 10 s", goWrong: cutAll, load: 25 * time.Second},
	{name: "api 1 and Redis, cut for 15 s", goWrong: cut("api 1", "redis", both, 15*time.Second), load: 30 * time.Second},
	{name: "the reconciler and Redis, cut for 15 s", goWrong: cut("reconciler 1", "redis", both, 15*time.Second), load: 30 * time.Second, settling: time.Second},
	{name: "Redis 200 ms away for 15 s", goWrong: away, load: 30 * time.Second},
	{name: "5 % of all packets lost for 20 s", goWrong: lossy, load: 35 * time.Second},
	{name: "worker 1 and the store, cut for 15 s", goWrong: cut("worker 1", "store", both, 15*time.Second), load: 30 * time.Second, mongo: true},
	{name: "the clock of worker 1 set 5 h on, 5 h back, and right", goWrong: setClock, load: 30 * time.Second, clocks: true},
}

// TestHosts prints the table.
func TestHosts(t *testing.T) {
	clocks := t.TempDir()
	right, err := fleet.NewPrograms()
	require.NoError(t, err)
	defer func() { require.NoError(t, right.Close()) }()
	require.NoError(t, right.Build(t.Context()))
	var names []string
	rows := map[string]trial.Row{}
	for _, h := range happenings {
		names = append(names, h.name)
		t.Run(strings.ReplaceAll(h.name, " ", "-"), func(t *testing.T) {
			programs := right
			if h.clocks {
				programs = withClocks(t)
			}
			rows[h.name] = h.run(t, programs, clocks)
		})
	}
	t.Log(trial.Table("Hosts, and what happens to them", names, rows))
}

func (h happening) run(t *testing.T, programs *fleet.Programs, clocks string) trial.Row {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	net := newLAN(t)
	plan := fleet.Plan{
		APIs: 2, Workers: 2, Reconcilers: 1, Shards: 16, LeaseTTL: leaseTTL, Journal: true, Network: net, MongoDB: h.mongo,
		Reconcile: "{gaps: {every: 5s, overlap: 30s}, recover: {every: 3s, after: 5s}}",
	}
	load := trial.Load{Rate: 100, Entities: 200, For: h.load}
	if h.mongo {
		load.Rate, load.Entities = 5, 40
	}
	if h.clocks {
		plan.Env = []string{clocksAt + "=" + clocks}
	}
	f, err := fleet.Start(ctx, programs, plan)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	r, err := trial.Run(ctx, f, load, func(ctx context.Context) error {
		h.goWrong(&site{f, net, t, ctx, clocks})
		return nil
	})
	t.Logf("%s%s%s", r.Line(h.name), r.Most, strings.Join(r.Findings, "\n"))
	require.NoError(t, err)
	if h.settling > 0 {
		require.LessOrEqual(t, r.Settling, h.settling+r.CalmSettling, "the longest pause of settling")
	}
	return r
}

func cut(member, server string, w way, d time.Duration) func(*site) {
	return func(s *site) {
		s.cut(member, server, w)
		s.wait(d)
		s.heal(member)
	}
}

// halfOpen closes the server's end of connections while the worker cannot learn of it. It
// has done so for too short a time to lose its leases, and then long enough.
func halfOpen(s *site) {
	for _, d := range []time.Duration{leaseTTL / 4, 3 * leaseTTL} {
		s.cut("worker 1", "redis", both)
		s.forwards["redis"].hangUp(s.hosts["worker 1"].ip)
		s.wait(d)
		s.heal("worker 1")
		s.wait(2 * leaseTTL)
	}
}

func cutAll(s *site) {
	for _, w := range []string{"worker 1", "worker 2"} {
		s.cut(w, "provider", both)
	}
	s.wait(10 * time.Second)
	for _, w := range []string{"worker 1", "worker 2"} {
		s.heal(w)
	}
}

// away makes the way to Redis and back 200 ms long.
func away(s *site) {
	s.forwards["redis"].slow(100 * time.Millisecond)
	s.wait(15 * time.Second)
	s.forwards["redis"].slow(0)
}

func lossy(s *site) {
	for _, m := range s.Members("") {
		s.lossy(m.Name, 5)
	}
	s.wait(20 * time.Second)
	for _, m := range s.Members("") {
		s.heal(m.Name)
	}
}

func setClock(s *site) {
	file := filepath.Join(s.clocks, cmp.Or(s.hosts["worker 1"].ip, "none"))
	for _, off := range []string{"18000", "-18000", "0"} {
		require.NoError(s.t, os.WriteFile(file, []byte(off), 0o600))
		s.wait(5 * time.Second)
	}
}
