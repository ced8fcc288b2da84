package simulator

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// lemon is the Brokerage API of lemon.markets.
var lemon = newDialect(dialect{
	name: Lemon, kinds: lemonKinds, eventTypes: lemonEventTypes,
	eventForm: eventForm{
		writeEvent: writeLemonEvent, readEvent: readLemonEvent,
		eventTime:  func(t time.Time) string { return `"` + stamp(t) + `"` },
		futureTime: lemonFuture, oddTimes: lemonOddTimes,
		signatureHeader: SignatureHeader, sign: Sign, userAgent: "lemon.markets-simulator",
	},
	apiForm: apiForm{
		routes: lemonRoutes, admit: admitLemon, writeError: writeMessage, show: showLemon,
		unknown: func(*kind, string) *refusal { return errNotFound },
		gone:    func(*entity) (any, error) { return nil, errNotFound },
		tooMany: lemonTooMany, locked: lemonLocked,
		keys: lemonKeys,
		badPages: []*refusal{
			refuse(http.StatusInternalServerError, "Internal Server Error"),
			refuse(http.StatusUnprocessableEntity, "cursor: unprocessable"),
			refuse(http.StatusBadRequest, "cursor: expired"),
		},
	},
	story: story{
		beginnings: lemonBeginnings, goOn: lemonGoOn, first: beginAccount, idle: (*change).recalculate,
		loadParent: (*change).loadAccount, loadChild: (*change).loadOrder, recallLoad: recallLemonLoad,
		stirParent: func(c *change, id string) { c.stirAccount(c.w.find("account", id)) },
		stirChild:  func(c *change, id string) { c.stirOrMove(c.w.find("order", id)) },
		drifting:   []string{"account", "person", "order"}, drift: driftLemon, removable: "order",
		trouble: trouble{kind: "order", create: restingOrder, move: stirOrder, edit: raiseFee},
	},
})

// lemonTooMany is a 429 with the Retry-After that chaos has set.
func lemonTooMany(a *api) *refusal {
	r := refuse(http.StatusTooManyRequests, "Too many requests")
	r.retryAfter = wholeSeconds(time.Duration(a.chaos.now().RetryAfter))
	return r
}

func lemonLocked(dice *rand.Rand, left time.Duration) *refusal {
	status := []int{http.StatusTooManyRequests, http.StatusTooManyRequests, http.StatusLocked, http.StatusConflict}[dice.IntN(4)]
	held := refuse(status, "This object cannot be accessed right now because another request is accessing it")
	if status == http.StatusTooManyRequests {
		held.retryAfter = wholeSeconds(left)
	}
	return held
}
