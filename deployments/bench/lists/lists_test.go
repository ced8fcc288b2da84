package lists

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The command works on a log that is as small as can be, and every list answers.
func TestLists(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a redis-server")
	}
	var out bytes.Buffer
	require.NoError(t, Lists(t.Context(), []string{"-rows", "400", "-others", "60", "-looks", "1", "-rounds", "1"}, &out), out.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 1+len(requests))
	for _, rows := range []string{
		"/v1/events by to ", "/v1/events by status=dead ", "/v1/events by status=retrying ", "/v1/events by note=unknown_type ", "/v1/events by kind=withdrawal ",
		"/v1/events by source=stripe ", "/v1/entities/{source}/{kind} by status=created ", "/v1/entities/{source}/{kind}/{id}/events ", "/v1/dead-letters by class=gone ",
		"/v1/dead-letters by status=discarded ", "/v1/discrepancies by status=failed ", "/v1/sweeps by mode=verify ", "/v1/jobs by kind=redrive ",
		"/v1/parked by reason=refused ", "/v1/audit by by ", "/v1/commands by state=dead ", "/v1/erasures by source=lemon ",
	} {
		at := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, rows) })
		require.GreaterOrEqual(t, at, 0, rows)
		require.NotContains(t, lines[at], "rows=0", "there is something to list")
	}
}

// Every list of the API is measured by each of its filters.
func TestEveryFilterIsMeasured(t *testing.T) {
	text, err := os.ReadFile("../../../api/openapi.json")
	require.NoError(t, err)
	var api struct {
		Paths map[string]struct {
			Get struct {
				Parameters []struct{ Name, In string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &api))
	measured := map[string][]string{}
	for _, r := range requests {
		for _, f := range r.filters {
			measured[r.route] = append(measured[r.route], f.name)
		}
	}
	seen := 0
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		var filters []string
		list := false
		for _, p := range api.Paths[path].Get.Parameters {
			switch {
			case p.In != "query":
			case p.Name == "cursor":
				list = true
			case p.Name != "limit":
				filters = append(filters, p.Name)
			}
		}
		if !list {
			continue
		}
		seen++
		require.Contains(t, measured, path)
		require.Subset(t, measured[path], filters, path)
	}
	require.Len(t, measured, seen, "each route that is measured is a list")
}
