package stream

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"
)

// SourceState is what the fleet knows of a source.
type SourceState struct {
	Paused bool
	// Until is when a probe may be tried. Zero with Paused: by hand only.
	Until  time.Time
	Since  time.Time
	Reason string
	By     string
	// Strikes counts pauses in a row without a good answer in between.
	Strikes int
}

// Source returns the state of a source.
func (s *Streams) Source(ctx context.Context, source string) (SourceState, error) {
	v, err := s.client.HMGet(ctx, s.keys.source(source), "until", "since", "strikes", "reason", "by").Result()
	if err != nil {
		return SourceState{}, fmt.Errorf("read the state of source %s: %w", source, err)
	}
	return sourceState(v), nil
}

// Pause pauses a source for the fleet until a probe after the given time
// (0: until Resume). It never shortens a pause, nor softens one made by hand.
// A source stays paused when the time has come: a probe (TakeProbe) then
// decides, and ends in Resume or a further Pause, which is the next strike.
func (s *Streams) Pause(ctx context.Context, source string, d time.Duration, reason, by string) error {
	_, err := run(ctx, s.client, pauseScript, "pause source "+source,
		[]string{s.keys.source(source), s.keys.probe(source)}, milliseconds(d), reason, by)
	return err
}

// Resume ends a pause and forgets its strikes.
func (s *Streams) Resume(ctx context.Context, source string) error {
	if err := s.client.Del(ctx, s.keys.source(source), s.keys.probe(source)).Err(); err != nil {
		return fmt.Errorf("resume source %s: %w", source, err)
	}
	return nil
}

// TakeProbe gives one caller in the fleet the right to try a paused source
// whose time has come, for the given time.
func (s *Streams) TakeProbe(ctx context.Context, source string, d time.Duration) (bool, error) {
	v, err := run(ctx, s.client, probeScript, "take the probe of source "+source,
		[]string{s.keys.source(source), s.keys.probe(source)}, rand.Text(), max(milliseconds(d), 1))
	return asInt(v) == 1, err
}

// sourceState reads until, since, strikes, reason, by. No until: not paused.
func sourceState(v []any) SourceState {
	until := asText(v[0])
	if until == "" {
		return SourceState{}
	}
	st := SourceState{
		Paused: true, Since: unixMilli(asText(v[1])),
		Strikes: int(asInt(v[2])), Reason: asText(v[3]), By: asText(v[4]),
	}
	if until != "0" {
		st.Until = unixMilli(until)
	}
	return st
}

func unixMilli(s string) time.Time {
	ms, _ := strconv.ParseInt(s, 10, 64) // written by our scripts
	return time.UnixMilli(ms).UTC()
}
