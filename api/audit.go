package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// acted is an operator's action, as the API shows it.
type acted struct {
	ID     string          `json:"id"`
	At     moment          `json:"at" doc:"When it was done."`
	By     string          `json:"by,omitempty" doc:"Who did it: the name of the token. Absent if the database was away then; text says it."`
	Did    string          `json:"did,omitempty" doc:"What was done." example:"pause"`
	To     string          `json:"to,omitempty" doc:"What it was done to."`
	Source string          `json:"source,omitempty" doc:"The source it was done to. Absent: to several."`
	Why    string          `json:"why,omitempty" doc:"The reason given, or the filter."`
	Before json.RawMessage `json:"before,omitempty" doc:"What it changed, as it was before. Absent where that is not known."`
	After  json.RawMessage `json:"after,omitempty" doc:"The same as it was after."`
	Text   string          `json:"text" doc:"All of it in words."`
}

type actedList struct {
	Items      []acted `json:"items" nullable:"false"`
	NextCursor string  `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func newActed(n *storage.Note) acted {
	return acted{
		ID: shownActID(n.ID), At: momentOf(n.At), By: n.By, Did: n.Did, To: n.To, Source: n.Source, Why: n.Why,
		Before: feed.JSONOf([]byte(n.Before)), After: feed.JSONOf([]byte(n.After)), Text: n.Reason,
	}
}

func (r *reader) registerAudit(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/v1/audit",
		Summary: "List what operators did, newest first", Tags: []string{"audit"},
		Description: "Who did what, when and why, and what it changed.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listAudit)
}

type listAuditInput struct {
	Source string `query:"source" doc:"Only acts on this source."`
	By     string `query:"by" doc:"Only acts of the holder of this token."`
	Between
	Page
}

type listAuditOutput struct{ Body actedList }

func (r *reader) listAudit(ctx context.Context, in *listAuditInput) (*listAuditOutput, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inAudit, mentions("query", in.Source, "", "", event.Key{})); err != nil {
		return nil, err
	}
	if err := r.knownActor(ctx, in.By); err != nil {
		return nil, err
	}
	found, err := r.store.Acts(ctx, storage.NoteFilter{
		Source: in.Source, By: in.By, From: in.From, To: in.To, Limit: in.Limit, Cursor: in.Cursor,
	})
	if err != nil {
		return nil, r.storeProblem(ctx, "list the audit", err)
	}
	out := &listAuditOutput{Body: actedList{Items: make([]acted, len(found.Items)), NextCursor: found.NextCursor}}
	for i, n := range found.Items {
		out.Body.Items[i] = newActed(n)
	}
	return out, nil
}
