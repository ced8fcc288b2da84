package speed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// feedKeeps is how much of the events a second is left, at least, where workers leave hints
// for the change feed.
const feedKeeps = 0.97

// withoutFeed switches the change feed off, in the settings.
const withoutFeed = "feed: {enabled: false}\n"

// feedPairs compares drains with the change feed to drains without it, which take turns in
// pairs. missed: the limit was.
func feedPairs(ctx context.Context, out io.Writer, programs *fleet.Programs, s setup, sh shape, n, events int) (missed bool, err error) {
	var logs []float64
	for i := range n {
		var with, without cost
		legs := []func() error{
			func() (err error) { with, err = drain(ctx, programs, s, sh, events, profiles{}); return err },
			func() (err error) {
				off := s
				off.settings += withoutFeed
				without, err = drain(ctx, programs, off, sh, events, profiles{})
				return err
			},
		}
		if i%2 == 1 {
			slices.Reverse(legs)
		}
		if err := errors.Join(legs[0](), legs[1]()); err != nil {
			return false, err
		}
		fmt.Fprintf(out, "pair %d: %.0f events/s with the feed, %.0f without (%.3f)\n", i+1, with.rate(), without.rate(), with.rate()/without.rate())
		logs = append(logs, math.Log(with.rate()/without.rate()))
	}
	mean, within := interval(logs)
	ratio := math.Exp(mean)
	word := "held"
	if ratio < feedKeeps {
		word = "MISSED"
	}
	fmt.Fprintf(out, "feed: shape=%s pairs=%d ratio=%.3f (≥ %.2f), 95 %% between %.3f and %.3f: %s\n",
		sh.name, n, ratio, feedKeeps, math.Exp(mean-within), math.Exp(mean+within), word)
	return ratio < feedKeeps, nil
}

// interval is the mean of some figures, and how far the true one may be from it with a
// probability of 95 %, for 30 figures or more.
func interval(figures []float64) (mean, within float64) {
	n := float64(len(figures))
	for _, f := range figures {
		mean += f / n
	}
	var squares float64
	for _, f := range figures {
		squares += (f - mean) * (f - mean)
	}
	return mean, 2.05 * math.Sqrt(squares/(n-1)/n)
}
