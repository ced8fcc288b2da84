package stream

import (
	"context"
	"fmt"
)

// Identity says whose the keys under the fleet's prefix are. The zero value:
// nothing says it, as in a Redis that is new, was emptied, or was filled by an
// older version.
type Identity struct {
	// Fleet is the id of the fleet.
	Fleet string
	// Data is the id of what is in Redis: another one once Redis was emptied.
	Data string
}

// Identity returns what is said, the zero value for nothing.
func (s *Streams) Identity(ctx context.Context) (Identity, error) {
	v, err := s.client.HMGet(ctx, s.keys.identity(), "fleet", "data").Result()
	if err != nil {
		return Identity{}, fmt.Errorf("read whose the keys in redis are: %w", err)
	}
	return Identity{Fleet: asText(v[0]), Data: asText(v[1])}, nil
}

// Identify says it, unless something says it already, and returns what stands
// after that. It works in a full Redis too.
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
