package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// discrepancy is something found different as the API shows it.
type discrepancy struct {
	ID         string            `json:"id"`
	Source     string            `json:"source"`
	Kind       string            `json:"kind,omitempty"`
	Entity     string            `json:"entity,omitempty" doc:"Id of the entity."`
	Parents    map[string]string `json:"parents,omitempty" doc:"Ids of the entity's parents, where its id is unique under these only."`
	Event      string            `json:"event,omitempty" doc:"Id of an event that was missed."`
	Type       string            `json:"type" enum:"missing,stale,deleted,unexpected,moved,shared_id,event_missed,rewritten,doubled,subscription_gap"`
	Status     string            `json:"status" enum:"suspected,confirmed,repaired,failed,dropped"`
	Sweep      string            `json:"sweep,omitempty" doc:"What found it."`
	Patch      json.RawMessage   `json:"patch,omitempty" doc:"RFC 6902 patch from the mirror's state to the provider's when it was found, secret fields left out. A test before each value that is replaced or removed says what the mirror had."`
	FoundAt    moment            `json:"found_at" doc:"When the provider's answer that shows it was asked for."`
	JudgedAt   moment            `json:"judged_at,omitzero" doc:"When it was confirmed or dropped."`
	RepairedAt moment            `json:"repaired_at,omitzero" doc:"When its repair was done or given up."`
}

func (r *reader) newDiscrepancy(d *storage.Discrepancy) discrepancy {
	return discrepancy{
		ID: d.ID, Source: d.Source, Kind: d.Entity.Kind, Entity: d.Entity.ID, Parents: r.parentsIn(d.Entity), Event: d.EventID,
		Type: string(d.Type), Status: string(d.Status), Sweep: shownID(d.SweepID), Patch: feed.JSONOf(d.Patch),
		FoundAt: momentOf(d.FoundAt), JudgedAt: momentOf(d.JudgedAt), RepairedAt: momentOf(d.RepairedAt),
	}
}

type discrepancyList struct {
	Items      []discrepancy `json:"items" nullable:"false"`
	NextCursor string        `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func (r *reader) registerDiscrepancies(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-discrepancies", Method: http.MethodGet, Path: "/v1/discrepancies",
		Summary: "List differences found between provider and mirror, newest first", Tags: []string{"discrepancies"},
		Description: "Repair does not wait for the verdict: an event in flight may explain a difference that is `suspected`.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listDiscrepancies)
}

type listDiscrepanciesInput struct {
	Status string `query:"status" enum:"suspected,confirmed,repaired,failed,dropped" doc:"Only those in this status."`
	Type   string `query:"type" enum:"missing,stale,deleted,unexpected,moved,shared_id,event_missed,rewritten,doubled,subscription_gap" doc:"Only those of this type."`
	Source string `query:"source" doc:"Only those of this source."`
	Kind   string `query:"kind" doc:"Only those about entities of this kind."`
	Entity string `query:"entity" doc:"Only those about this entity, as source/kind/id." example:"lemon/order/bord_1"`
	Sweep  string `query:"sweep" doc:"Only those this sweep found."`
	Between
	Page
}

type listDiscrepanciesOutput struct{ Body discrepancyList }

func (r *reader) listDiscrepancies(ctx context.Context, in *listDiscrepanciesInput) (*listDiscrepanciesOutput, error) {
	key, err := r.entityKey(ctx, "query.entity", in.Entity)
	if err := errors.Join(err, in.check()); err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inDiscrepancies, mentions("query", in.Source, in.Kind, "", key)); err != nil {
		return nil, err
	}
	sweep := storedID(in.Sweep)
	if err := r.knownSweep(ctx, sweep); err != nil {
		return nil, err
	}
	found, err := r.store.Discrepancies(ctx, storage.DiscrepancyFilter{
		Status: storage.DiscrepancyStatus(in.Status), Type: storage.DiscrepancyType(in.Type),
		Source: in.Source, Kind: in.Kind, Entity: key, SweepID: sweep,
		From: in.From, To: in.To, Limit: in.Limit, Cursor: in.Cursor,
	})
	if err != nil {
		return nil, r.storeProblem(ctx, "list discrepancies", err)
	}
	out := &listDiscrepanciesOutput{Body: discrepancyList{Items: make([]discrepancy, len(found.Items)), NextCursor: found.NextCursor}}
	for i, d := range found.Items {
		out.Body.Items[i] = r.newDiscrepancy(d)
	}
	return out, nil
}
