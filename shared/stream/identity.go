package stream

import (
	"context"
	"fmt"
)

// Identity says to which fleet the keys under the prefix belong. It is zero in a Redis
// that is new, was emptied, or was filled by an older version.
type Identity struct {
	// Fleet is the id of the fleet.
	Fleet string
	// Data is the id of what is in Redis: another one once Redis was emptied.
	Data string
}

// Identity returns the stored identity, zero if there is none.
func (s *Streams) Identity(ctx context.Context) (Identity, error) {
	v, err := s.client.HMGet(ctx, s.keys.identity(), "fleet", "data").Result()
	if err != nil {
		return Identity{}, fmt.Errorf("read whose the keys in redis are: %w", err)
	}
	return Identity{Fleet: asText(v[0]), Data: asText(v[1])}, nil
}

// Identify stores an identity unless one is stored, and returns the stored one. It
// works in a full Redis too.
func (s *Streams) Identify(ctx context.Context, id Identity) (Identity, error) {
	v, err := run(ctx, s.client, identityScript, "say whose the keys in redis are",
		[]string{s.keys.identity()}, id.Fleet, id.Data)
	if err != nil {
		return Identity{}, err
	}
	stands := asList(v)
	return Identity{Fleet: asText(stands[0]), Data: asText(stands[1])}, nil
}

// Prefix returns what starts every key.
func (s *Streams) Prefix() string { return s.opts.Prefix }
