package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/storage"
)

// commandHold is a source whose commands are held, as the API shows it.
type commandHold struct {
	Source string `json:"source"`
	Since  moment `json:"since" doc:"Since when."`
	Reason string `json:"reason" doc:"Why."`
}

func newCommandHold(h storage.CommandHold) commandHold {
	return commandHold{Source: h.Source, Since: momentOf(h.Since), Reason: h.Reason}
}

// holdsOf returns the holds of a source, or of all for "".
func (r *reader) holdsOf(ctx context.Context, source string) ([]commandHold, error) {
	found, err := r.store.Commands().Holds(ctx)
	if err != nil {
		return nil, err
	}
	var out []commandHold
	for _, h := range found {
		if source == "" || source == h.Source {
			out = append(out, newCommandHold(h))
		}
	}
	return out, nil
}

// isHeld reports whether nothing is done about a command until its source is released.
func isHeld(c *storage.Command, holds []commandHold) bool {
	switch c.State {
	case storage.CommandQueued, storage.CommandSending, storage.CommandUnclear:
	default:
		return false
	}
	for _, h := range holds {
		if h.Source == c.Source {
			return true
		}
	}
	return false
}

func (o *operator) registerHolds(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "release-commands", Method: http.MethodPost, Path: "/v1/sources/{source}/release",
		Summary: "Release the commands of a source that are held", Tags: []string{"commands"},
		Description: "They are held after the database was restored from an older copy: commands that were done since the copy are queued in it again, " +
			"and nothing of the source is sent. Once released they are sent again as they were, under the same keys at the provider. " +
			"Look first: what has no key there and was done is made twice, unless it is taken back before.",
		Security: needs(Operator), Errors: itemErrors,
	}, o.releaseCommands)
}

type releaseOutput struct {
	Body struct {
		Source   string       `json:"source"`
		Released *commandHold `json:"released,omitempty" doc:"The hold that has ended. Absent: there was none."`
	}
}

func (o *operator) releaseCommands(ctx context.Context, in *struct{ SourcePath }) (*releaseOutput, error) {
	if _, err := o.source(in.Source); err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	out := &releaseOutput{}
	out.Body.Source = in.Source
	was, err := o.store.Commands().Release(ctx, in.Source)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return out, nil
	case err != nil:
		return nil, o.storeProblem(ctx, "release the commands of "+in.Source, err)
	}
	released := newCommandHold(*was)
	out.Body.Released = &released
	o.record(ctx, act{source: in.Source, did: "release", to: "the commands of " + in.Source, before: released})
	return out, nil
}
