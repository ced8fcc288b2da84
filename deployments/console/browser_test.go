package console

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	_ "embed"

	"github.com/stretchr/testify/require"
)

//go:embed checks.js
var checks string

// within is how long a condition may take, in milliseconds: long, for a busy machine.
const within = 60_000

// driver is the path of the browser's driver, built once.
var driver = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "browser")
	said, err := exec.Command("go", "build", "-C", "../standins", "-buildvcs=false", "-o", path, "./browser").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the browser's driver: %w\n%s", err, said)
	}
	return path, nil
})

// browser is a Chromium with one tab.
type browser struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
	// home is the api whose console is open.
	home string
}

type step map[string]any

type answer struct {
	Value any
	Heard *heard
	Error string
}

type heard struct{ Errors, Requests []string }

// startBrowser runs a browser for the time of a test. Without Chromium the test fails.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := driver()
	require.NoError(t, err)
	cmd := exec.Command(path) //nolint:gosec // built above
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		require.NoError(t, cmd.Wait(), "see what the browser has said above")
	})
	return &browser{t: t, in: json.NewEncoder(in), out: json.NewDecoder(out)}
}

func (b *browser) do(s step) answer {
	b.t.Helper()
	require.NoError(b.t, b.in.Encode(s))
	var a answer
	require.NoError(b.t, b.out.Decode(&a), "the browser has ended: see what it has said above")
	if a.Error != "" {
		var shown any
		if s["do"] != "eval" {
			shown = b.eval("document.body?.innerText.slice(0, 1500) + '\\n' + location.hash")
		}
		b.t.Fatalf("%v: %s\nthe page shows:\n%v\nheard: %+v", s, a.Error, shown, b.heard().Errors)
	}
	return a
}

// open opens a page of an api's console in a new tab.
func (b *browser) open(api, page string, size ...int64) {
	b.t.Helper()
	width, height := int64(1280), int64(900)
	if len(size) == 2 {
		width, height = size[0], size[1]
	}
	b.openAs(api, page, step{"width": width, "height": height})
}

func (b *browser) openAs(api, page string, s step) {
	b.t.Helper()
	b.home = api
	s["do"], s["url"] = "open", api+"/console#/"+page
	b.do(s)
}

// openAt opens another page of an api in a new tab.
func (b *browser) openAt(api, path string, width, height int64) {
	b.t.Helper()
	b.home = api
	b.do(step{"do": "open", "url": api + path, "width": width, "height": height})
}

// settled waits until the page shows what it has asked for.
func (b *browser) settled() {
	b.t.Helper()
	b.wait(`!!document.querySelector('h1') && ![...document.querySelectorAll('.quiet, .said')].some((n) => /^(Loading|Connecting|Counting)/.test(n.textContent))`)
}

// show goes to a page by its address, as a bookmark does, and waits for it.
func (b *browser) show(page string) {
	b.t.Helper()
	b.eval(fmt.Sprintf(`new Promise((shown) => { // once the console has heard of it
		const before = location.hash;
		addEventListener('hashchange', () => shown(), { once: true });
		location.hash = %s;
		if (location.hash === before) shown();
	})`, quoted("#/"+page)))
	b.settled()
}

func (b *browser) eval(js string) any {
	b.t.Helper()
	return b.do(step{"do": "eval", "js": js}).Value
}

func (b *browser) wait(js string) {
	b.t.Helper()
	b.do(step{"do": "wait", "js": js, "within_ms": within})
}

// waitText waits until the page shows a text.
func (b *browser) waitText(text string) {
	b.t.Helper()
	b.wait("document.body.innerText.includes(" + quoted(text) + ")")
}

func (b *browser) text() string {
	b.t.Helper()
	return fmt.Sprint(b.eval("document.body.innerText"))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(step{"do": "click", "at": selector})
}

// hit clicks what a selector names in the page itself, once it is there: a page in view may
// draw itself again between the finding of a place and a click with the mouse.
func (b *browser) hit(selector string) {
	b.t.Helper()
	b.wait("(() => { const n = document.querySelector(" + quoted(selector) + "); n?.click(); return !!n; })()")
}

// press clicks a button by its text, in the dialog if one is open.
func (b *browser) press(label string) {
	b.t.Helper()
	found := fmt.Sprintf(`(() => {
		const all = [...(document.querySelector('dialog') ?? document).querySelectorAll('button')];
		const b = all.find((b) => b.textContent === %s && !b.disabled);
		document.querySelectorAll('[data-pressed]').forEach((b) => b.removeAttribute('data-pressed'));
		b?.setAttribute('data-pressed', '');
		return !!b;
	})()`, quoted(label))
	b.wait(found)
	b.do(step{"do": "click", "at": "button[data-pressed]", "js": found})
}

// unfold opens the first row of a table that has more to show, and waits for its two sides.
func (b *browser) unfold() {
	b.t.Helper()
	b.wait("!!document.querySelector('td details')")
	b.eval("document.querySelector('td details').open = true")
	b.wait("!!document.querySelector('td details[open] .sides')")
}

func (b *browser) write(selector, text string) {
	b.t.Helper()
	b.do(step{"do": "type", "at": selector, "text": text})
}

func (b *browser) key(name string) {
	b.t.Helper()
	b.do(step{"do": "press", "text": name})
}

func (b *browser) heard() heard {
	b.t.Helper()
	require.NoError(b.t, b.in.Encode(step{"do": "heard"}))
	var a answer
	require.NoError(b.t, b.out.Decode(&a))
	require.NotNil(b.t, a.Heard)
	return *a.Heard
}

// clean wants a page without errors, that asks its own api only, with names for all that
// can be used, text that can be read, and no more width than the screen has.
func (b *browser) clean(what string) {
	b.t.Helper()
	// A browser reports the 401 by which the console learns that a token is wanted.
	b.cleanRequests(what, "status of 401")
	require.Empty(b.t, b.eval("("+checks+")()"), what)
}

// cleanRequests wants no error but those that contain one of the expected texts, and no
// request to another host or with a token in its address, and a name for all that can be used.
func (b *browser) cleanRequests(what string, expected ...string) {
	b.t.Helper()
	said := b.heard()
	require.Empty(b.t, slices.DeleteFunc(said.Errors, func(e string) bool {
		return slices.ContainsFunc(expected, func(text string) bool { return strings.Contains(e, text) })
	}), what)
	home, err := url.Parse(b.home)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, said.Requests, what)
	for _, address := range said.Requests {
		u, err := url.Parse(address)
		require.NoError(b.t, err)
		require.Equal(b.t, home.Host, u.Host, "%s asks another host: %s", what, address)
		require.NotContains(b.t, strings.ToLower(address), "token", what)
	}
	require.Empty(b.t, b.do(step{"do": "names"}).Value, "%s: parts without a name", what)
}

func quoted(text string) string {
	b, _ := json.Marshal(text) // a text always encodes
	return string(b)
}
