package stream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

const (
	// TallyPeriod is the time whose events are counted together.
	TallyPeriod = 10 * time.Minute
	// tallyKept is how long a count stays.
	tallyKept = 26 * time.Hour
	// tallyAll is the name of the count of all events.
	tallyAll = "all"
)

// Tally counts the events of a source that were logged, by note.
type Tally struct {
	Noted map[event.Note]int64
	// All counts all of them. It is counted only for sources whose definition
	// requires a value; see provider.Definition.Requires.
	All int64
}

// Count adds to the tally of the period of a time. A count that fails, or is repeated
// by the client of a cluster, is wrong by that much: it is for people to see.
func (s *Streams) Count(ctx context.Context, source string, at time.Time, t Tally) error {
	args := []any{tallyKept.Milliseconds()}
	for note, n := range t.Noted {
		args = append(args, note.String(), n)
	}
	if t.All > 0 {
		args = append(args, tallyAll, t.All)
	}
	if len(args) == 1 {
		return nil
	}
	_, err := run(ctx, s.client, tallyScript, "count events of source "+source, []string{s.keys.tally(source, period(at))}, args...)
	return err
}

// Counted returns the tally of a number of periods, 1 to 144, the last of which is
// that of a time.
func (s *Streams) Counted(ctx context.Context, source string, at time.Time, periods int) (Tally, error) {
	sum := Tally{Noted: map[event.Note]int64{}}
	names := []string{tallyAll}
	for _, note := range event.Notes() {
		names = append(names, note.String())
	}
	pipe := s.client.Pipeline()
	answers := make([]*redis.SliceCmd, periods)
	for i := range answers {
		answers[i] = pipe.HMGet(ctx, s.keys.tally(source, period(at)-int64(i)), names...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return sum, fmt.Errorf("read the tally of source %s: %w", source, err)
	}
	for _, answer := range answers {
		for i, v := range answer.Val() {
			text, _ := v.(string)
			n, err := strconv.ParseInt(text, 10, 64)
			switch {
			case err != nil || n == 0:
			case i == 0:
				sum.All += n
			default:
				sum.Noted[event.Notes()[i-1]] += n
			}
		}
	}
	return sum, nil
}

// period numbers the periods.
func period(at time.Time) int64 { return at.Unix() / int64(TallyPeriod/time.Second) }
