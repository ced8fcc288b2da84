package speed

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// series is a measurement that is made at several rates or sizes, in turn, with events
// of one shape.
type series struct {
	setup
	shape shape
	at    []int
	check bool // a limit that is missed is an error
}

// parseSeries declares the flags of a series beside those that flags has, and reads args.
// at is the name of the flag that lists the rates or sizes, whose default and meaning
// follow.
func parseSeries(flags *flag.FlagSet, args []string, at, byDefault, meaning string) (s series, err error) {
	list := flags.String(at, byDefault, meaning)
	name := flags.String("shape", "two", "what events name: one, two or eight")
	flags.BoolVar(&s.check, "check", false, "fail if a limit is missed")
	s.flags(flags)
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	for text := range strings.SplitSeq(*list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return s, fmt.Errorf("-%s: %q is not a number above 0: want numbers separated by commas, as in %s", at, text, byDefault)
		}
		s.at = append(s.at, n)
	}
	s.shape, err = shapeNamed(*name)
	return s, err
}

// each makes the measurement at each rate or size. measure reports whether a limit was
// missed.
func (s series) each(measure func(n int) (missed bool, err error)) error {
	anyMissed := false
	for _, n := range s.at {
		missed, err := measure(n)
		if err != nil {
			return err
		}
		anyMissed = anyMissed || missed
	}
	if anyMissed && s.check {
		return errMissed
	}
	return nil
}
