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
	// Told is what people were told of this pause, "" for nothing. Only Source
	// says it.
	Told string
}

// Source returns the state of a source.
func (s *Streams) Source(ctx context.Context, source string) (SourceState, error) {
	reply, err := run(ctx, s.client, sourceScript, "read the state of source "+source,
		[]string{s.keys.source(source)}, "until", "since", "strikes", "reason", "by", "told")
	if err != nil {
		return SourceState{}, err
	}
	v := asList(reply)
	state := sourceState(v)
	if state.Paused {
		state.Told = asText(v[5])
	}
	return state, nil
}

// Pause pauses a source for the fleet until a probe after the given time
// (0: until Resume). It never shortens a pause, nor softens one made by hand.
// A source stays paused when the time has come: a probe (TakeProbe) then
// decides, and ends in EndProbe or a further Pause, which is the next strike.
func (s *Streams) Pause(ctx context.Context, source string, d time.Duration, reason, by string) error {
	_, err := run(ctx, s.client, pauseScript, "pause source "+source,
		[]string{s.keys.source(source), s.keys.probe(source)}, milliseconds(d), reason, by)
	return err
}

// Told notes that people were told of the pause that began at a time.
func (s *Streams) Told(ctx context.Context, source string, since time.Time, what string) error {
	_, err := run(ctx, s.client, toldScript, "note who was told of the pause of "+source,
		[]string{s.keys.source(source)}, since.UnixMilli(), what)
	return err
}

// Resume ends a pause, whoever made it, and forgets its strikes.
func (s *Streams) Resume(ctx context.Context, source string) error {
	if err := s.client.Del(ctx, s.keys.source(source), s.keys.probe(source)).Err(); err != nil {
		return fmt.Errorf("resume source %s: %w", source, err)
	}
	return nil
}

// TakeProbe gives one caller in the fleet the right to try a paused source
// whose time has come, for the given time: a name for EndProbe, or "".
func (s *Streams) TakeProbe(ctx context.Context, source string, d time.Duration) (probe string, err error) {
	token := rand.Text()
	v, err := run(ctx, s.client, probeScript, "take the probe of source "+source,
		[]string{s.keys.source(source), s.keys.probe(source)}, token, max(milliseconds(d), 1))
	if err != nil || asInt(v) == 0 {
		return "", err
	}
	return token, nil
}

// EndProbe resumes a source whose probe was answered well, and reports whether
// it is resumed: not if it was paused again meanwhile, by hand or for another
// reason, since the probe was asked before that.
func (s *Streams) EndProbe(ctx context.Context, source, probe string) (resumed bool, err error) {
	v, err := run(ctx, s.client, endProbeScript, "end the probe of source "+source,
		[]string{s.keys.source(source), s.keys.probe(source)}, probe)
	return err == nil && asInt(v) == 1, err
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
