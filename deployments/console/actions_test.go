package console

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// What a dialog of the console does is done in a test: each title is waited for, and each
// verb pressed.
func TestEveryActionIsTested(t *testing.T) {
	tests := ""
	for _, name := range files(t, "*_test.go") {
		if filepath.Base(name) != "pictures_test.go" {
			tests += read(t, name)
		}
	}
	verb, found := regexp.MustCompile("title: (.*?), verb: (?:'([^']+)'|`([^`]+)`)"), 0
	for _, name := range files(t, "../../api/console/static/pages/*.js") {
		for _, m := range verb.FindAllStringSubmatch(read(t, name), -1) {
			found++
			label := strings.ReplaceAll(m[2]+m[3], "${noun}", "job") // a sweep is ended in the same dialog
			require.True(t, strings.Contains(tests, fmt.Sprintf("b.press(%q)", label)), "%s: no test presses it in the dialog %s", name, m[1])
			for _, title := range regexp.MustCompile("'([^']+)'|`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
				said := strings.NewReplacer("all open work of ${s.source}", "all open work of former", "${s.source}", "lemon", "${x.source}", "lemon", "${noun}", "job").Replace(title[1] + title[2])
				require.True(t, strings.Contains(tests, fmt.Sprintf("%q", said)), "%s: no test waits for the dialog %s", name, said)
			}
		}
	}
	require.Greater(t, found, 10)
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// Each act asks first, in a dialog that says what it is about.
func TestDialogsSayWhatTheyAreAbout(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	require.NoError(t, w.streams.PauseAs(w.ctx, "lemon", condition.Pause{Kind: condition.PausedMisconfigured, Reason: "12 of 50 known entities were not found"}, "worker-1"))
	b := startBrowser(t)
	b.open(w.open, "sources")
	dead := "dead-letters/" + storage.LetterID("evt_dead00000000", order("bord_dead000000").Key)
	for _, d := range []struct{ page, button, title, says string }{
		{"entities/lemon/order/bord_7e21c4aa90", "Sync now …", "Fetch it now?", "before background work"},
		{"dead-letters?status=open", "Redrive …", "Redrive these dead letters?", "comes back as an open dead letter"},
		{"dead-letters?status=open", "Discard …", "Discard these dead letters?", "This cannot be undone"},
		{dead, "Redrive …", "Redrive this dead letter?", "1 dead letter"},
		{dead, "Discard …", "Discard this dead letter?", "This cannot be undone"},
		{"waiting", "Retry everything …", "Try these again now?", "No filter: of all sources and kinds."},
		{"work/jobs/job_m4tz81kc", "Cancel …", "End this job?", "the rest is left"},
		{"work/sweeps/sweep_r1wq77ab", "Cancel …", "End this sweep?", "17 done"},
	} {
		b.show(d.page)
		b.press(d.button)
		b.waitText(d.title)
		b.waitText(d.says)
		b.clean(d.title)
		b.key("Escape")
		b.wait("!document.querySelector('dialog')")
	}
	for selector, title := range map[string]string{
		"[data-key='retry lemon']": "Try what is parked again now?", "[data-key='resume lemon']": "Resume lemon?",
	} {
		b.show("sources")
		b.hit(selector)
		b.waitText(title)
		b.key("Escape")
		b.wait("!document.querySelector('dialog')")
	}
	b.show("waiting")
	b.eval("document.querySelector('main td button').click()")
	b.waitText("Try it again now?")
	require.Empty(t, w.did(), "what is not confirmed is not done")
}

// A source that was paused since known entities were not found is resumed with the word
// that deletions are to be believed; what is parked of a source is retried.
func TestResumeAndRetryOfASource(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.open, "sources")
	b.hit("[data-key='retry lemon']")
	b.waitText("4 entities")
	b.press("Retry now")
	b.waitText("4 entities are due now.")
	require.Equal(t, []string{"local: retry"}, w.did())
	page, err := w.streams.WaitingOf(w.ctx, order("bord_wait000003").Key)
	require.NoError(t, err)
	require.True(t, page.Due.Before(time.Now()))

	require.NoError(t, w.streams.PauseAs(w.ctx, "lemon", condition.Pause{Kind: condition.PausedMisconfigured, Reason: "12 of 50 known entities were not found"}, "worker-1"))
	b.waitText("12 of 50 known entities were not found")
	b.hit("[data-key='resume lemon']")
	b.waitText("Accept deletions for an hour")
	b.click("#ask-accept")
	b.press("Resume")
	b.waitText("lemon is resumed.")
	b.waitText("Deletions accepted")
	st, err := w.streams.Source(w.ctx, "lemon")
	require.NoError(t, err)
	require.False(t, st.Paused)
	accepted, err := w.streams.DeletionsAccepted(w.ctx, "lemon")
	require.NoError(t, err)
	require.Positive(t, accepted)
}

// A comparison is started with its mode, kinds and rate, and ended again.
func TestStartAndEndAComparison(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	b := startBrowser(t)
	b.open(w.open, "work/sweeps")
	b.press("Start a comparison …")
	b.waitText("Start a comparison")
	b.eval("document.querySelector('#ask-mode').value = 'verify'")
	b.write("#ask-kinds", "order, nonsense")
	b.press("Start")
	b.waitText("nonsense")
	require.Empty(t, w.did(), "a kind that there is not")
	b.eval("document.querySelector('#ask-kinds').value = ''")
	b.write("#ask-kinds", "order, account")
	b.write("#ask-rate", "2.5")
	b.press("Start")
	b.waitText("It is waiting for a reconciler.")
	require.Equal(t, []string{"local: start verify"}, w.did())
	b.eval("[...document.querySelectorAll('#toasts a')][0].click()")
	b.waitText("compares and repairs nothing")
	b.waitText("order, account")
	b.press("Cancel …")
	b.waitText("End this sweep?")
	b.press("End the sweep")
	b.waitText("The sweep ends.")
	b.waitText("An operator has ended it.")
	require.Equal(t, []string{"local: cancel", "local: start verify"}, w.did())
	b.cleanRequests("a sweep that was ended", "status of 400")
}

// Events with a note are counted, and read again by a job.
func TestReadAgain(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	for i := range 3 {
		a := w.arrival(fmt.Sprintf("evt_new%d", i), "order.teleported", time.Minute, order("bord_1"))
		a.Event.Note = event.UnknownType
		_, err := w.store.Log(w.ctx, []storage.Arrival{a})
		require.NoError(t, err)
	}
	b := startBrowser(t)
	b.open(w.open, "events?source=lemon&note=unknown_type")
	b.wait("document.querySelectorAll('main tbody tr').length === 3")
	b.press("Read them again …")
	b.waitText("Read these events again?")
	b.waitText("3 events")
	require.Empty(t, w.did())
	b.press("Read again")
	b.waitText("The job has been started.")
	require.Equal(t, []string{"local: start reread"}, w.did())
	b.clean("events with a note")
}

// The work of a source that is not configured any more is discarded, with a reason.
func TestDiscardASource(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	require.NoError(t, w.streams.Remember(w.ctx, []string{"former", "lemon", "stripe"}))
	_, err := w.streams.Append(w.ctx, stream.Draft{Signal: event.Own(&event.Event{
		Source: "former", ID: "evt_1", Type: "order.executed", CreatedAt: w.now, ReceivedAt: w.now,
		Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "order", ID: "bord_1"}}}, Payload: []byte(`{}`),
	}, "")})
	require.NoError(t, err)
	b := startBrowser(t)
	b.open(w.open, "sources")
	b.waitText("Its work waits, and no worker does it.")
	b.hit("[data-key='discard former']")
	b.waitText("Discard all open work of former?")
	b.waitText("1 entry or entity")
	b.press("Discard")
	b.waitText("Why is needed.")
	b.write("#ask-reason", "renamed")
	b.press("Discard")
	b.waitText("A job discards it.")
	require.True(t, slices.Contains(w.did(), "local: start abandon"), "%v", w.did())
	b.clean("a source that is not configured")
}
