package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogLinesArePlain(t *testing.T) {
	var b strings.Builder
	log := NewLogger(&b, slog.LevelInfo)
	cause := fmt.Errorf("look at the shards: %w", fmt.Errorf("redis: %w", errors.New("redis: nil")))
	log.With("since", time.Time{}).Warn("source paused", "until", time.Time{}, "error", cause,
		"at", time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("", 3600)))
	require.NotContains(t, b.String(), "0001-01-01")
	require.NotContains(t, b.String(), "until")
	require.NotContains(t, b.String(), "since")
	require.Contains(t, b.String(), `"error":"look at the shards: redis: nil"`)
	require.Contains(t, b.String(), `"at":"2026-03-01T12:00:00Z"`)
}
