package feed

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Entity is a mirrored entity.
type Entity struct {
	Source     string            `json:"source"`
	Kind       string            `json:"kind"`
	ID         string            `json:"id"`
	Parents    map[string]string `json:"parents,omitempty" doc:"Ids of its parents."`
	State      json.RawMessage   `json:"state,omitempty" doc:"The provider's JSON, every value as the provider wrote it (1.10 stays 1.10), without secret fields."`
	Status     string            `json:"status,omitempty" doc:"Current status; absent for kinds without one."`
	Version    int64             `json:"version,omitempty" doc:"Grows with every change of the state, the deletion or the parents. Absent: none since before there was a feed of changes."`
	Terminal   bool              `json:"terminal" doc:"Whether the status is one the entity never leaves."`
	DeletedAt  Moment            `json:"deleted_at,omitzero" doc:"When the provider was found to have it no longer; state is then the last one known."`
	SyncedAt   Moment            `json:"synced_at" doc:"When the fetch behind this state was sent."`
	VerifiedAt Moment            `json:"verified_at" doc:"Latest time this is known to have been the provider's state."`
	LastEvent  *LastEvent        `json:"last_event,omitempty" doc:"Newest event a sync has covered."`
	Behind     *Behind           `json:"behind,omitempty" doc:"Present while the mirror knows that it is behind the provider."`
}

// LastEvent is the newest event that a sync of an entity has covered.
type LastEvent struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	CreatedAt Moment `json:"created_at,omitzero" doc:"The provider's time of the event; when it was received, if that was earlier."`
}

// Behind says that the mirror knows it is behind the provider.
type Behind struct {
	Since  Moment `json:"since"`
	Reason string `json:"reason" example:"retrying"`
}

// EntityOf returns what a document says of its entity.
func EntityOf(d *storage.Document) Entity {
	e := Entity{
		Source: d.Key.Source, Kind: d.Key.Kind, ID: d.Key.ID, Parents: d.Parents,
		State: JSONOf(d.Raw), Status: d.Status, Version: d.Version, Terminal: d.Terminal,
		DeletedAt: MomentOf(d.DeletedAt), SyncedAt: MomentOf(d.SyncedAt), VerifiedAt: MomentOf(d.VerifiedAt),
	}
	if l := d.LastEvent; l.ID != "" {
		e.LastEvent = &LastEvent{ID: l.ID, Type: l.Type, CreatedAt: MomentOf(Writable(l.CreatedAt))}
	}
	if b := d.Behind; b != nil {
		e.Behind = &Behind{Since: MomentOf(b.Since), Reason: b.Reason}
	}
	return e
}

// JSONOf returns a payload as it came. A payload that is not JSON, from an entry
// that could not be read, is returned as a JSON string, so that it does not break the
// page.
func JSONOf(payload []byte) json.RawMessage {
	payload = bytes.TrimPrefix(payload, []byte("\ufeff"))
	if len(payload) == 0 || json.Valid(payload) && utf8.Valid(payload) {
		return payload
	}
	text, _ := json.Marshal(string(payload)) // a string always encodes
	return text
}
