//go:build e2e

package proof

import "testing"

func TestThousandEventsOnMongoDB(t *testing.T) { eventsOnMongoDB(t, 1_000, 100) }
