package telemetry_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// What 64 shards say of one failure is one line, and the next says how many were not
// written.
func TestSparing(t *testing.T) {
	var b strings.Builder
	c := &clock{now: time.Unix(1_700_000_000, 0)}
	log := telemetry.Sparing(telemetry.NewLogger(&b, slog.LevelInfo, telemetry.Text), 10*time.Second, c.Now)
	say := func() {
		for shard := range 64 {
			log.With("shard", shard).Warn("reading failed")
			log.With("shard", shard).Debug("not written anyway")
		}
	}
	said := func() []string {
		defer b.Reset()
		var lines []string
		for line := range strings.Lines(b.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
			lines = append(lines, line)
		}
		return lines
	}
	say()
	c.Move(10*time.Second - 1)
	say()
	require.Equal(t, []string{`level=WARN msg="reading failed" shard=0`}, said())
	log.Warn("another message")
	require.Equal(t, []string{`level=WARN msg="another message"`}, said())
	c.Move(1)
	say()
	require.Equal(t, []string{`level=WARN msg="reading failed" shard=0 more=127`}, said())
	c.Move(time.Hour)
	log.Warn("another message")
	require.Equal(t, []string{`level=WARN msg="another message"`}, said(), "none was left out")
}
