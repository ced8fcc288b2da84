package command

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// changeOf is a change as the api answers it.
func changeOf(kind, id string, version int, what string) string {
	return fmt.Sprintf(`{"id":"%[1]s/%[2]s@%[3]d","type":"dev.tarn.entity.%[4]s","subject":"%[1]s/%[2]s","time":"2026-07-01T12:00:00.123Z","data":{"version":%[3]d,"status":"open"}}`, kind, id, version, what)
}

// Changes are printed as they come, each once, and the cursor to go on with at the end.
func TestChangesAreFollowed(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/fleet": {`{"sources":[{"source":"lemon"}]}`},
		"GET /v1/changes": {
			`{"items":[],"after":"G.7.T","more":false}`,
			`{"items":[` + changeOf("order", "b1", 2, "changed") + `,` + changeOf("order", `b\u001b2`, 9, "deleted") + `],"after":"G.9.T","more":true}`,
			`{"items":[],"after":"G.9.T","more":false}`,
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(f.requests()) < 5 && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	got := f.with(ctx, nil, "changes", "--kind", "order,account")
	require.Equal(t, OK, got.status, got.err)
	require.Equal(t, "2026-07-01 12:00:00Z  changed  order/b1  version 2  open\n2026-07-01 12:00:00Z  deleted  order/b\\x1b2  version 9  open\n", got.out)
	require.Equal(t, "go on with --after G.9.T\n", got.err)
	asked := f.requests()
	require.Equal(t, []string{
		"GET /v1/fleet",
		"GET /v1/changes?after=now&kind=order&kind=account&limit=500&source=lemon",
		"GET /v1/changes?after=G.7.T&kind=order&kind=account&limit=500&source=lemon&wait=30s",
		"GET /v1/changes?after=G.9.T&kind=order&kind=account&limit=500&source=lemon&wait=30s",
	}, asked[:4])
}

// A snapshot ends when there is no more, if that is all that is wanted; with --json each
// change is a line as it came.
func TestChangesOnce(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{"GET /v1/changes": {
		`{"items":[` + changeOf("order", "b1", 2, "changed") + `],"after":"G.7.T~eA","more":true}`,
		`{"items":[],"after":"G.7.T","more":true,"synced":true}`,
		`{"items":[],"after":"G.7.T","more":false}`,
	}})
	got := f.asks(t, "changes", "--source", "lemon", "--after", "snapshot", "--once", "--json")
	require.Equal(t, ran{OK, changeOf("order", "b1", 2, "changed") + "\n", "go on with --after G.7.T\n"}, got)
	require.Equal(t, []string{
		"GET /v1/changes?after=snapshot&limit=500&source=lemon",
		"GET /v1/changes?after=G.7.T~eA&limit=500&source=lemon",
		"GET /v1/changes?after=G.7.T&limit=500&source=lemon",
	}, f.requests())
}

// Commands are lines too, with what they do and why they are not done.
func TestChangesOfCommands(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{"GET /v1/changes": {
		`{"items":[{"type":"dev.tarn.command.done","subject":"command/cmd_1","time":"2026-07-01T12:00:00.123Z","data":{"version":5,"kind":"order","op":"cancel","state":"done"}},` +
			`{"type":"dev.tarn.command.dead","subject":"command/cmd_2","time":"2026-07-01T12:00:00.123Z","data":{"version":3,"kind":"order","op":"create","state":"dead","reason":"no\nfunds"}}],"after":"G.7.T","more":false}`,
	}})
	got := f.asks(t, "changes", "--source", "lemon", "--after", "G.5.T", "--once", "--type", "command,entity")
	require.Equal(t, ran{
		OK, "2026-07-01 12:00:00Z  done  command/cmd_1  version 5  order cancel\n2026-07-01 12:00:00Z  dead  command/cmd_2  version 3  order create  no\\nfunds\n",
		"go on with --after G.7.T\n",
	}, got)
	require.Equal(t, []string{"GET /v1/changes?after=G.5.T&limit=500&source=lemon&type=command&type=entity"}, f.requests())
}

// A cursor that is gone is not what the command can go on with, and its status says so; a
// source must be named where there are several.
func TestChangesThatCannotBeFollowed(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/fleet":   {`{"sources":[{"source":"lemon"},{"source":"lime"}]}`},
		"GET /v1/changes": {`{"type":"urn:tarn:problem:cursor-gone","status":410,"detail":"what follows the cursor is older than is kept: read everything again"}`},
	})
	got := f.asks(t, "changes", "--source", "lemon", "--after", "G.1.T")
	require.Equal(t, ran{Wrong, "", "tarn changes: what follows the cursor is older than is kept: read everything again\n"}, got)
	got = f.asks(t, "changes")
	require.Equal(t, Misused, got.status)
	require.Contains(t, got.err, "lemon, lime")
	require.Equal(t, 2, strings.Count(strings.Join(f.requests(), "\n"), "GET"))
}
