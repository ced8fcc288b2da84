package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// TestTheAuditSaysWhoDidWhatAndWhatItChanged, also to a viewer.
func TestTheAuditSaysWhoDidWhatAndWhatItChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{viewerToken, operatorToken} })
	w := f.post("/v1/sources/lemon/pause", `{"reason":"the provider maintains"}`, "Authorization", "Bearer "+operatorToken.Secret)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	id := strings.TrimPrefix(f.store.notes[0].ID, storage.ActID(""))
	require.Regexp(t, `^act_[a-z0-9]{16}$`, id)
	f.store.notes = append(f.store.notes, storage.Note{ID: "note/1-0", At: noon, Source: "lemon", Kind: storage.NoteOperator, Reason: "ops: resume lemon", Count: 1})

	viewer := []string{"Authorization", "Bearer " + viewerToken.Secret}
	paused := `{"id":"` + id + `","at":"2026-03-01T12:00:00.000Z","by":"` + operatorToken.Name + `","did":"pause","to":"lemon","source":"lemon",
		"why":"the provider maintains","before":{"source":"lemon","paused":false},
		"after":{"source":"lemon","paused":true,"reason":"the provider maintains","by":"` + operatorToken.Name + `","since":"2026-03-01T12:00:00.000Z"},
		"text":"` + operatorToken.Name + `: pause lemon: the provider maintains"}`
	require.JSONEq(t, `{"items":[{"id":"note.1-0","at":"2026-03-01T12:00:00.000Z","source":"lemon","text":"ops: resume lemon"},`+paused+`]}`,
		f.get("/v1/audit", viewer...).Body.String())
	require.JSONEq(t, `{"items":[`+paused+`]}`, f.get("/v1/audit?source=lemon&by="+operatorToken.Name, viewer...).Body.String())
	require.Equal(t, http.StatusUnprocessableEntity, f.get("/v1/audit?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", viewer...).Code)
	require.Equal(t, http.StatusUnauthorized, f.get("/v1/audit").Code)
}
