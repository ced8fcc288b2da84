package api

import (
	"time"

	"github.com/tarn-sync/tarn/shared/feed"
)

// moment is a time in an answer.
type moment = feed.Moment

func momentOf(t time.Time) moment { return feed.MomentOf(t) }
