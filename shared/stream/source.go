package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
)

// stateFields are the fields of a source's state.
var stateFields = []any{"until", "since", "strikes", "reason", "by", "typed", "told"}

// Source returns the state of a source.
func (s *Streams) Source(ctx context.Context, source string) (condition.State, error) {
	reply, err := run(ctx, s.client, sourceScript, "read the state of source "+source,
		[]string{s.keys.source(source)}, stateFields...)
	if err != nil {
		return condition.State{}, err
	}
	return toldState(asList(reply)), nil
}

// SourceNews is what the fleet says of a source.
type SourceNews struct {
	State condition.State
	// Retried is another text after each RetryParked. The holder of a shard then looks
	// at its due times (Lease.Overdue).
	Retried string
	// Err says why State cannot be read: another program has written its key.
	Err error
}

// Sources returns the news of sources, in their order, in one call.
func (s *Streams) Sources(ctx context.Context, sources []string) ([]SourceNews, error) {
	c := s.sourcesCall(sources)
	v, err := run(ctx, s.client, c.script, c.doing, c.keys, c.args...)
	if err != nil {
		return nil, err
	}
	return sourcesReply(v, sources), nil
}

func (s *Streams) sourcesCall(sources []string) scriptCall {
	keys := []string{s.keys.retried()}
	args := append([]any{len(stateFields)}, stateFields...)
	for _, source := range sources {
		keys, args = append(keys, s.keys.source(source)), append(args, source)
	}
	return scriptCall{sourcesScript, "read the states of the sources", keys, args}
}

// sourcesReply reads the answer to sourcesCall.
func sourcesReply(v any, sources []string) []SourceNews {
	answer := asList(v)
	retried := asList(answer[0]) // none if another program has written their key
	news := make([]SourceNews, len(sources))
	for i, source := range sources {
		if len(retried) > i {
			news[i].Retried = asText(retried[i])
		}
		if err, failed := answer[1+i].(error); failed {
			news[i].Err = explain(err, "read the state of source "+source)
		} else if state := asList(answer[1+i]); len(state) > 0 {
			news[i].State = toldState(state)
		}
	}
	return news
}

// toldState reads the fields of a source's state.
func toldState(v []any) condition.State {
	state := sourceState(v)
	if state.Paused {
		state.Told = asText(v[6])
	}
	return state
}

// Pause pauses a source as an operator does, for a reason in their words. Operators
// give no length (d = 0). See PauseAs.
func (s *Streams) Pause(ctx context.Context, source string, d time.Duration, reason, by string) error {
	return s.PauseAs(ctx, source, condition.Pause{Kind: condition.PausedByHand, For: d, Reason: reason}, by)
}

// PauseAs pauses a source for the fleet until a probe after the pause's length
// (0: until Resume). It never shortens a pause, and never gives an end to one that has
// none. A pause that waits for witnesses goes on waiting for them, with its kind and
// its reason, unless the new one names others or has no length.
//
// A source stays paused when the time has come. A probe (TakeProbe) then decides, and
// ends in EndProbe or in a further PauseAs, which is one more consecutive pause (Strikes).
func (s *Streams) PauseAs(ctx context.Context, source string, p condition.Pause, by string) error {
	typed, _ := json.Marshal(typedPause{Kind: p.Kind, Witnesses: p.Witnesses, Reason: p.Reason}) // texts always encode
	_, err := run(ctx, s.client, pauseScript, "pause source "+source,
		[]string{s.keys.source(source), s.keys.probe(source)}, milliseconds(p.For), p.Reason, by, typed)
	return err
}

// typedPause is kept beside the reason. A version that knows only reasons
// leaves that of an earlier pause, so it holds the reason that it is of.
type typedPause struct {
	Kind      condition.PauseKind `json:"kind"`
	Witnesses []string            `json:"witnesses,omitempty"`
	Reason    string              `json:"reason"`
}

// readTyped returns the kind of a pause and who must answer before it ends. Of
// a pause made by an older version, the reason is all there is.
func readTyped(typed, reason string, byHand bool) (condition.PauseKind, []string) {
	var t typedPause
	if err := json.Unmarshal([]byte(typed), &t); err == nil && t.Kind != "" && t.Reason == reason {
		return t.Kind, t.Witnesses
	}
	kinds := []condition.PauseKind{condition.PausedThrottled, condition.PausedUsedUp, condition.PausedRefused, condition.PausedMisconfigured}
	if byHand { // operators write what they like; only this one was made by workers too
		kinds = kinds[len(kinds)-1:]
	}
	for _, k := range kinds {
		if strings.HasPrefix(reason, k.Words()) {
			return k, nil
		}
	}
	if byHand {
		return condition.PausedByHand, nil
	}
	return condition.PausedDown, nil
}

// BeginAlert reports whether the caller is to raise an alert that says what, of the
// pause that began at a time: it was not raised, and no other process is raising
// it. For a few seconds no other process may. Told ends it.
func (s *Streams) BeginAlert(ctx context.Context, source string, since time.Time, what string) (bool, error) {
	return s.told(ctx, source, since, what, alertWithin)
}

// alertWithin is how long a process may take to raise an alert and note it.
const alertWithin = 5 * time.Second

// Told stores that an alert was raised of the pause that began at a time.
func (s *Streams) Told(ctx context.Context, source string, since time.Time, what string) error {
	_, err := s.told(ctx, source, since, what, 0)
	return err
}

func (s *Streams) told(ctx context.Context, source string, since time.Time, what string, within time.Duration) (bool, error) {
	noted, err := run(ctx, s.client, toldScript, "note the alert of the pause of "+source,
		[]string{s.keys.source(source)}, since.UnixMilli(), what, milliseconds(within))
	return noted == int64(1), err
}

// Resume ends a pause, made by hand or not, and resets its count of consecutive pauses. It also ends what
// ResumeAccepting began.
func (s *Streams) Resume(ctx context.Context, source string) error {
	if err := s.client.Del(ctx, s.keys.source(source), s.keys.probe(source), s.keys.accepted(source)).Err(); err != nil {
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

// sourceState reads until, since, strikes, reason, by, typed. No until: not
// paused.
func sourceState(v []any) condition.State {
	until := asText(v[0])
	if until == "" {
		return condition.State{}
	}
	st := condition.State{
		Paused: true, Since: unixMilli(asText(v[1])),
		Strikes: int(asInt(v[2])), Reason: asText(v[3]), By: asText(v[4]),
	}
	if until != "0" {
		st.Until = unixMilli(until)
	}
	st.Kind, st.Witnesses = readTyped(asText(v[5]), st.Reason, until == "0")
	return st
}

func unixMilli(s string) time.Time {
	ms, _ := strconv.ParseInt(s, 10, 64) // written by our scripts
	return time.UnixMilli(ms).UTC()
}
