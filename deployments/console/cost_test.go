package console

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// costAllowed is the most of a core that the api may use for an open console, in percent.
const costAllowed = 1.0

// What a console costs the api: the share of a core that the process uses while one client
// follows a fleet of 256 shards and three sources with 20,000 events in the log. The least
// of five spells of six seconds counts: other work of the process is no cost of the console.
func TestAnOpenConsoleCostsLittle(t *testing.T) {
	next := followed(t)
	least := 100.0
	for range 5 {
		began, used := time.Now(), processor(t)
		for range 3 { // a summary every two seconds
			next()
		}
		least = min(least, 100*(processor(t)-used).Seconds()/time.Since(began).Seconds())
	}
	t.Logf("an open console costs the api %.2f %% of a core", least)
	require.LessOrEqual(t, least, costAllowed*slower)
}

// BenchmarkAnOpenConsole is the same over more time. Each step takes two seconds.
//
//	go test ./deployments/console -run '^$' -bench AnOpenConsole -benchtime 30x
func BenchmarkAnOpenConsole(b *testing.B) {
	next := followed(b)
	began, used := time.Now(), processor(b)
	for b.Loop() {
		next()
	}
	b.ReportMetric(100*(processor(b)-used).Seconds()/time.Since(began).Seconds(), "%core")
}

// followed is an api of a large fleet that a console follows; next waits for its next
// summary.
func followed(t testing.TB) (next func()) {
	t.Helper()
	w := newWorld(t, 256, source(t, "lime", "lemon"))
	w.employ("w1", "w2", "w3")
	for page := range 20 {
		var arrivals []storage.Arrival
		for i := range 1000 {
			n := page*1000 + i
			a := w.arrival(fmt.Sprintf("evt_%d", n), "order.executed", time.Duration(n)*time.Second, order(fmt.Sprintf("bord_%d", n)))
			arrivals = append(arrivals, a)
		}
		_, err := w.store.Log(w.ctx, arrivals)
		require.NoError(t, err)
	}
	for i := range 300 {
		w.queue(fmt.Sprintf("bord_%d", i))
	}
	res, err := http.Get(w.open + "/v1/live") //nolint:noctx // for the time of the test
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() }) // it never ends by itself
	lines := bufio.NewReader(res.Body)
	next = func() {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			if strings.HasPrefix(line, "event: now") {
				return
			}
		}
	}
	next()
	return next
}

// processor is the time that this process has used.
func processor(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
