package provider

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// The tables here are a provider that misbehaves in every way HTTP and JSON
// allow: status × body × header × timing, a row each with its fate. What a
// worker makes of the fates, and that it keeps its state, is in package worker.

// taken means that the answer is the entity.
const taken = fate.Class(-1)

// behaviour is one way to answer.
type behaviour struct {
	status int // 0: 200
	body   string
	// contentType is the header's value. "": application/json; "-": none.
	contentType string
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
	dropped  timing = "dropped"  // the connection ends before the answer
	inDrops  timing = "in drops" // byte by byte, but in time
	tooLong  timing = "too long" // more bytes than are taken
	notAsked timing = "unzipped" // says gzip and is not
)

func (b behaviour) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch b.contentType {
	case "":
		h.Set("Content-Type", "application/json")
	case "-":
		h["Content-Type"] = nil
	default:
		h.Set("Content-Type", b.contentType)
	}
	half := b.body[:len(b.body)/2]
	switch b.timing {
	case silent:
		<-r.Context().Done()
		return
	case dropped:
		panic(http.ErrAbortHandler)
	case short:
		h.Set("Content-Length", fmt.Sprint(len(b.body)+10))
	case notAsked:
		h.Set("Content-Encoding", "gzip")
	}
	if b.status != 0 {
		w.WriteHeader(b.status)
	}
	flush := w.(http.Flusher).Flush
	switch b.timing {
	case cutOff, hangs:
		_, _ = fmt.Fprint(w, half)
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

// fetchFrom asks a provider of that behaviour for an entity.
func fetchFrom(t *testing.T, d *Definition, b behaviour, ref event.Ref) (*Snapshot, fate.Class) {
	t.Helper()
	timeout := 20 * time.Second
	if b.timing == hangs || b.timing == silent { // it waits for as long as it may
		timeout = 2 * time.Second
	}
	c := server(t, ClientOptions{MaxBody: 4096, Timeout: timeout}, b.ServeHTTP)
	c.def = d
	s, err := c.Fetch(t.Context(), ref, "x")
	if err == nil {
		return s, taken
	}
	require.Nil(t, s, "an answer that was refused leads to no state")
	require.NotContains(t, err.Error(), "PRIVATE", "no payload in errors")
	class, _ := fate.Of(err)
	return nil, class
}

func TestAMisbehavingProviderOfAnEntity(t *testing.T) {
	const own = `{"message":"PRIVATE"}`
	for name, c := range map[string]struct {
		answer behaviour
		fate   fate.Class
	}{
		// 200 × body
		"the entity":                  {behaviour{body: order}, taken},
		"white space round it":        {behaviour{body: " \r\n" + order + "\n"}, taken},
		"a byte order mark before it": {behaviour{body: "\ufeff" + order}, taken},
		"members twice":               {behaviour{body: `{"id":"x","id":"bord_1"}`}, taken},
		"half a pair in it":           {behaviour{body: `{"id":"bord_1","note":"\ud83d"}`}, taken},
		"an error object":             {behaviour{body: `{"ok":false,"error":"PRIVATE"}`}, fate.Transient},
		"an error and an id":          {behaviour{body: `{"error":{"id":"bord_1"}}`}, fate.Transient},
		"its own 404 under 200":       {behaviour{body: own}, fate.Transient},
		"nothing in it":               {behaviour{body: `{}`}, fate.Transient},
		"null":                        {behaviour{body: `null`}, fate.Transient},
		"a text":                      {behaviour{body: `"bord_1"`}, fate.Transient},
		"a list of it":                {behaviour{body: "[" + order + "]"}, fate.Transient},
		"a page with it":              {behaviour{body: `{"data":[` + order + `]}`}, fate.Transient},
		"it in an envelope":           {behaviour{body: `{"data":` + order + `}`}, fate.Transient},
		"another entity":              {behaviour{body: `{"id":"bord_2"}`}, fate.Transient},
		"a null id":                   {behaviour{body: `{"id":null,"amount":1}`}, fate.Transient},
		"an id that is an object":     {behaviour{body: `{"id":{"id":"bord_1"}}`}, fate.Transient},
		"an id in other letters":      {behaviour{body: `{"id":"BORD_1"}`}, fate.Transient},
		"an empty body":               {behaviour{body: ""}, fate.Transient},
		"white space alone":           {behaviour{body: " \n"}, fate.Transient},
		"a cut body":                  {behaviour{body: order[:30]}, fate.Transient},
		"two answers in one":          {behaviour{body: order + order}, fate.Transient},
		"HTML":                        {behaviour{body: "<html>PRIVATE</html>"}, fate.Transient},
		"not UTF-8":                   {behaviour{body: "{\"id\":\"bord_1\",\"n\":\"\xff\"}"}, fate.Transient},
		"a single quote":              {behaviour{body: `{'id':'bord_1'}`}, fate.Transient},
		"NaN":                         {behaviour{body: `{"id":"bord_1","amount":NaN}`}, fate.Transient},
		"nested without end":          {behaviour{body: `{"id":"bord_1","n":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`}, fate.Transient},
		"too long":                    {behaviour{body: order, timing: tooLong}, fate.Permanent},
		// 200 × header
		"a charset":                       {behaviour{body: order, contentType: "application/json; charset=utf-8"}, taken},
		"a parameter that is none":        {behaviour{body: order, contentType: "application/json; charset"}, taken},
		"in capitals":                     {behaviour{body: order, contentType: "Application/JSON"}, taken},
		"HAL":                             {behaviour{body: order, contentType: "application/hal+json"}, taken},
		"HAL, joined, one with a charset": {behaviour{body: order, contentType: "application/hal+json,application/hal+json;charset=utf-8"}, taken},
		"JSON:API":                        {behaviour{body: order, contentType: "application/vnd.api+json"}, taken},
		"joined by a proxy":               {behaviour{body: order, contentType: "application/json, application/json"}, taken},
		"an old name":                     {behaviour{body: order, contentType: "text/json"}, taken},
		"a problem under 200":             {behaviour{body: order, contentType: "application/problem+json"}, fate.Transient},
		"joined, differing":               {behaviour{body: order, contentType: "application/json, text/html"}, fate.Transient},
		"HTML by name":                    {behaviour{body: order, contentType: "text/html"}, fate.Transient},
		"XML by suffix":                   {behaviour{body: order, contentType: "application/hal+xml"}, fate.Transient},
		"no content type":                 {behaviour{body: order, contentType: "-"}, fate.Transient},
		"gzip that is none":               {behaviour{body: order, timing: notAsked}, fate.Transient},
		// 200 × timing
		"byte by byte":               {behaviour{body: order, timing: inDrops}, taken},
		"the connection ends within": {behaviour{body: order, timing: cutOff}, fate.Transient},
		"shorter than it said":       {behaviour{body: order, timing: short}, fate.Transient},
		"a body without end":         {behaviour{body: order, timing: hangs}, fate.Transient},
		"no answer":                  {behaviour{body: order, timing: silent}, fate.Transient},
		"the connection ends":        {behaviour{body: order, timing: dropped}, fate.Transient},
		// other statuses × body
		"201":                          {behaviour{status: 201, body: order}, fate.Transient},
		"202, not ready":               {behaviour{status: 202, body: `{}`}, fate.Transient},
		"206, a part":                  {behaviour{status: 206, body: order}, fate.Transient},
		"404 in its own words":         {behaviour{status: 404, body: own}, fate.Gone},
		"404 in its own words, HAL":    {behaviour{status: 404, body: own, contentType: "application/hal+json"}, fate.Gone},
		"404 in its own words, joined": {behaviour{status: 404, body: own, contentType: "application/json, application/json"}, fate.Gone},
		"404 with the entity":          {behaviour{status: 404, body: order}, fate.Transient},
		"404, cut":                     {behaviour{status: 404, body: own, timing: cutOff}, fate.Transient},
		"404, empty":                   {behaviour{status: 404, body: ""}, fate.Transient},
		"410 in its own words":         {behaviour{status: 410, body: own}, fate.Gone},
		"410 of a proxy":               {behaviour{status: 410, body: "<html>", contentType: "text/html"}, fate.Transient},
		"410, cut":                     {behaviour{status: 410, body: own, timing: cutOff}, fate.Transient},
		"451":                          {behaviour{status: 451, body: own}, fate.Transient},
		"500 with the entity":          {behaviour{status: 500, body: order}, fate.Transient},
		"599":                          {behaviour{status: 599, body: own}, fate.Transient},
		"400, cut":                     {behaviour{status: 400, body: own, timing: cutOff}, fate.Permanent},
		"429, cut":                     {behaviour{status: 429, body: own, timing: cutOff}, fate.Throttled},
		"401, hangs":                   {behaviour{status: 401, body: own, timing: hangs}, fate.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := fetchFrom(t, lemon(t), c.answer, orderRef)
			require.Equal(t, c.fate, got)
		})
	}
}

func TestAMisbehavingProviderOfASingleton(t *testing.T) {
	financials := event.Ref{Key: event.Key{Source: "lemon", Kind: "financials", ID: "cusa_1"}}
	plain, err := Parse("small.yaml", []byte(strings.ReplaceAll(minimal, "totals", "financials")))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		body string
		// proved is the fate where the definition gives proof, plain where not.
		proved, plain fate.Class
	}{
		"the entity":           {`{"balance":"1.10","currency":"EUR"}`, taken, taken},
		"half of it":           {`{"balance":"1.10"}`, fate.Transient, taken},
		"a null in it":         {`{"balance":"1.10","currency":null}`, fate.Transient, taken},
		"nothing":              {`{}`, fate.Transient, fate.Transient},
		"an error":             {`{"error":"PRIVATE"}`, fate.Transient, fate.Transient},
		"an error object":      {`{"error":{"code":7},"request_id":"r"}`, fate.Transient, fate.Transient},
		"errors":               {`{"errors":["PRIVATE"]}`, fate.Transient, fate.Transient},
		"not ok":               {`{"ok":false,"detail":"x"}`, fate.Transient, fate.Transient},
		"no success":           {`{"success":false,"detail":"x"}`, fate.Transient, fate.Transient},
		"a message alone":      {`{"message":"PRIVATE"}`, fate.Transient, fate.Transient},
		"an error that is not": {`{"balance":"1","currency":"EUR","error":null,"errors":[]}`, taken, taken},
		"null":                 {`null`, fate.Transient, fate.Transient},
		"a list":               {`[]`, fate.Transient, fate.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := fetchFrom(t, lemon(t), behaviour{body: c.body}, financials)
			require.Equal(t, c.proved, got)
			other := financials
			other.Key.ID = "thing_1"
			_, got = fetchFrom(t, plain, behaviour{body: c.body}, other)
			require.Equal(t, c.plain, got)
		})
	}
}

// A definition may say that the answers of a kind have no id, and what proves
// them.
func TestAnswersWithoutAnID(t *testing.T) {
	d, err := Parse("small.yaml", []byte(strings.Replace(minimal, "    status: status", "    status: status\n    proof: [status, data.kind]\n    deleted: deleted", 1)))
	require.NoError(t, err)
	thing := event.Ref{Key: event.Key{Kind: "thing", ID: "7"}}
	for name, c := range map[string]struct {
		body string
		fate fate.Class
	}{
		"proved":             {`{"status":"open","data":{"kind":"x"}}`, taken},
		"proved, with an id": {`{"id":"7","status":"open","data":{"kind":"x"}}`, taken},
		"a number for an id": {`{"id":7,"status":"open","data":{"kind":"x"}}`, taken},
		"of another":         {`{"id":"8","status":"open","data":{"kind":"x"}}`, fate.Transient},
		"not proved":         {`{"status":"open"}`, fate.Transient},
		"an id alone":        {`{"id":"7"}`, fate.Transient},
		"a stub":             {`{"id":"7","deleted":true}`, taken},
		"a stub of another":  {`{"id":"8","deleted":true}`, fate.Transient},
		"a stub without id":  {`{"deleted":true}`, fate.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := fetchFrom(t, d, behaviour{body: c.body}, thing)
			require.Equal(t, c.fate, got)
		})
	}
}

func TestAMisbehavingProviderOfAList(t *testing.T) {
	for name, c := range map[string]struct {
		answer behaviour
		fate   fate.Class
	}{
		"a page":             {behaviour{body: `{"data":[{"isin":"x"}]}`}, taken},
		"an empty page":      {behaviour{body: `{"data":[]}`}, taken},
		"an error":           {behaviour{body: `{"ok":false,"error":"PRIVATE"}`}, fate.Transient},
		"nothing":            {behaviour{body: `{}`}, fate.Transient},
		"null for the list":  {behaviour{body: `{"data":null}`}, fate.Transient},
		"a bare list":        {behaviour{body: `[]`}, fate.Transient},
		"a cursor of no use": {behaviour{body: `{"data":[],"pagination":{"next_cursor":{}}}`}, fate.Transient},
		"a round":            {behaviour{body: `{"data":[],"pagination":{"next_cursor":"a"}}`}, fate.Transient},
		"cut":                {behaviour{body: `{"data":[]}`, timing: cutOff}, fate.Transient},
		"empty":              {behaviour{body: ""}, fate.Transient},
		"HAL":                {behaviour{body: `{"data":[]}`, contentType: "application/hal+json"}, taken},
		"410":                {behaviour{status: 410, body: `{"message":"x"}`}, fate.Gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := fetchFrom(t, lemon(t), c.answer, positionsRef)
			require.Equal(t, c.fate, got)
		})
	}
}

// Elements are named by whole numbers too, and followed by them.
func TestNumbersAsIDsInLists(t *testing.T) {
	c := server(t, ClientOptions{}, answers(200, `{"data":[{"id":4711},{"id":"4712"},{"id":1.5},{"id":null}]}`))
	p, err := c.ListPage(t.Context(), ListKey{Source: "lemon", Kind: "order", Parents: map[string]string{"account": "a"}}, "", "x")
	require.NoError(t, err)
	require.Len(t, p.Unread, 2)
	require.Equal(t, "4711", p.Items[0].Ref.Key.ID)
	require.Equal(t, "4712", p.Items[1].Ref.Key.ID)
}
