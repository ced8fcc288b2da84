package reconciler

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
)

// The tables here are what verify says of a provider that misbehaves: status × body ×
// header × timing, as in package provider, which says the fate of each. The mirror
// keeps what it has in all of them.

// The words of verify.
const (
	wordInSync    = "in sync"     // exit status 0
	wordDifferent = "1 different" // 3
	wordNotKnown  = "not known"   // 4
)

// behaviour is one way to answer.
type behaviour struct {
	status      int // 0: 200
	body        string
	contentType string // "": application/json; "-": none
	timing      timing
}

// timing is how an answer comes.
type timing string

const (
	whole    timing = ""
	cutOff   timing = "cut off"  // the connection ends within the body
	short    timing = "short"    // the body is shorter than it said
	hangs    timing = "hangs"    // the body never ends
	silent   timing = "silent"   // nothing comes at all
	dropping timing = "dropping" // the connection ends before the answer
	inDrops  timing = "in drops" // byte by byte, but in time
	tooLong  timing = "too long" // more bytes than are taken
	notGzip  timing = "not gzip" // says gzip and is not
)

func (b behaviour) answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch b.contentType {
	case "":
	case "-":
		h["Content-Type"] = nil
	default:
		h.Set("Content-Type", b.contentType)
	}
	switch b.timing {
	case silent:
		<-r.Context().Done()
		return
	case dropping:
		panic(http.ErrAbortHandler)
	case short:
		h.Set("Content-Length", fmt.Sprint(len(b.body)+10))
	case notGzip:
		h.Set("Content-Encoding", "gzip")
	}
	if b.status != 0 {
		w.WriteHeader(b.status)
	}
	flush := w.(http.Flusher).Flush
	switch b.timing {
	case cutOff, hangs:
		_, _ = fmt.Fprint(w, b.body[:len(b.body)/2])
		flush()
		if b.timing == hangs {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	case inDrops:
		for _, c := range []byte(b.body) {
			_, _ = w.Write([]byte{c})
			flush()
		}
	case tooLong:
		_, _ = fmt.Fprint(w, b.body+strings.Repeat(" ", 5000))
	default:
		_, _ = fmt.Fprint(w, b.body)
	}
}

// misbehaved is a way to answer and what verify says of it.
type misbehaved struct {
	behaviour
	word string
}

// saysOf asserts what verify says of each way in which a shop with one customer, one
// order and one note may answer at a path.
func saysOf(t *testing.T, path string, rows map[string]misbehaved) {
	t.Helper()
	c := newScene(t)
	client := func(timeout time.Duration) *provider.Client {
		made, err := provider.NewClient(c.def, provider.ClientOptions{
			BaseURL: c.shop.URL, Key: "key", Timeout: timeout, MaxBody: 4096, Now: c.clock.now,
		})
		require.NoError(t, err)
		t.Cleanup(made.Close)
		return made
	}
	patient, hasty := client(20*time.Second), client(500*time.Millisecond)
	c.client, c.finder.api = patient, patient
	c.shop.stock(1, 1)
	c.shop.put("/customers/c0/notes/n1", `{"id":"n1","text":"true"}`)
	c.fill()
	c.sync(event.Ref{Key: c.key("note", "n1"), Parents: map[string]string{"customer": "c0"}})
	kept := map[event.Key]string{}
	for _, doc := range c.documents() {
		kept[doc.Key] = fmt.Sprint(string(doc.Raw), doc.SyncedClaim, doc.DeletedAt)
	}
	require.Len(t, kept, 4)
	word := regexp.MustCompile(`(?m)^shop: (in sync|not known|\d+ different) \(`)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			c.clock.move(time.Second) // what the row before has verified is due again
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == path {
					row.answer(w, r)
				}
				return r.URL.Path == path
			})
			c.finder.api = patient
			if row.timing == hangs || row.timing == silent { // it waits for as long as it may
				c.finder.api = hasty
			}
			var table strings.Builder
			require.NoError(t, c.verify().WriteTable(&table))
			said := word.FindStringSubmatch(table.String())
			require.NotNil(t, said, table.String())
			require.Equal(t, row.word, said[1], table.String())
			require.NotContains(t, table.String(), "PRIVATE")
			for _, doc := range c.documents() {
				require.Equal(t, kept[doc.Key], fmt.Sprint(string(doc.Raw), doc.SyncedClaim, doc.DeletedAt))
			}
			require.Empty(t, c.entries())
			require.Empty(t, c.recorded())
		})
	}
}

// For an answer that proves nothing, verify says that it does not know.
func TestWhatVerifySaysOfAnEntity(t *testing.T) {
	t.Parallel()
	const note, own = `{"id":"n1","text":"true"}`, `{"message":"PRIVATE"}`
	saysOf(t, "/customers/c0/notes/n1", map[string]misbehaved{
		// 200 × body
		"the entity":                  {behaviour{body: note}, wordInSync},
		"in other words":              {behaviour{body: ` {"text":"\u0074rue", "id":"n1"}`}, wordInSync},
		"a byte order mark before it": {behaviour{body: "\ufeff" + note}, wordInSync},
		"another state":               {behaviour{body: `{"id":"n1","text":"false"}`}, wordDifferent},
		"half a pair in it":           {behaviour{body: `{"id":"n1","text":"\ud83d"}`}, wordDifferent},
		"an error object":             {behaviour{body: `{"ok":false,"error":"PRIVATE"}`}, wordNotKnown},
		"an error and an id":          {behaviour{body: `{"error":{"id":"n1"}}`}, wordNotKnown},
		"its own 404 under 200":       {behaviour{body: own}, wordNotKnown},
		"nothing in it":               {behaviour{body: `{}`}, wordNotKnown},
		"null":                        {behaviour{body: `null`}, wordNotKnown},
		"a text":                      {behaviour{body: `"n1"`}, wordNotKnown},
		"a list of it":                {behaviour{body: "[" + note + "]"}, wordNotKnown},
		"a page with it":              {behaviour{body: `{"data":[` + note + `]}`}, wordNotKnown},
		"it in an envelope":           {behaviour{body: `{"data":` + note + `}`}, wordNotKnown},
		"another entity":              {behaviour{body: `{"id":"n2"}`}, wordNotKnown},
		"a null id":                   {behaviour{body: `{"id":null,"text":"true"}`}, wordNotKnown},
		"an empty body":               {behaviour{body: ""}, wordNotKnown},
		"white space alone":           {behaviour{body: " \n"}, wordNotKnown},
		"a cut body":                  {behaviour{body: note[:12]}, wordNotKnown},
		"two answers in one":          {behaviour{body: note + note}, wordNotKnown},
		"HTML":                        {behaviour{body: "<html>PRIVATE</html>"}, wordNotKnown},
		"not UTF-8":                   {behaviour{body: "{\"id\":\"n1\",\"text\":\"\xff\"}"}, wordNotKnown},
		"NaN":                         {behaviour{body: `{"id":"n1","text":NaN}`}, wordNotKnown},
		"nested without end":          {behaviour{body: `{"id":"n1","text":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`}, wordNotKnown},
		"too long":                    {behaviour{body: note, timing: tooLong}, wordNotKnown},
		// 200 × header
		"HAL":                 {behaviour{body: note, contentType: "application/hal+json"}, wordInSync},
		"joined by a proxy":   {behaviour{body: note, contentType: "application/json, application/json"}, wordInSync},
		"a problem under 200": {behaviour{body: note, contentType: "application/problem+json"}, wordNotKnown},
		"HTML by name":        {behaviour{body: note, contentType: "text/html"}, wordNotKnown},
		"no content type":     {behaviour{body: note, contentType: "-"}, wordNotKnown},
		"gzip that is none":   {behaviour{body: note, timing: notGzip}, wordNotKnown},
		// 200 × timing
		"byte by byte":               {behaviour{body: note, timing: inDrops}, wordInSync},
		"the connection ends within": {behaviour{body: note, timing: cutOff}, wordNotKnown},
		"shorter than it said":       {behaviour{body: note, timing: short}, wordNotKnown},
		"a body without end":         {behaviour{body: note, timing: hangs}, wordNotKnown},
		"no answer":                  {behaviour{body: note, timing: silent}, wordNotKnown},
		"the connection ends":        {behaviour{body: note, timing: dropping}, wordNotKnown},
		// other statuses × body
		"201":                       {behaviour{status: 201, body: note}, wordNotKnown},
		"202, not ready":            {behaviour{status: 202, body: `{}`}, wordNotKnown},
		"204":                       {behaviour{status: 204}, wordNotKnown},
		"206, a part":               {behaviour{status: 206, body: note}, wordNotKnown},
		"302":                       {behaviour{status: 302, body: note}, wordNotKnown},
		"304":                       {behaviour{status: 304}, wordNotKnown},
		"400":                       {behaviour{status: 400, body: own}, wordNotKnown},
		"401 for it alone":          {behaviour{status: 401, body: own}, wordNotKnown},
		"401, hangs":                {behaviour{status: 401, body: own, timing: hangs}, wordNotKnown},
		"403 for it alone":          {behaviour{status: 403, body: own}, wordNotKnown},
		"404 in its own words":      {behaviour{status: 404, body: own}, wordDifferent},
		"404 in its own words, HAL": {behaviour{status: 404, body: own, contentType: "application/hal+json"}, wordDifferent},
		"404 with the entity":       {behaviour{status: 404, body: note}, wordNotKnown},
		"404, cut":                  {behaviour{status: 404, body: own, timing: cutOff}, wordNotKnown},
		"404, empty":                {behaviour{status: 404}, wordNotKnown},
		"410 in its own words":      {behaviour{status: 410, body: own}, wordDifferent},
		"410 of a proxy":            {behaviour{status: 410, body: "<html>", contentType: "text/html"}, wordNotKnown},
		"422":                       {behaviour{status: 422, body: own}, wordNotKnown},
		"429":                       {behaviour{status: 429, body: own}, wordNotKnown},
		"451":                       {behaviour{status: 451, body: own}, wordNotKnown},
		"500 with the entity":       {behaviour{status: 500, body: note}, wordNotKnown},
		"503":                       {behaviour{status: 503, body: own}, wordNotKnown},
		"599":                       {behaviour{status: 599, body: own}, wordNotKnown},
	})
}

func TestWhatVerifySaysOfASingleton(t *testing.T) {
	t.Parallel()
	saysOf(t, "/customers/c0/balance", map[string]misbehaved{
		"the entity":           {behaviour{body: `{"amount":0}`}, wordInSync},
		"another state":        {behaviour{body: `{"amount":0.0}`}, wordDifferent},
		"nothing":              {behaviour{body: `{}`}, wordNotKnown},
		"an error":             {behaviour{body: `{"error":"PRIVATE"}`}, wordNotKnown},
		"errors":               {behaviour{body: `{"errors":["PRIVATE"]}`}, wordNotKnown},
		"not ok":               {behaviour{body: `{"ok":false,"detail":"x"}`}, wordNotKnown},
		"a message alone":      {behaviour{body: `{"message":"PRIVATE"}`}, wordNotKnown},
		"null":                 {behaviour{body: `null`}, wordNotKnown},
		"a list":               {behaviour{body: `[]`}, wordNotKnown},
		"404 in its own words": {behaviour{status: 404, body: `{"message":"PRIVATE"}`}, wordDifferent},
		"500":                  {behaviour{status: 500, body: `{"amount":0}`}, wordNotKnown},
	})
}

// A list that fails, or disagrees with the GET of what it shows, is not in sync.
func TestWhatVerifySaysOfAList(t *testing.T) {
	t.Parallel()
	order := shopOrder("o0_0", 1, "created")
	page := func(elements ...string) string {
		return `{"data":[` + strings.Join(elements, ",") + `],"next":null}`
	}
	saysOf(t, "/customers/c0/orders", map[string]misbehaved{
		"a page":                  {behaviour{body: page(order)}, wordInSync},
		"one twice":               {behaviour{body: page(order, order)}, wordInSync},
		"one shown in short":      {behaviour{body: page(`{"id":"o0_0","amount":1}`)}, wordInSync},
		"one it lacks":            {behaviour{body: page()}, wordInSync}, // its GET answers
		"one shown otherwise":     {behaviour{body: page(shopOrder("o0_0", 2, "created"))}, wordNotKnown},
		"one with another status": {behaviour{body: page(shopOrder("o0_0", 1, "created", "made"))}, wordNotKnown},
		"one that is not there":   {behaviour{body: page(order, shopOrder("o9", 1, "created"))}, wordNotKnown},
		"one without an id":       {behaviour{body: page(order, `{"amount":1}`)}, wordNotKnown},
		"one that is no object":   {behaviour{body: page(order, `"o1"`)}, wordNotKnown},
		"an error":                {behaviour{body: `{"ok":false,"error":"PRIVATE"}`}, wordNotKnown},
		"nothing":                 {behaviour{body: `{}`}, wordNotKnown},
		"null for the list":       {behaviour{body: `{"data":null}`}, wordNotKnown},
		"a bare list":             {behaviour{body: `[]`}, wordNotKnown},
		"a cursor of no use":      {behaviour{body: `{"data":[],"next":{}}`}, wordNotKnown},
		"a round":                 {behaviour{body: `{"data":[` + order + `],"next":"a"}`}, wordNotKnown},
		"cut":                     {behaviour{body: page(order), timing: cutOff}, wordNotKnown},
		"empty":                   {behaviour{body: ""}, wordNotKnown},
		"no answer":               {behaviour{body: page(order), timing: silent}, wordNotKnown},
		"HTML":                    {behaviour{body: "<html>", contentType: "text/html"}, wordNotKnown},
		"206, a part":             {behaviour{status: 206, body: page(order)}, wordNotKnown},
		"404 in its own words":    {behaviour{status: 404, body: `{"message":"PRIVATE"}`}, wordNotKnown},
		"410 in its own words":    {behaviour{status: 410, body: `{"message":"PRIVATE"}`}, wordNotKnown},
		"422":                     {behaviour{status: 422, body: `{"message":"PRIVATE"}`}, wordNotKnown},
		"429":                     {behaviour{status: 429, body: `{"message":"PRIVATE"}`}, wordNotKnown},
		"500":                     {behaviour{status: 500, body: page(order)}, wordNotKnown},
	})
}
