package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
)

// differences are all entities whose mirror is not the truth: those it has, and
// those it should have.
func (r *run) differences(ctx context.Context) ([]fleet.Difference, error) {
	bad, _, err := r.Untrue(ctx)
	if err != nil {
		return nil, err
	}
	bad = slices.DeleteFunc(bad, r.market)
	missing, err := r.missing(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range missing {
		if !slices.ContainsFunc(bad, func(b fleet.Difference) bool { return b.Kind == d.Kind && b.ID == d.ID }) {
			bad = append(bad, d)
		}
	}
	return bad, nil
}

// market reports whether what differs follows the market, and nothing else.
func (r *run) market(d fleet.Difference) bool {
	if d.Mirror == nil || d.Truth == nil || d.Parent != "" {
		return false
	}
	have, err := r.definition.Read(d.Kind, d.Mirror)
	if err != nil {
		return false
	}
	want, err := r.definition.Read(d.Kind, d.Truth)
	return err == nil && have.Hash == want.Hash && have.Hash != ""
}

// missing are the entities with an id of their own that the mirror lacks.
func (r *run) missing(ctx context.Context) (bad []fleet.Difference, err error) {
	truth, err := r.Simulator.Truth(ctx)
	if err != nil {
		return nil, err
	}
	for names := range slices.Chunk(slices.Sorted(maps.Keys(truth)), 500) {
		var keys []event.Key
		for _, name := range names {
			kind, id, _ := strings.Cut(name, "/")
			if k := r.definition.Kind(kind); k != nil && k.Shape == provider.ShapeEntity && !truth[name].Deleted {
				keys = append(keys, event.Key{Source: fleet.Source, Kind: kind, ID: id})
			}
		}
		docs, err := r.Store.Documents(ctx, keys)
		if err != nil {
			return nil, fmt.Errorf("read the mirror: %w", err)
		}
		have := map[event.Key]bool{}
		for _, d := range docs {
			have[d.Key] = d.Known()
		}
		for _, k := range keys {
			if !have[k] {
				bad = append(bad, fleet.Difference{Kind: k.Kind, ID: k.ID, Truth: truth[k.Kind+"/"+k.ID].State})
			}
		}
	}
	return bad, nil
}
