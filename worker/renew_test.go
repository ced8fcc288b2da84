package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// However long answers take, two renewals fit between the sending of a confirmed one
// and the time at which a lease counts as lost.
func TestRenewalsCountFromTheirSending(t *testing.T) {
	const (
		ttl     = 5 * time.Second
		every   = ttl * 2 / 5
		soon    = ttl / renewSoon
		longest = ttl / 5     // after which a renewal gives up
		lost    = ttl * 4 / 5 // after the sending of the last confirmed one
	)
	type answer struct {
		after time.Duration
		ok    bool
	}
	for name, answers := range map[string][]answer{
		"at once":                     {{0, true}, {0, true}, {0, true}},
		"slow":                        {{longest * 9 / 10, true}, {longest * 9 / 10, true}, {longest * 9 / 10, true}},
		"none, then slow":             {{longest, false}, {longest * 9 / 10, true}, {longest, false}, {longest * 9 / 10, true}},
		"refused":                     {{0, false}, {0, false}, {0, true}},
		"slow refusals":               {{soon / 2, false}, {soon * 2, false}, {0, true}},
		"slow, then none, then slow":  {{longest * 4 / 5, true}, {longest, false}, {longest * 99 / 100, true}, {0, true}},
		"none twice, then at once":    {{longest, false}, {longest, false}, {0, true}, {0, true}},
		"refused off the tick, slow":  {{soon, false}, {longest * 99 / 100, true}, {0, true}},
		"off the tick and over a one": {{longest, false}, {longest - 1, true}, {longest, false}, {longest - 1, true}, {0, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var sent []time.Time
				repeatRenewal(ctx, every, soon, func() bool {
					sent = append(sent, time.Now())
					if len(sent) > len(answers) {
						cancel()
						return true
					}
					a := answers[len(sent)-1]
					time.Sleep(a.after)
					return a.ok
				})
				for i, a := range answers {
					gap := sent[i+1].Sub(sent[i])
					if !a.ok {
						require.Equal(t, max(soon, a.after), gap, "after the renewal %d, which was not confirmed", i)
						continue
					}
					require.LessOrEqual(t, gap, max(every, a.after), "after renewal %d", i)
					require.LessOrEqual(t, gap+2*longest, lost, "two tries after renewal %d", i)
				}
			})
		})
	}
}
