package provider

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ordering has what the definitions of real providers do not have together.
const ordering = `provider: small
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api:
  errors: message
  probe: /me
  pagination: {style: cursor}
  writes: {encoding: json, key: {header: Idempotency-Key, keep: 24h, replays_errors: true, replayed: X-Again}, busy: [409], timeout: 2s}
kinds:
  shop: {get: "/shops/{shop}", list: /shops}
  order:
    get: /shops/{shop}/orders/{order}
    list: /shops/{shop}/orders
    status: status
    history: history
    statuses: [open, done, gone]
    secret: [pin]
    ref: meta.ref
    version: revision
    fields: {write: [note, "meta.*", tags, lines], fixed: [amount, to.iban], clear: null}
    writes:
      create: {post: "/shops/{shop}/orders", id: order.id, unclear: [key, find, ask], find: {match: [amount], at: "history.*.timestamp", absent: again}}
      update: {patch: "/shops/{shop}/orders/{order}", answer: entity, unclear: [repeat]}
      delete: {delete: "/shops/{shop}/orders/{order}", gone: [404], unclear: [repeat]}
      finish: {post: "/shops/{shop}/orders/{order}/finish", fields: [pin, by], secret: [pin], body: {final: true}, done: [done], moot: [gone], unclear: [look]}
      ring: {post: "/shops/{shop}/orders/{order}/ring"}
  coin:
    get: /coins/{coin}
    writes:
      create: {put: "/coins/{coin}", fields: [worth], unclear: [repeat, look]}
events:
  order: {touches: [order]}
`

func ordered(tb testing.TB) *Definition {
	tb.Helper()
	d, err := Parse("small.yaml", []byte(ordering))
	require.NoError(tb, err)
	return d
}

func TestWritesAreCheckedAtLoad(t *testing.T) {
	for name, c := range map[string]struct{ old, new, err string }{
		"an encoding there is not":         {"encoding: json", "encoding: xml", `small.yaml:8: api.writes.encoding: is "xml": want one of json, form`},
		"a key without a header":           {"header: Idempotency-Key, ", "", "small.yaml:8: api.writes.key.header: is missing"},
		"a key without an end":             {", keep: 24h", "", "api.writes.key.keep: is missing"},
		"a header that is none":            {"header: Idempotency-Key", `header: "Idempotency Key"`, `"Idempotency Key" is no name of a header`},
		"busy with success":                {"busy: [409]", "busy: [200]", `api.writes.busy: holds "200": want HTTP statuses from 400 to 499`},
		"an unknown key of writes":         {"timeout: 2s}", "timeouts: 2s}", "small.yaml:8: api.writes.timeouts: is unknown here: want one of encoding, key, busy, timeout"},
		"key without a header anywhere":    {", key: {header: Idempotency-Key, keep: 24h, replays_errors: true, replayed: X-Again}", "", "kinds.order.writes.create.unclear: has key, but no header carries one"},
		"a key that is not used":           {"answer: entity, unclear: [repeat]", "key: {header: K, keep: 2h}, unclear: [repeat]", "kinds.order.writes.update.key: does nothing: key is not among unclear"},
		"look without what to look for":    {"done: [done], moot: [gone], unclear: [look]", "unclear: [look]", "kinds.order.writes.finish.unclear: has look, and nothing says what to look for: give done"},
		"done without look":                {"moot: [gone], unclear: [look]", "moot: [gone], unclear: [ask]", "kinds.order.writes.finish.done: does nothing: look is not among unclear"},
		"done is no status":                {"done: [done]", "done: [ended]", `kinds.order.writes.finish.done: holds "ended", which is not among the statuses of order`},
		"done and moot":                    {"moot: [gone]", "moot: [done]", `kinds.order.writes.finish.moot: holds "done", which is in done too`},
		"repeat makes two":                 {"unclear: [key, find, ask]", "unclear: [repeat, find]", "kinds.order.writes.create.unclear: has repeat: a create that is sent twice makes two"},
		"find without how":                 {", find: {match: [amount], at: \"history.*.timestamp\", absent: again}", "", "kinds.order.writes.create.unclear: has find, and nothing says how"},
		"find by nothing":                  {"find: {match: [amount], at: \"history.*.timestamp\", absent: again}", "find: {match: [amount]}", "kinds.order.writes.create.find.at: is missing"},
		"find by what is not sent":         {"match: [amount]", "match: [sum]", `kinds.order.writes.create.find.match: holds "sum", which is no field of the body`},
		"find by a ref there is no room":   {"    ref: meta.ref\n    version: revision\n    fields: {write: [note, \"meta.*\", tags, lines], fixed: [amount, to.iban], clear: null}\n    writes:\n      create: {post: \"/shops/{shop}/orders\", id: order.id, unclear: [key, find, ask], find: {match: [amount], at: \"history.*.timestamp\", absent: again}}", "    fields: {write: [note], fixed: [amount]}\n    writes:\n      create: {post: \"/shops/{shop}/orders\", id: id, unclear: [find, ask], find: {absent: again}}", "kinds.order.writes.create.find.match: is missing: the kind has no ref in its states"},
		"find asks for what is not sent":   {"find: {match: [amount]", "find: {query: {of: \"{body.sum}\"}, match: [amount]", "kinds.order.writes.create.find.query: has the placeholder {body.sum}, which is no field of the body"},
		"find asks for anything":           {"find: {match: [amount]", "find: {query: {of: \"{shop}\"}, match: [amount]", "kinds.order.writes.create.find.query: has the placeholder {shop}: want {ref}, or {body.FIELD}"},
		"find of what is not listed":       {"fields: [worth], unclear: [repeat, look]", "fields: [worth], unclear: [find], find: {match: [worth], at: at}", "kinds.coin.writes.create.find: does nothing without list"},
		"ask is not the last":              {"[key, find, ask]", "[ask, key, find]", "kinds.order.writes.create.unclear: has ask before others"},
		"a strategy there is not":          {"[key, find, ask]", "[key, find, pray]", `kinds.order.writes.create.unclear: holds "pray": want some of key, repeat, look, find, ask`},
		"no strategy":                      {"unclear: [look]}", "unclear: []}", "kinds.order.writes.finish.unclear: is empty"},
		"a placeholder that nothing fills": {"patch: \"/shops/{shop}/orders/{order}\"", "patch: \"/shops/{shop}/orders/{order}/{line}\"", "kinds.order.writes.update.patch: has the placeholder {line}, which nothing fills: want those of the kind's get, {shop}, {order}"},
		"an id before there is one":        {"post: \"/shops/{shop}/orders\"", "post: \"/shops/{shop}/orders/{order}\"", "kinds.order.writes.create.post: needs {order}, the id of what is not there yet"},
		"no id":                            {"patch: \"/shops/{shop}/orders/{order}\"", "patch: \"/shops/{shop}/orders\"", "kinds.order.writes.update.patch: does not have {order}: the path must say which order is meant"},
		"two methods":                      {"patch: \"/shops/{shop}/orders/{order}\"", "post: \"/shops/{shop}/orders/{order}\", patch: \"/shops/{shop}/orders/{order}\"", "kinds.order.writes.update.patch: is a second method"},
		"no method":                        {"{patch: \"/shops/{shop}/orders/{order}\", ", "{", "kinds.order.writes.update: has no path: want one of post, put, patch and delete"},
		"no id in the answer":              {"id: order.id, ", "", "kinds.order.writes.create.id: is missing"},
		"id of an update":                  {"answer: entity", "id: id", "kinds.order.writes.update.id: is for create only"},
		"gone is no success of an update":  {"answer: entity", "gone: [404]", "kinds.order.writes.update.gone: is for delete only"},
		"a delete with a body":             {"gone: [404]", "fields: [why]", "kinds.order.writes.delete.delete: has a body: a DELETE is sent without one"},
		"a secret that is not sent":        {"secret: [pin], body", "secret: [password], body", `kinds.order.writes.finish.secret: holds "password", which is no field of this body`},
		"a body that is no mapping":        {"body: {final: true}", "body: [final]", "kinds.order.writes.finish.body: is a list: want a mapping"},
		"a body that JSON has not":         {"body: {final: true}", "body: {final: .inf}", "kinds.order.writes.finish.body: holds what JSON has not"},
		"writes of a list":                 {"  coin:\n    get: /coins/{coin}", "  coin:\n    shape: list\n    list: /coins", "kinds.coin.writes: is not for a list"},
		"no op":                            {"writes:\n      create: {put: \"/coins/{coin}\", fields: [worth], unclear: [repeat, look]}", "writes: {}", "kinds.coin.writes: is empty"},
		"fields without writes":            {"shop: {get: \"/shops/{shop}\", list: /shops}", "shop: {get: \"/shops/{shop}\", list: /shops, ref: a.b, fields: {write: [a]}}", "kinds.shop.ref: does nothing without writes"},
		"nothing to change":                {"write: [note, \"meta.*\", tags, lines], ", "", "kinds.order.writes.update: has no field that it could change"},
		"in write and in fixed":            {"fixed: [amount, to.iban]", "fixed: [amount, note]", `kinds.order.fields.fixed: holds "note", which is in write too`},
		"a star in the middle":             {"\"meta.*\"", "\"meta.*.a\"", `kinds.order.fields.write: holds "meta.*.a": a "*" stands at the end only`},
		"the ref is a field":               {"\"meta.*\"", "meta.ref", `kinds.order.writes.create: has the field "meta.ref", where the ref is put`},
		"a form has no null":               {"encoding: json", "encoding: form", "kinds.order.fields.clear: is null, which a form cannot say"},
		"clear is a list":                  {"clear: null", "clear: []", `kinds.order.fields.clear: is a list: want "" or another text, or null`},
		"own_id of an update":              {"answer: entity", "own_id: id", "kinds.order.writes.update.own_id: is for create only"},
		"an unknown key of an op":          {"gone: [404]", "went: [404]", "kinds.order.writes.delete.went: is unknown here: want one of "},
		"a name of an op":                  {"      ring:", "      Ring:", "kinds.order.writes.Ring: is no name of an operation"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, ordering, c.old)
			_, err := Parse("small.yaml", []byte(strings.Replace(ordering, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.err)
		})
	}
	t.Run("writes that nothing has", func(t *testing.T) {
		_, err := Parse("small.yaml", []byte(strings.Replace(minimal, "probe: /me", "probe: /me, writes: {encoding: json}", 1)))
		require.ErrorContains(t, err, "small.yaml:4: api: has writes, and no kind has any")
	})
}

func TestDefaultsOfWrites(t *testing.T) {
	d := ordered(t)
	k := d.Kind("order")
	require.Equal(t, []Strategy{ByAsk}, mustOp(t, d, "order", "ring").Unclear[len(mustOp(t, d, "order", "ring").Unclear)-1:])
	require.Equal(t, []Strategy{ByKey, ByAsk}, mustOp(t, d, "order", "ring").Unclear, "a POST takes the key of all requests")
	require.Equal(t, defaultSettle, k.Op("finish").Settle)
	require.Equal(t, "2s", d.WriteTimeout().String())
	require.Nil(t, d.Kind("shop").Ops())
	require.Nil(t, k.Op("moon"))
	require.Equal(t, "/shops/{shop}/orders/{order}/finish", k.Op("finish").Path())
	require.True(t, k.Op("create").FindAgain)
	require.True(t, k.Op("create").KeyHolds(now, now.Add(23*time.Hour-1)))
	require.False(t, k.Op("create").KeyHolds(now, now.Add(23*time.Hour)), "an hour before the provider forgets it")
	require.False(t, k.Op("finish").KeyHolds(now, now), "it sends none")
	require.True(t, (&Op{Keep: 30 * time.Minute}).KeyHolds(now, now.Add(14*time.Minute)))
	require.False(t, (&Op{Keep: 30 * time.Minute}).KeyHolds(now, now.Add(15*time.Minute)))
	require.True(t, k.Op("create").ReplaysErrors)
	require.True(t, k.Op("update").Shows)
	require.Equal(t, "r", k.RefIn([]byte(`{"meta":{"ref":"r"}}`)))
	require.Empty(t, k.RefIn([]byte(`{"meta":{"ref":7}}`)))
	require.Empty(t, d.Kind("shop").RefIn([]byte(`{"meta":{"ref":"r"}}`)))
	v, ok := k.VersionIn([]byte(`{"revision":12}`))
	require.True(t, ok)
	require.Equal(t, int64(12), v)
	_, ok = k.VersionIn([]byte(`{"revision":1.5}`))
	require.False(t, ok)
}

func mustOp(tb testing.TB, d *Definition, kind, op string) *Op {
	tb.Helper()
	o, err := d.Op(kind, op)
	require.NoError(tb, err)
	return o
}

var inShop = map[string]string{"shop": "s 1"}

func TestRender(t *testing.T) {
	d := ordered(t)
	for name, c := range map[string]struct {
		cmd  Command
		want Request
	}{
		"a create": {
			Command{Kind: "order", Op: "create", Ref: "r", Parents: inShop, Key: "k", Body: []byte(`{ "amount" : 1.10, "to":{"iban":"DE"}, "tags":["a","\u00e4\n"], "lines":[{"n":1e3}] }`)},
			Request{Method: "POST", Path: "/shops/s%201/orders", Type: "application/json", Key: "k", KeyHeader: "Idempotency-Key",
				Bytes: []byte(`{"amount":1.10,"to":{"iban":"DE"},"tags":["a","ä\n"],"lines":[{"n":1e3}],"meta":{"ref":"r"}}`)},
		},
		"beside other metadata": {
			Command{Kind: "order", Op: "create", Ref: "r", Parents: inShop, Key: "k", Body: []byte(`{"meta":{"a":"b"}}`)},
			Request{Method: "POST", Path: "/shops/s%201/orders", Type: "application/json", Key: "k", KeyHeader: "Idempotency-Key", Bytes: []byte(`{"meta":{"a":"b","ref":"r"}}`)},
		},
		"an update unsets": {
			Command{Kind: "order", Op: "update", ID: "o", Parents: inShop, Key: "k", Body: []byte(`{"note":null,"tags":[]}`)},
			Request{Method: "PATCH", Path: "/shops/s%201/orders/o", Type: "application/json", Bytes: []byte(`{"note":null,"tags":[]}`)},
		},
		"what is always there": {
			Command{Kind: "order", Op: "finish", ID: "o", Parents: inShop, Body: []byte(`{"pin":"1"}`)},
			Request{Method: "POST", Path: "/shops/s%201/orders/o/finish", Type: "application/json", Bytes: []byte(`{"pin":"1","final":true}`)},
		},
		"an action without fields": {
			Command{Kind: "order", Op: "ring", ID: "o", Parents: inShop, Key: "k"},
			Request{Method: "POST", Path: "/shops/s%201/orders/o/ring", Key: "k", KeyHeader: "Idempotency-Key"},
		},
		"a delete": {
			Command{Kind: "order", Op: "delete", ID: "o", Parents: inShop},
			Request{Method: "DELETE", Path: "/shops/s%201/orders/o"},
		},
		"an id of our own in the path": {
			Command{Kind: "coin", Op: "create", Ref: "c/1", Body: []byte(`{"worth":2}`)},
			Request{Method: "PUT", Path: "/coins/c%2F1", Type: "application/json", Bytes: []byte(`{"worth":2}`)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := d.Render(c.cmd, bound)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestRenderSaysWhatIsWrong(t *testing.T) {
	small, stripe := ordered(t), stripe(t)
	create := func(body string) Command {
		return Command{Kind: "order", Op: "create", Ref: "r", Parents: inShop, Key: "k", Body: []byte(body)}
	}
	change := func(body string) Command {
		return Command{Kind: "order", Op: "update", ID: "o", Parents: inShop, Body: []byte(body)}
	}
	for name, c := range map[string]struct {
		d       *Definition
		cmd     Command
		at, say string
	}{
		"kind":                     {small, Command{Kind: "moon", Op: "create"}, "kind", `is "moon", which provider small does not have`},
		"op":                       {small, Command{Kind: "order", Op: "explode"}, "op", `is "explode": of order there are create, update, delete, finish, ring`},
		"read only":                {small, Command{Kind: "shop", Op: "create"}, "op", "shop is read only"},
		"no ref":                   {small, Command{Kind: "order", Op: "create", Parents: inShop}, "ref", "id is empty: want a name of your own for the order"},
		"an id of what is not":     {small, Command{Kind: "order", Op: "create", ID: "o", Ref: "r", Parents: inShop}, "id", "what is created has no id yet"},
		"no id":                    {small, Command{Kind: "order", Op: "update", Parents: inShop}, "id", "id is empty"},
		"a step as id":             {small, Command{Kind: "order", Op: "update", ID: "..", Parents: inShop}, "id", "is a path step"},
		"no parent":                {small, Command{Kind: "order", Op: "create", Ref: "r"}, "parents.shop", "id is empty"},
		"a parent of others":       {small, Command{Kind: "order", Op: "create", Ref: "r", Parents: map[string]string{"shop": "s", "account": "a"}}, "parents.account", "is no parent of an order: want shop"},
		"no JSON":                  {small, create(`{`), "body", "is no JSON"},
		"a list":                   {small, create(`[]`), "body", "is array: want an object"},
		"a name twice":             {small, create(`{"amount":1,"amount":2}`), "body.amount", "occurs twice"},
		"a name twice, below":      {small, create(`{"lines":[{"a":1,"a":2}]}`), "body.lines.0.a", "occurs twice"},
		"half a pair":              {small, create(`{"note":"\ud800"}`), "body.note", "half a surrogate pair"},
		"a field there is not":     {small, create(`{"colour":"red"}`), "body.colour", "is no field of create: want some of note, meta.*, tags, lines, amount, to.iban"},
		"a field below":            {small, create(`{"to":{"bic":"X"}}`), "body.to.bic", "is no field of create"},
		"a value above fields":     {small, create(`{"to":"DE"}`), "body.to", "is a value: want an object"},
		"null above fields":        {small, change(`{"meta":null}`), "body.meta", "is a value: want an object"},
		"what is fixed":            {small, change(`{"amount":1}`), "body.amount", "is set when the order is created, and never again"},
		"nothing":                  {small, change(`{}`), "body", "is empty: there is nothing to change"},
		"null in a create":         {small, create(`{"note":null}`), "body.note", "is null: leave out what is not to be set"},
		"the ref":                  {small, create(`{"meta":{"ref":"x"}}`), "body.meta.ref", "is where the ref is put: leave it out"},
		"what is always there":     {small, Command{Kind: "order", Op: "finish", ID: "o", Parents: inShop, Body: []byte(`{"final":false}`)}, "body.final", "is no field of finish"},
		"a body of a delete":       {small, Command{Kind: "order", Op: "delete", ID: "o", Parents: inShop, Body: []byte(`{"a":1}`)}, "body.a", "is no field of delete: want some of none"},
		"a key that is too long":   {small, Command{Kind: "order", Op: "ring", ID: "o", Parents: inShop, Key: strings.Repeat("k", 256)}, "key", "want one of 1 to 255 bytes"},
		"a key for no header":      {small, Command{Kind: "order", Op: "ring", ID: "o", Parents: inShop, Key: "a\nb"}, "key", "want one of 1 to 255 bytes"},
		"a ref of no kind":         {small, create(`{"note":{"$ref":"moon/1"}}`), "body.note", `names "moon", which is no kind that is created`},
		"a ref of what is read":    {small, create(`{"note":{"$ref":"shop/1"}}`), "body.note", `names "shop", which is no kind that is created`},
		"a ref without a kind":     {small, create(`{"note":{"$ref":"1"}}`), "body.note", "is no ref"},
		"a ref and more":           {small, create(`{"lines":[{"$ref":"order/1","a":1}]}`), "body.lines.0", "is no ref"},
		"a ref of an object":       {small, create(`{"meta":{"$ref":"order/1"}}`), "body.meta.$ref", "is where no ref can be"},
		"an empty object, as form": {stripe, Command{Kind: "customer", Op: "update", ID: "c", Body: []byte(`{"address":{}}`)}, "body.address", "is an empty object, which a form cannot say"},
		"an empty list, as form":   {stripe, Command{Kind: "product", Op: "create", Ref: "r", Key: "k", Body: []byte(`{"images":[]}`)}, "body.images", "is array: leave out what is not to be set"},
		"a name with brackets":     {stripe, Command{Kind: "product", Op: "update", ID: "p", Body: []byte(`{"metadata":{"a[b]":"c"}}`)}, "body.metadata.a[b]", "has a name that a form cannot say"},
		"own id given":             {stripe, Command{Kind: "product", Op: "create", Ref: "r", Key: "k", Body: []byte(`{"name":"a","id":"x"}`)}, "body.id", "is no field of create"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.d.Render(c.cmd, bound)
			var wrong *InvalidError
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, c.at, wrong.At)
			require.Contains(t, wrong.Reason, c.say)
			if name != "a key that is too long" && name != "a key for no header" {
				require.Equal(t, err, c.d.Check(c.cmd), "Check says the same without refs and key")
			}
		})
	}
}

// A command waits for all refs that are not bound yet, and is whole once they are.
func TestRefsAreResolved(t *testing.T) {
	d := ordered(t)
	cmd := Command{Kind: "order", Op: "update", ID: "o", Parents: inShop, Body: []byte(`{"note":{"$ref":"coin/a/b"},"tags":["x",{"$ref":"order/2"},{"$ref":"coin/a/b"}]}`)}
	known := map[RefName]string{}
	lookup := func(r RefName) (string, bool) { id, ok := known[r]; return id, ok }
	_, err := d.Render(cmd, lookup)
	var unbound *UnboundError
	require.ErrorAs(t, err, &unbound)
	require.Equal(t, []RefName{{"coin", "a/b"}, {"order", "2"}}, unbound.Refs)
	require.EqualError(t, err, "no id is known yet of coin/a/b, order/2")
	require.NoError(t, d.Check(cmd))
	known[RefName{"coin", "a/b"}] = "coin_1"
	_, err = d.Render(cmd, lookup)
	require.ErrorAs(t, err, &unbound)
	require.Equal(t, []RefName{{"order", "2"}}, unbound.Refs)
	known[RefName{"order", "2"}] = "ord_2"
	req, err := d.Render(cmd, lookup)
	require.NoError(t, err)
	require.JSONEq(t, `{"note":"coin_1","tags":["x","ord_2","coin_1"]}`, string(req.Bytes))
}

func TestSecretsAreCutOut(t *testing.T) {
	d := ordered(t)
	o := mustOp(t, d, "order", "finish")
	body := []byte(`{"pin":"1234","by":"me"}`)
	require.Equal(t, `{"by":"me"}`, string(o.Redact(body)))
	req, err := d.Render(Command{Kind: "order", Op: "finish", ID: "o", Parents: inShop, Body: body}, bound)
	require.NoError(t, err)
	require.NotContains(t, string(o.RedactRequest(req).Bytes), "1234")
	require.Contains(t, string(o.RedactRequest(req).Bytes), `"by":"me"`)
	require.Contains(t, string(req.Bytes), "1234", "what is sent is whole")
	require.Nil(t, o.Redact([]byte("{")), "what cannot be read is not kept")

	form := `provider: small
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me, writes: {encoding: form}}
kinds:
  thing:
    get: /things/{thing}
    writes: {sign: {post: "/things/{thing}/sign", fields: [sca, name], secret: [sca]}}
events: {}
`
	f, err := Parse("form.yaml", []byte(form))
	require.NoError(t, err)
	req, err = f.Render(Command{Kind: "thing", Op: "sign", ID: "t", Body: []byte(`{"sca":{"a":["x","y"]},"name":"n [1]"}`)}, bound)
	require.NoError(t, err)
	values, err := url.ParseQuery(string(req.Bytes))
	require.NoError(t, err)
	require.Equal(t, url.Values{"sca[a][0]": {"x"}, "sca[a][1]": {"y"}, "name": {"n [1]"}}, values)
	require.Equal(t, "name=n+%5B1%5D", string(mustOp(t, f, "thing", "sign").RedactRequest(req).Bytes))
}

// FuzzRender: for any command the answer is a request that says exactly what the command
// says, or an error with the path of what is wrong; and the same command is the same
// request.
func FuzzRender(f *testing.F) {
	f.Add("product", "create", "sku-42", []byte(`{"name":"a & b","metadata":{"x":"y"},"images":["1","2"]}`))
	f.Add("product", "update", "sku-42", []byte(`{"description":null,"images":[],"name":1.10}`))
	f.Add("order", "update", "o", []byte(`{"note":{"$ref":"order/1"},"tags":[null,true,{"a":[{}]}]}`))
	f.Add("order", "create", "..", []byte(`{"amount":"\ud83d\ude00","meta":{"ref":"x"}}`))
	f.Add("order", "finish", "a/b?c#d", []byte(`{"pin":"\u0000\"\\"}`))
	small, stripe := ordered(f), stripe(f)
	f.Fuzz(func(t *testing.T, kind, op, id string, body []byte) {
		for _, d := range []*Definition{small, stripe} {
			cmd := Command{Kind: kind, Op: op, Body: body, Key: "k"}
			if op == OpCreate {
				cmd.Ref = id
			} else {
				cmd.ID = id
			}
			if d == small {
				cmd.Parents = map[string]string{"shop": "s"}
			}
			req, err := d.Render(cmd, bound)
			if err != nil {
				var wrong *InvalidError
				require.ErrorAs(t, err, &wrong)
				require.NotEmpty(t, wrong.At)
				continue
			}
			again, err := d.Render(cmd, bound)
			require.NoError(t, err)
			require.Equal(t, req, again)
			requireSays(t, d, cmd, req)
		}
	})
}
