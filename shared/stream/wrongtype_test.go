package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// One key that another program wrote costs what it held, is named, and
// hides nothing else.
func TestFleetWithAKeyOfAnotherType(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(*Streams) string{
		"a stream":           func(s *Streams) string { return s.keys.stream(0, "lemon", "live") },
		"the due times":      func(s *Streams) string { return s.keys.due(0, "lemon") },
		"a lease":            func(s *Streams) string { return s.keys.lease(0) },
		"of another's shard": func(s *Streams) string { return s.keys.stream(1, "lemon", "background") },
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds {
				o := quiet(kind.urls(t)...)
				o.Shards = 4
				s := openStreams(t, o)
				ctx := t.Context()
				for shard := range 4 {
					require.NoError(t, s.client.Do(ctx, "XADD", s.keys.stream(shard, "other", "live"), "*", "a", "b").Err())
				}
				bad := key(s)
				require.NoError(t, s.client.Set(ctx, bad, "oops", 0).Err())
				shards, _, err := s.Fleet(ctx, []string{"lemon", "other"})
				require.NoError(t, err)
				var wrong []string
				var others int64
				for _, st := range shards {
					wrong = append(wrong, st.Wrong...)
					others += st.Sources["other"].Live
				}
				require.Equal(t, []string{bad}, wrong)
				want := int64(4)
				if name == "a lease" {
					want = 3
				}
				require.Equal(t, want, others)
			}
		})
	}
}
