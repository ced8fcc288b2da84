package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Members that are added at once are all of the fleet, each under a name of its own.
func TestMembersAreAddedAtOnce(t *testing.T) {
	t.Parallel()
	programs, err := NewPrograms()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, programs.Close()) })
	programs.built["worker-cmd"] = nil
	require.NoError(t, os.WriteFile(filepath.Join(programs.dir, "worker-cmd"), []byte("#!/bin/sh\nexec sleep 600\n"), 0o700))
	f := &Fleet{plan: Plan{Dir: t.TempDir()}.withDefaults(), programs: programs, unwatch: func() {}}
	t.Cleanup(func() { require.NoError(t, f.Close()) })

	const n = 8
	var adding sync.WaitGroup
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint("worker ", i+1))
		adding.Go(func() {
			f.SetFaults(API, fmt.Sprint(i))
			_, err := f.Add(t.Context(), Worker)
			require.NoError(t, err)
		})
	}
	adding.Wait()
	var names []string
	for _, m := range f.Members(Worker) {
		names = append(names, m.Name)
		require.True(t, m.Running())
	}
	slices.Sort(names)
	require.Equal(t, want, names)
}
