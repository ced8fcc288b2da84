package simulator

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// whole is everything a restart must not change.
func whole(t *testing.T, s *Simulator) string {
	t.Helper()
	type entityFacts struct {
		History []Truth
		Stage   string
	}
	all := map[string]entityFacts{}
	for k, e := range s.world.entities {
		all[k.kind+"/"+k.id] = entityFacts{s.History(k.kind, k.id), e.stage}
	}
	var events []json.RawMessage
	for _, n := range s.eventsAfter(0) {
		events = append(events, n.Body)
	}
	var lists [][]string
	for _, k := range s.world.dialect.kinds {
		for _, e := range s.world.under(k.name, "") {
			lists = append(lists, []string{k.name, e.id})
		}
	}
	text, err := json.Marshal([]any{all, events, lists, len(s.world.open), s.world.seq, s.world.eventSeq})
	require.NoError(t, err)
	return string(text)
}

func TestTheWorldSurvivesItsProcess(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, s *Simulator, file string){
		"killed": func(*testing.T, *Simulator, string) {},
		"killed while writing": func(t *testing.T, _ *Simulator, file string) {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteString(`{"change":{"versions":[{"kind":"ord`)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
		"rewritten": func(t *testing.T, s *Simulator, _ string) {
			require.NoError(t, s.world.journal.rewrite(s.world.write))
		},
		"stopped": func(t *testing.T, s *Simulator, _ string) {
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			require.NoError(t, s.Run(ended))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Data: t.TempDir(), KeepVersions: -1}
			first, err := New(o)
			require.NoError(t, err)
			grow(t, first.world, 400)
			want := whole(t, first)
			between(t, first, filepath.Join(o.Data, journalFile))

			second, err := New(o)
			require.NoError(t, err)
			require.Equal(t, want, whole(t, second))
			grow(t, second.world, 200)
			third, err := New(o)
			require.NoError(t, err)
			require.Equal(t, whole(t, second), whole(t, third))
			for _, s := range []*Simulator{first, second, third} {
				_ = s.world.journal.close()
			}
		})
	}
}

func TestTheJournalIsRewrittenWhenHalfOfItIsGone(t *testing.T) {
	o := Options{Data: t.TempDir(), KeepVersions: 1, KeepEvents: 10, MaxEntities: 100}
	s, err := New(o)
	require.NoError(t, err)
	s.world.bounds.journal = 1
	grow(t, s.world, 20)
	before := s.world.journal.bytes()
	require.NoError(t, s.world.tidy())
	require.Equal(t, before, s.world.journal.bytes(), "most of it is still needed")

	grow(t, s.world, 2000)
	require.NoError(t, s.flushSettled())
	before = s.world.journal.bytes()
	require.NoError(t, s.world.tidy())
	require.Less(t, s.world.journal.bytes(), before/2)
	grow(t, s.world, 20)
	require.NoError(t, s.world.journal.close())

	again, err := New(o)
	require.NoError(t, err)
	s.world.forgetEvents()
	require.True(t, whole(t, s) == whole(t, again), "it is the same world")
	require.NoError(t, again.world.journal.close())
}

func TestABrokenJournalIsNotTakenForANewWorld(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, journalFile), []byte("{\"change\":{}}\n{\"chan\n"), 0o600))
	_, err := New(Options{Data: dir})
	require.ErrorContains(t, err, "byte 14")
	require.ErrorContains(t, err, "remove it to start a new world")
}

func TestUndeliveredEventsAreSentAfterARestart(t *testing.T) {
	to := newReceiver(t)
	refuse := http.StatusServiceUnavailable
	to.answer = func(*http.Request, []byte) int { return refuse }
	o := to.options()
	o.Data, o.Retries = t.TempDir(), DefaultRetries()
	first := start(t, o)
	grow(t, first.world, 30)
	require.Eventually(t, func() bool { return len(to.taken()) >= 30 }, soon, often)
	first.stop()
	require.Empty(t, to.ids())

	to.mu.Lock()
	refuse = http.StatusOK
	to.mu.Unlock()
	second := start(t, o)
	settledSoon(t, second.Simulator)
	require.Len(t, to.ids(), len(second.Events()))
	second.stop()

	before := len(to.taken())
	third := start(t, o)
	settledSoon(t, third.Simulator)
	require.Len(t, to.taken(), before, "what was delivered is not sent again")
}

func TestALoadGoesOnAfterARestart(t *testing.T) {
	to := newReceiver(t)
	o := to.options()
	o.Data = t.TempDir()
	first := start(t, o)
	require.NoError(t, first.StartLoad(Load{Entities: 30, Events: 1000, Rate: 400})) // slowly, to be stopped before its end
	require.Eventually(t, func() bool { return first.LoadProgress().Made > 100 }, soon, often)
	first.stop()
	require.Less(t, first.LoadProgress().Made, 1000)

	second := start(t, o)
	require.Eventually(t, func() bool { return second.LoadProgress().Done }, soon, often)
	p := second.LoadProgress()
	require.Equal(t, []int{1000, 1000}, []int{p.Made, p.Delivered})
	require.Len(t, second.Truth("", 0), 30)
	require.Len(t, to.ids(), 1000)
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("{\"load\":{\"entities\":1}}\n"))
	f.Add([]byte("{\"change\":{\"versions\":[{\"kind\":\"order\",\"id\":\"x\",\"n\":1,\"state\":{}}]}}\n"))
	f.Add([]byte("{\"hook\":{\"id\":\"a\",\"removed\":true}}\n{\"settled\":[{\"seq\":3}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, journalFile), text, 0o600))
		s, err := New(Options{Data: dir})
		if err != nil {
			return
		}
		require.NoError(t, s.world.journal.close())
	})
}
