package command

import (
	"flag"
	"net/url"
	"strings"
	"time"
)

// filter has the flags that narrow a list of the api. Each is a query parameter of the
// same name, but for since and until.
type filter struct {
	set          *flag.FlagSet
	names        []string
	since, until string
	limit        int
}

// filterUsage are the texts of the flags.
var filterUsage = map[string]string{
	"source": "only of this `SOURCE`",
	"kind":   "only about entities of this `KIND`",
	"entity": "only about this entity, as `SOURCE/KIND/ID`",
	"type":   "only of events of this `TYPE`",
	"status": "only in this `STATUS`",
	"class":  "only whose last failure was of this `CLASS`",
	"reason": "only that wait for this `REASON`: failed, not_found, never_seen, throttled, undefined, refused, unsettled, backlog",
	"by":     "only by the holder of this token, by its `NAME`",
	"note":   "only with this `NOTE`: names_nothing, unknown_type, require_unmet, unreadable",
	"sweep":  "only found by this sweep, by its `ID`",
	"op":     "only that do this `OP`: create, update, delete, or an action of the kind",
	"ref":    "only asked for by this `REF`, an application's own name",
	"state":  "only in this `STATE`: queued, sending, unclear, asked, answered, done, dead, cancelled, discarded",
	"parent": "only under this parent, as `KIND/ID`",
	"mode":   "only of this `MODE`: sweep, backfill, verify, gaps",
}

// filters declares flags of a list.
func filters(set *flag.FlagSet, names ...string) *filter {
	f := &filter{set: set, names: names}
	for _, name := range names {
		set.String(name, "", filterUsage[name])
	}
	return f
}

// between declares --since and --until.
func (f *filter) between() *filter {
	f.set.StringVar(&f.since, "since", "", "not before this `TIME`, as RFC 3339 has it, or a duration ago: 2h30m")
	f.set.StringVar(&f.until, "until", "", "before this `TIME`, likewise")
	return f
}

// limited declares --limit.
func (f *filter) limited() *filter {
	f.set.IntVar(&f.limit, "limit", 50, "at most `N`")
	return f
}

// given returns the flags that were given, by name, with times as RFC 3339 has them.
func (f *filter) given(now time.Time) (map[string]string, error) {
	all := map[string]string{}
	for _, name := range f.names {
		if value := f.set.Lookup(name).Value.String(); value != "" {
			all[name] = value
		}
	}
	for name, text := range map[string]string{"from": f.since, "to": f.until} {
		if text == "" {
			continue
		}
		t, err := moment(text, now)
		if err != nil {
			return nil, err
		}
		all[name] = t
	}
	return all, nil
}

// query is given as the parameters of a list.
func (f *filter) query(now time.Time) (url.Values, error) {
	given, err := f.given(now)
	q := url.Values{}
	for name, value := range given {
		q.Set(name, value)
	}
	return q, err
}

// moment reads a time, or a duration before now.
func moment(text string, now time.Time) (string, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < 0 {
		return "", misused("%q is no time: want one such as 2026-03-01T12:00:00Z, or a duration such as 2h30m", text)
	}
	return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
}
