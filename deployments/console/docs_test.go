package console

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The page of the API, in a browser: a route with a body shows an example, sends it with a
// token as an operator would, and shows the answer; a problem is shown with the field it is
// about. The token is in no address, and is gone with its field.
func TestTheDocsSendARequest(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	b := startBrowser(t)
	b.openAt(w.guarded, "/docs", 1280, 900)
	b.wait("document.querySelectorAll('#operations details').length > 20")
	require.Equal(t, "Tarn API", b.eval("document.querySelector('h1').textContent"))
	b.waitText("1.0.0")
	const pause = `[...document.querySelectorAll('#operations details')].find((d) => d.querySelector('summary').textContent.includes('/v1/sources/{source}/pause'))`
	b.eval(pause + ".id = 'pause'")
	b.click("#pause summary")
	b.wait("document.querySelector('#pause').open")
	b.waitText("Needs a token with the role operator.")
	example := b.eval("document.querySelector('#pause textarea[aria-label=body]').value")
	require.JSONEq(t, `{"reason":"the provider maintains until 12:00"}`, example.(string))
	require.Contains(t, b.text(), `"reason": "the provider maintains until 12:00"`)

	b.write("#pause input[name=source]", "lemon")
	b.click("#pause button")
	b.waitText("401 Unauthorized")
	require.Empty(t, w.did(), "without a token nothing is done")
	b.write("#secret", operatorToken)
	b.click("#pause button")
	b.waitText("200 OK")
	b.waitText(`"paused": true`)
	require.Contains(t, b.text(), `curl -i -X POST -H "Authorization: Bearer $TARN_TOKEN" -H 'Content-Type: application/json'`)
	require.Equal(t, []string{"ops: pause"}, w.did())
	st, err := w.streams.Source(w.ctx, "lemon")
	require.NoError(t, err)
	require.True(t, st.Paused)
	require.Equal(t, "the provider maintains until 12:00", st.Reason)

	b.write("#pause textarea[aria-label=body]", "}")
	b.click("#pause button")
	b.waitText("400 Bad Request")
	require.NotContains(t, b.text(), operatorToken)
	require.Equal(t, 0.0, b.eval("localStorage.length"))
	b.cleanRequests("the docs", "status of 401", "status of 400")

	b.eval("(() => { const s = document.querySelector('#secret'); s.value = ''; s.dispatchEvent(new Event('input')); })()")
	require.Equal(t, 0.0, b.eval("sessionStorage.length"))
	b.openAt(w.guarded, "/docs", 390, 844)
	b.wait("document.querySelectorAll('#operations details').length > 20")
	require.LessOrEqual(t, b.eval("document.scrollingElement.scrollWidth"), 390.0, "it fits a phone")
}
