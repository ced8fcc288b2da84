package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBadLine(t *testing.T) {
	const begin = `{"time":"2026-03-01T12:00:00.1Z","level":"WARN","msg":"sync failed; parked","process":"worker"`
	for line, want := range map[string]string{
		begin + `}`: "",
		begin + `,"error":"claim a: database is locked"}`:                                "",
		begin + `,"n":3,"shards":[1,2]}`:                                                 "",
		begin + `,"error":"missing: missing: a"}`:                                        `error says "missing" twice`,
		begin + `,"error":"redis: read: redis: EOF"}`:                                    `error says "redis" twice`,
		begin + `,"source":""}`:                                                          "source is empty",
		begin + `,"until":"0001-01-01T00:00:00Z"}`:                                       "until is no time",
		begin + `,"said":"fleet-secret"}`:                                                "it holds fleet-secret",
		`2026/03/01 12:00:00 http: TLS handshake error`:                                  "it is not JSON",
		`{"level":"WARN","msg":"a","process":"worker"}`:                                  "it has no time",
		`{"time":"2026-03-01T12:00:00Z","level":"DEBUG+3","msg":"a","process":"worker"}`: "it has no level",
		`{"time":"2026-03-01T12:00:00Z","level":"INFO","msg":"","process":"worker"}`:     "it has no msg",
		`{"time":"2026-03-01T12:00:00Z","level":"INFO","msg":"a"}`:                       "it has no process",
	} {
		require.Equal(t, want, badLine([]byte(line), []string{"fleet-secret"}), line)
	}
}

func TestPersonal(t *testing.T) {
	var found []string
	eachPersonal(map[string]any{
		"id": "pers_1", "firstname": "Anna-Lena", "accounts": []any{map[string]any{"iban": "DE02120300000000202051"}}, "email": nil,
	}, func(text string) { found = append(found, text) })
	require.ElementsMatch(t, []string{"Anna-Lena", "DE02120300000000202051"}, found)
}
