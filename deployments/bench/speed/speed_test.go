package speed

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// The commands start this binary as what they measure.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case ProviderMode:
			if err := ProviderMain(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case WorkerMode:
			os.Exit(WorkerMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// Every command works on a fleet that is as small as can be.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("starts fleets")
	}
	profile := filepath.Join(t.TempDir(), "cpu")
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"fleet":   {[]string{"-events", "60", "-shape", "eight", "-profile", profile}, []string{"60 events of 60 entities", "evalsha"}},
		"idle":    {[]string{"-for", "1s", "-settle", "1ms", "-shards", "4", "-sources", "2"}, []string{"idle, 4 shards, 2 sources", "renewals/s"}},
		"memory":  {[]string{"-sizes", "40", "-steady", "100ms", "-retry", "100ms", "-after", "30s"}, []string{"behind=40", "held"}},
		"size":    {[]string{"-rows", "500", "-rounds", "1", "-events", "30", "-looks", "2"}, []string{"one event by id", "drain with the short log"}},
		"steps":   {[]string{"-events", "50", "-looks", "2"}, []string{"append", "settle", "commit of a SQLite store"}},
		"latency": {[]string{"-rates", "40", "-for", "500ms"}, []string{"events=40/s sent=20 read=20"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, Commands[name](t.Context(), c.args, &out), out.String())
			for _, want := range c.want {
				require.Contains(t, out.String(), want)
			}
		})
	}
	info, err := os.Stat(profile)
	require.NoError(t, err)
	require.Positive(t, info.Size(), "the worker wrote its profile")
}

func TestFleetWithPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the peers and starts fleets")
	}
	var out bytes.Buffer
	require.NoError(t, Fleet(t.Context(), []string{"-rounds", "1", "-events", "40"}, &out), out.String())
	for _, p := range peers {
		require.Contains(t, out.String(), p.name+", "+p.shape)
		require.Contains(t, out.String(), p.promises)
	}
}

func TestFleetOnMongo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts FerretDB and a fleet")
	}
	server, err := mongotest.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close()) }()
	var out bytes.Buffer
	err = Fleet(t.Context(), []string{
		"-store", "mongo", "-uri", server.URI("tarn"), "-bulk", fmt.Sprint(mongotest.BulkSize), "-concurrency", "4", "-events", "10",
	}, &out)
	require.NoError(t, err, out.String())
	require.Contains(t, out.String(), "mongodb per event")

	require.ErrorContains(t, Fleet(t.Context(), []string{"-store", "mongo"}, io.Discard), "-uri")
}

// Every entity that a shape names is answered for, in the state its event implies.
func TestProviderAnswersForTheShapes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- serveProvider(l) }()
	lemon, err := provider.Builtin("lemon")
	require.NoError(t, err)
	client, err := provider.NewClient(lemon, provider.ClientOptions{BaseURL: "http://" + l.Addr().String() + "/v1", Key: "bench-api-key-0123"})
	require.NoError(t, err)
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			e, err := lemon.Event(sourceName, nil, []byte(s.body(7, created(7))), time.Now())
			require.NoError(t, err)
			kind, id := s.entity(7)
			require.Equal(t, kind, e.Entities[0].Key.Kind)
			require.Equal(t, id, e.Entities[0].Key.ID)
			for _, ref := range append(e.Entities, e.Derived...) {
				snap, err := client.Fetch(t.Context(), ref, "test")
				require.NoError(t, err, ref.Key)
				if want, ok := lemon.Expects(e.Type, ref.Key.Kind); ok {
					require.Equal(t, want, snap.Status)
				}
			}
		})
	}
	require.NoError(t, client.Probe(t.Context()))

	for path, up := range map[string]bool{goDown: false, comeUp: true} {
		status, err := get(t.Context(), "http://"+l.Addr().String()+path)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		if up {
			require.NoError(t, client.Probe(t.Context()))
		} else {
			require.Error(t, client.Probe(t.Context()))
		}
	}
	client.Close()
	require.NoError(t, l.Close())
	require.NoError(t, <-served)
}

func TestShapeEight(t *testing.T) {
	eight, err := shapeNamed("eight")
	require.NoError(t, err)
	const n = 8*block + 10
	times := map[string]int{}
	for i := range n {
		var body struct{ Context map[string]string }
		require.NoError(t, json.Unmarshal([]byte(eight.body(i, created(i))), &body))
		times[body.Context["corporate_action"]]++
	}
	require.Len(t, times, eight.entities(n))
	require.Equal(t, 8, times[action(0)])
	require.Equal(t, 1, times[action(block)])
	_, err = shapeNamed("nine")
	require.Error(t, err)
}

func TestWatcherTellsRenewalsFromTheRest(t *testing.T) {
	var w watcher
	for _, line := range []string{
		"+OK\r\n",
		`1.1 [0 127.0.0.1:1] "evalsha" "5bdd" "1" "{tarn:7}:lease" "w1" "1" "5000"` + "\r\n",
		`1.1 [0 lua] "HMGET" "{tarn:7}:lease" "owner" "epoch"` + "\r\n",
		`1.1 [0 lua] "PEXPIRE" "{tarn:7}:lease" "5000"` + "\r\n",
		`1.2 [0 127.0.0.1:1] "evalsha" "77aa" "2" "{tarn:7}:lease" "{tarn:7}:live:lemon10" "w1"` + "\r\n",
		`1.2 [0 lua] "XREADGROUP" "GROUP" "tarn" "w1" "STREAMS" "{tarn:7}:live:lemon10" ">"` + "\r\n",
		`1.3 [0 127.0.0.1:2] "info"` + "\r\n",
		`1.4 [0 127.0.0.1:1] "evalsha" "77aa" "2" "{tarn:12}:lease" "{tarn:12}:live:lemon" "w1"` + "\r\n",
	} {
		w.line(line)
	}
	got := w.done()
	require.EqualValues(t, 1, got.renewals)
	require.Equal(t, map[string]int64{"evalsha {tarn:*}:lease {tarn:*}:live:lemon*": 2, "info": 1}, got.others)
}

// One bad round misses nothing; a median over its limit does.
func TestJudge(t *testing.T) {
	at := func(rate int, cpu time.Duration) cost {
		return cost{events: rate, took: time.Second, worker: cpu * time.Duration(rate), redis: redisUse{cpu: cpu / 3 * time.Duration(rate)}, peak: 100 << 20}
	}
	good := at(9000, 200*time.Microsecond)
	r := rounds{
		"one": {good, good, at(100, time.Millisecond)}, "two": {good, good, at(100, time.Millisecond)}, "eight": {good, good, good},
		"asynq": {at(10_000, 0), at(10_000, 0), at(10_000, 0)}, "asynq, one at a time": {good, good, good}, "watermill": {at(9000, 0), at(9000, 0), at(9000, 0)},
	}
	var out bytes.Buffer
	require.False(t, r.judge(&out), out.String())
	r["watermill"][0], r["watermill"][1] = at(9100, 0), at(9100, 0)
	require.True(t, r.judge(&out))
	require.Contains(t, out.String(), "MISSED")
}

func TestFlagsOfASeries(t *testing.T) {
	parse := func(args ...string) (series, error) {
		flags := flag.NewFlagSet("latency", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		return parseSeries(flags, args, "rates", "50,500", "events a second")
	}
	s, err := parse()
	require.NoError(t, err)
	require.Equal(t, []int{50, 500}, s.at)
	require.Equal(t, "two", s.shape.name)
	require.Equal(t, 64, s.shards)
	for _, bad := range []string{"0", "-5", "", "50,,500", "many"} {
		_, err := parse("-rates", bad)
		require.ErrorContains(t, err, "-rates", bad)
		require.ErrorContains(t, err, "as in 50,500", bad)
	}
	_, err = parse("-shape", "nine")
	require.Error(t, err)

	s, err = parse("-rates", "1,2,3", "-check")
	require.NoError(t, err)
	var measured []int
	second := func(n int) (bool, error) { measured = append(measured, n); return n == 2, nil }
	require.ErrorIs(t, s.each(second), errMissed)
	require.Equal(t, []int{1, 2, 3}, measured, "what comes after a miss is measured too")
	s.check = false
	require.NoError(t, s.each(second))
	require.ErrorIs(t, s.each(func(int) (bool, error) { return false, io.EOF }), io.EOF)
}
