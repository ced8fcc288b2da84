package stream

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// granted is the ACL of the user that REDIS.md shows.
func granted(t *testing.T) []any {
	t.Helper()
	guide, err := os.ReadFile("REDIS.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)ACL SETUSER (tarn .*?)\n```").FindSubmatch(guide)
	require.NotNil(t, found, "the guide shows a user")
	var rules []any
	for _, rule := range strings.Fields(strings.ReplaceAll(string(found[1]), "\\\n", " ")) {
		rules = append(rules, strings.Trim(rule, `"'`))
	}
	return rules
}

// openAs opens streams as the guide's user with further rules.
func openAs(t *testing.T, srv *redistest.Server, o Options, rules ...any) (*Streams, error) {
	t.Helper()
	acl := append([]any{"ACL", "SETUSER"}, granted(t)...)
	acl = append(acl, ">secret")
	require.NoError(t, srv.Ask(t.Context(), append(acl, rules...)...))
	o.URLs = []string{strings.Replace(srv.URL(), "redis://", "redis://tarn:secret@", 1)}
	return Open(t.Context(), o)
}

// The user of the guide, who may not run @admin and @dangerous commands, does all
// that a fleet does; what could not be checked is warned of.
func TestTheGuidesUserIsEnough(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	var log bytes.Buffer
	o := quiet(srv.URL())
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := openAs(t, srv, o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Contains(t, log.String(), "INFO")

	ctx := t.Context()
	require.NoError(t, s.Ping(ctx))
	_, err = s.Member("w1").Beat(ctx)
	require.NoError(t, err)
	l := ready(t, s, "w1")
	ids := appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"))
	entries := readLive(t, l)
	require.NoError(t, l.Park(ctx, Park{Key: order("a"), Waiting: entries[:1]}))
	due, _, err := dueOf(ctx, l, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	_, err = l.Unpark(ctx, order("a"), ids[:1], []string{"evt_1"}, 0)
	require.NoError(t, err)
	require.NoError(t, l.Ack(ctx, "lemon", event.TierLive, ids[1:], []string{"evt_2"}, Hint{order("b"), 1}))
	require.NoError(t, s.Ring(ctx, map[string][]int{"lemon": {0}}))
	bell := s.Bell("lemon")
	defer bell.Close()
	_, err = bell.Wait(ctx, time.Second)
	require.NoError(t, err)
	_, err = s.OldestHint(ctx, "lemon")
	require.NoError(t, err)
	hints, err := s.Hints(ctx, "lemon", []int{0}, 10)
	require.NoError(t, err)
	require.NoError(t, s.DropHints(ctx, "lemon", hints))
	task, err := s.Task(ctx, "feed/lemon", "r1")
	require.NoError(t, err)
	require.NoError(t, task.TellFeed(ctx, FeedHead{"gen", 1, "tag"}))
	require.NoError(t, s.AddNotes(ctx, []Note{{Source: "lemon", Kind: "duplicate", Count: 1}}))
	notes, err := s.Notes(ctx, "", 10)
	require.NoError(t, err)
	require.NoError(t, s.DropNotes(ctx, []string{notes[0].ID}))
	require.NoError(t, s.Count(ctx, "lemon", time.Unix(0, 0), Tally{All: 1}))
	_, err = s.Counted(ctx, "lemon", time.Unix(0, 0), 2)
	require.NoError(t, err)
	_, err = s.Generations(ctx)
	require.NoError(t, err)
	_, _, err = s.Fleet(ctx, []string{"lemon"})
	require.NoError(t, err)
	_, err = s.Recover(ctx, []Lost{{Signal: further("evt_3", "c")}})
	require.NoError(t, err)
	unlock, ok := s.Lock(ctx, order("a"))
	require.True(t, ok)
	unlock()
	require.NoError(t, s.ResumeAccepting(ctx, "lemon", "ops"))
	require.NoError(t, s.Remember(ctx, []string{"lemon"}))
	_, err = s.Unconfigured(ctx, nil)
	require.NoError(t, err)
	appended(t, s, happened("evt_4", "d"), happened("evt_5", "e"))
	for _, e := range readLive(t, l) {
		require.NoError(t, l.Park(ctx, Park{Key: e.Signal.Ref.Key, Waiting: []event.Entry{e}}))
	}
	require.NoError(t, l.DiscardEntity(ctx, "lemon", order("d").String(), func([]event.Entry) error { return nil }))
	require.NoError(t, l.Release(ctx))
	_, err = s.Forget(ctx, "lemon", func(int, []event.Entry) error { return nil })
	require.NoError(t, err)
	require.NoError(t, s.Member("w1").Leave(ctx))
}

// What is needed and denied ends the start, by name.
func TestDeniedCommandsEndTheStart(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	for denied, want := range map[string]string{
		"-xautoclaim":         "XAUTOCLAIM",
		"-xgroup|delconsumer": "XGROUP DELCONSUMER",
		"-zunionstore":        "ZUNIONSTORE",
		"-evalsha":            "evalsha",
	} {
		_, err := openAs(t, srv, quiet(srv.URL()), "+@all", denied)
		require.ErrorContains(t, err, want, denied)
	}
	_, err := openAs(t, srv, quiet(srv.URL()), "+@all", "resetkeys", "~{tarn}*")
	require.ErrorIs(t, err, ErrRights)
	require.ErrorContains(t, err, "{tarn:0}", "keys of shards")
	o := quiet(srv.URL())
	o.WaitReplicas = 1
	_, err = openAs(t, srv, o, "resetkeys", "~{tarn*", "+@all", "-wait")
	require.ErrorContains(t, err, "WAIT")
}

// The guide's user may run what is asked for at the start, and WAIT, and nothing else; the
// guide names the categories of these commands, of which none is @admin or @dangerous.
func TestTheGuidesUserHasNothingTooMuch(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	ctx := t.Context()
	want := []string{"wait"} // by a setting
	for _, m := range regexp.MustCompile(`\{'([A-Z]+)'(?:, '([A-Z]+)')?`).FindAllStringSubmatch(text("needs.lua"), -1) {
		command := strings.ToLower(m[1])
		if slices.Contains([]string{"script", "xgroup", "xinfo"}, command) {
			command += "|" + strings.ToLower(m[2])
		}
		want = append(want, command)
	}
	var may []string
	categories := map[string]bool{}
	for _, rule := range granted(t) {
		command, ok := strings.CutPrefix(rule.(string), "+")
		if !ok {
			continue
		}
		may = append(may, command)
		info, err := srv.Client().Do(ctx, "COMMAND", "INFO", command).Slice()
		require.NoError(t, err)
		for _, category := range info[0].([]any)[6].([]any) {
			categories[category.(string)] = true
		}
	}
	slices.Sort(want)
	slices.Sort(may)
	require.Equal(t, want, may)

	guide, err := os.ReadFile("REDIS.md")
	require.NoError(t, err)
	named := regexp.MustCompile(`(?s)They are of these categories: (.*?)\. Add a password`).FindSubmatch(guide)
	require.NotNil(t, named)
	var told []string
	for _, m := range regexp.MustCompile("`(@[a-z]+)`").FindAllSubmatch(named[1], -1) {
		told = append(told, string(m[1]))
	}
	slices.Sort(told)
	require.Equal(t, slices.Sorted(maps.Keys(categories)), told)
	require.NotContains(t, told, "@admin")
	require.NotContains(t, told, "@dangerous")
}

// Every command that a script calls is among those that are asked for at the
// start.
func TestWhatScriptsCallIsAskedFor(t *testing.T) {
	t.Parallel()
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`\{'([A-Z]+)'`).FindAllStringSubmatch(text("needs.lua"), -1) {
		asked[m[1]] = true
	}
	called := map[string]bool{}
	files, err := filepath.Glob("scripts/*.lua")
	require.NoError(t, err)
	for _, file := range files {
		for _, m := range regexp.MustCompile(`redis\.p?call\('([A-Z]+)'`).FindAllStringSubmatch(text(filepath.Base(file)), -1) {
			called[m[1]] = true
		}
	}
	require.Greater(t, len(called), 20)
	for _, command := range slices.Sorted(maps.Keys(called)) {
		require.True(t, asked[command], "%s is not in needs.lua", command)
	}
}
