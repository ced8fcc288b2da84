package provider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// minimal is the smallest good definition; tests break it line by line.
const minimal = `provider: small
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me}
kinds:
  thing:
    get: /things/{thing}
    status: status
    statuses: [open, done]
  totals: {shape: singleton, get: "/things/{thing}/totals", every: 5s}
events:
  thing: {touches: [thing, "*"], derived: [totals]}
`

func TestParseDefaults(t *testing.T) {
	d, err := Parse("small.yaml", []byte(minimal))
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, d.signature.tolerance)
	require.Equal(t, "bearer", d.api.auth.style)
	require.Equal(t, 100, d.api.pages.limit)
	require.Equal(t, "cursor", d.api.pages.style)
	k := d.Kind("thing")
	require.Equal(t, ShapeEntity, k.Shape)
	require.Equal(t, "thing", k.IDKey)
	require.Equal(t, 5*time.Second, k.GoneKnown)
	require.Equal(t, 10*time.Minute, k.GoneUnknown)
	require.Equal(t, 2*time.Second, k.ReadLag)
	require.Zero(t, k.VerifyAfter)
	require.False(t, k.Listable())
	require.Nil(t, d.Kind("moon"))
	require.Equal(t, []*Kind{k, d.Kind("totals")}, d.Kinds())
}

func TestParseErrorsNameLineAndKey(t *testing.T) {
	for name, c := range map[string]struct{ old, new, err string }{
		"unknown key":              {"provider: small", "provider: small\ncolour: red", "small.yaml:2: colour: is unknown here"},
		"unknown key below":        {"probe: /me", "probe: /me, colour: red", "small.yaml:4: api.colour: is unknown here: want one of auth,"},
		"webhooks without types":   {"probe: /me", "probe: /me, webhooks: {path: /w, url: url}", "small.yaml:4: api.webhooks: wants url and types"},
		"webhooks elsewhere":       {"probe: /me", "probe: /me, webhooks: {path: \"//w\", url: url, types: e}", "small.yaml:4: api.webhooks.path: is \"//w\": want a path"},
		"unknown key of a kind":    {"    status: status", "    state: status", "small.yaml:8: kinds.thing.state: is unknown here"},
		"unknown key of a family":  {"derived: [totals]", "derives: [totals]", "small.yaml:12: events.thing.derives: is unknown here"},
		"a key twice":              {"    status: status", "    status: status\n    status: state", "kinds.thing.status: occurs twice"},
		"a kind twice":             {"  totals:", "  thing:", "small.yaml:10: kinds.thing: occurs twice"},
		"no provider":              {"provider: small", "", "small.yaml:2: provider: is missing"},
		"provider with a slash":    {"provider: small", "provider: a/b", "small.yaml:1: provider: is \"a/b\""},
		"provider is a list":       {"provider: small", "provider: [small]", "small.yaml:1: provider: is a list: want text"},
		"no signature":             {"signature: {scheme: timestamped-hmac, headers: [X-Sig]}", "", "signature: is missing"},
		"no scheme":                {"scheme: timestamped-hmac, ", "", "small.yaml:2: signature.scheme: is missing"},
		"unknown scheme":           {"timestamped-hmac", "magic", "small.yaml:2: signature.scheme: is \"magic\": want one of standard-webhooks, timestamped-hmac"},
		"no headers":               {"[X-Sig]", "[]", "small.yaml:2: signature.headers: is missing"},
		"headers are text":         {"[X-Sig]", "X-Sig", "small.yaml:2: signature.headers: is \"X-Sig\": want a list"},
		"no header name":           {"[X-Sig]", "[\"X Sig\"]", "small.yaml:2: signature.headers: \"X Sig\" is no name of a header"},
		"header twice":             {"[X-Sig]", "[X-Sig, X-Sig]", "signature.headers: holds \"X-Sig\" twice"},
		"header of the scheme":     {"scheme: timestamped-hmac", "scheme: standard-webhooks", "names of this scheme end in -signature"},
		"bad tolerance":            {"[X-Sig]}", "[X-Sig], tolerance: 5}", "small.yaml:2: signature.tolerance: is \"5\": want a time"},
		"negative tolerance":       {"[X-Sig]}", "[X-Sig], tolerance: -5m}", "small.yaml:2: signature.tolerance: is \"-5m\""},
		"envelope is text":         {"envelope: {id: id, type: type, context: context}", "envelope: id", "small.yaml:3: envelope: is \"id\": want a mapping"},
		"no event id":              {"id: id, ", "", "small.yaml:3: envelope.id: is missing: want the place of the event's id"},
		"the old id_header":        {"id: id, ", "id_header: x-id, ", "small.yaml:3: envelope.id_header: is written in another way: id: header:x-id"},
		"no event type":            {"type: type, ", "", "small.yaml:3: envelope.type: is missing"},
		"no context":               {", context: context", "", "small.yaml:3: envelope.context: is missing: want the path of an object of ids; or object, or ids"},
		"half an object":           {"context: context", "object: {type: data.type}", "small.yaml:3: envelope.object.id: is missing"},
		"context and object":       {"context: context", "context: context, object: {id: data.id}", "envelope.context: is the path of the ids: want either context or object"},
		"empty step in a path":     {"context: context", "context: a..b", "small.yaml:3: envelope.context: path \"a..b\" has an empty step"},
		"star in a path":           {"context: context", "context: \"a.*\"", "envelope.context: is \"a.*\": a path to one value"},
		"unknown time":             {"context: context", "context: context, time: moon", "envelope.time: is \"moon\": want one of rfc3339, unix, unix_ms"},
		"no error style":           {"errors: message, ", "", "small.yaml:4: api.errors: is missing"},
		"unknown error style":      {"errors: message", "errors: loud", "small.yaml:4: api.errors: is \"loud\": want one of error-type, message, problem"},
		"identity elsewhere":       {"probe: /me", "probe: /me, identity: {path: \"//w\", value: id}", "small.yaml:4: api.identity.path: is \"//w\": want a path"},
		"identity without value":   {"probe: /me", "probe: /me, identity: {path: /me}", "small.yaml:4: api.identity.value: is missing"},
		"no probe":                 {", probe: /me", "", "small.yaml:4: api.probe: is missing"},
		"probe on another host":    {"/me", "//example.com/me", "api.probe: is \"//example.com/me\": want a path"},
		"probe without a slash":    {"/me", "me", "api.probe: is \"me\": want a path"},
		"unknown auth":             {"probe: /me", "probe: /me, auth: none", "api.auth: is \"none\": want one of bearer, basic"},
		"bad header name":          {"probe: /me", "probe: /me, headers: {\"a b\": c}", "api.headers: \"a b\" is no name of a header"},
		"bad header value":         {"probe: /me", "probe: /me, headers: {a: \"b\\nc\"}", "small.yaml:4: api.headers.a: is \"b\\nc\": no value"},
		"unknown pagination":       {"probe: /me", "probe: /me, pagination: {style: none}", "api.pagination.style: is \"none\": want one of cursor, last-id, link, next-url, offset, page, whole"},
		"limit of zero":            {"probe: /me", "probe: /me, pagination: {limit: 0}", "api.pagination.limit: is \"0\": want a whole number"},
		"limit in words":           {"probe: /me", "probe: /me, pagination: {limit: many}", "api.pagination.limit: is \"many\""},
		"events without path":      {"probe: /me", "probe: /me, events: {since: x}", "api.events.path: is \"\": want a path"},
		"limit set twice":          {"probe: /me", "probe: /me, events: {path: /e, query: {limit: \"5\"}}", "api.events.query: holds \"limit\", which api.pagination sets"},
		"since set twice":          {"probe: /me", "probe: /me, events: {path: /e, since: from, query: {from: \"5\"}}", "api.events.query: holds \"from\", which the key since sets"},
		"cursor of a kind":         {"    status: status", "    status: status\n    list: /things\n    query: {cursor: a}", "kinds.thing.query: holds \"cursor\", which api.pagination sets"},
		"no kinds":                 {minimal[strings.Index(minimal, "kinds:"):strings.Index(minimal, "events:")], "", "kinds: is missing"},
		"kind with a slash":        {"  thing:\n", "  a/b:\n", "small.yaml:6: kinds.a/b: is no name of a kind"},
		"kind is empty":            {"  totals: {shape: singleton, get: \"/things/{thing}/totals\", every: 5s}", "  totals:", "small.yaml:10: kinds.totals: is empty: want a mapping"},
		"unknown shape":            {"shape: singleton", "shape: round", "small.yaml:10: kinds.totals.shape: is \"round\": want one of entity, singleton, list"},
		"no get":                   {"    get: /things/{thing}\n", "", "small.yaml:6: kinds.thing.get: is missing"},
		"get without id":           {"/things/{thing}\n", "/things\n", "small.yaml:7: kinds.thing.get: has no placeholder"},
		"placeholder {id}":         {"/things/{thing}\n", "/things/{id}\n", "small.yaml:7: kinds.thing.get: has the placeholder {id}: write the name under which events carry the id of a thing, as {thing}"},
		"probe with placeholder":   {"probe: /me", "probe: \"/things/{thing}\"", "small.yaml:4: api.probe: is \"/things/{thing}\": nothing fills a placeholder here"},
		"events with placeholder":  {"probe: /me", "probe: /me, events: {path: \"/{thing}/events\"}", "api.events.path: is \"/{thing}/events\": nothing fills"},
		"header never filled in":   {"probe: /me", "probe: /me, headers: {a: \"{key}\"}", "api.headers.a: is \"{key}\": only {principal} and {justification} are filled in"},
		"implies without statuses": {"  totals: {shape: singleton, get: \"/things/{thing}/totals\", every: 5s}\nevents:\n", "  totals: {shape: singleton, get: \"/things/{thing}/totals\", every: 5s}\n  plain: {get: \"/plain/{plain}\"}\nevents:\n  plain: {touches: [plain], implies: suffix}\n", "events.plain.implies: says nothing: give plain its statuses"},
		"proof of a list":          {"shape: singleton, get: \"/things/{thing}/totals\"", "shape: list, list: \"/things/{thing}/totals\", proof: [a]", "kinds.totals.proof: is not for a list"},
		"proof of many":            {"    status: status", "    status: status\n    proof: [\"*.a\"]", "kinds.thing.proof: holds \"*.a\": a path to one value"},
		"placeholder twice":        {"/things/{thing}\n", "/things/{thing}/{thing}\n", "kinds.thing.get: is \"/things/{thing}/{thing}\": want each placeholder once"},
		"placeholder left open":    {"/things/{thing}\n", "/things/{thing\n", "want each placeholder once and as {name}"},
		"placeholder empty":        {"/things/{thing}\n", "/things/{}\n", "want each placeholder once and as {name}"},
		"brace too many":           {"/things/{thing}\n", "/things/{thing}}\n", "a } has no {"},
		"parameters in a path":     {"/things/{thing}\n", "/things/{thing}?a=b\n", "parameters go into query"},
		"list with other parents":  {"    status: status", "    status: status\n    list: /a/{b}/things", "small.yaml:9: kinds.thing.list: has the placeholders [\"b\"]"},
		"list for a singleton":     {"every: 5s", "every: 5s, list: /x", "kinds.totals.list: is not for a singleton"},
		"unordered singleton":      {"every: 5s", "every: 5s, unordered: true", "kinds.totals.unordered: is for lists only"},
		"element of no list":       {"every: 5s", "every: 5s, element: thing", "kinds.totals.element: is for lists without parents only"},
		"element of a list under":  {"  totals:", "  parts: {shape: list, list: \"/things/{thing}/parts\", element: part}\n  totals:", "kinds.parts.element: is for lists without parents only"},
		"element of nothing":       {"  totals:", "  boxes: {shape: list, list: /boxes, element: box}\n  totals:", "kinds.boxes: has the element \"box\", which is the parent of no kind"},
		"element without a list":   {"    status: status", "    status: status\n    element: partial", "small.yaml:9: kinds.thing.element: does nothing without list"},
		"element of other words":   {"    status: status", "    status: status\n    list: /things\n    element: short", "small.yaml:10: kinds.thing.element: is \"short\": want one of whole, partial"},
		"flag in words":            {"every: 5s", "every: 5s, unordered: maybe", "kinds.totals.unordered: is \"maybe\": want true or false"},
		"statuses without source":  {"    status: status\n", "", "kinds.thing.statuses: has no source"},
		"terminal that is none":    {"[open, done]", "[open, done]\n    terminal: [gone]", "small.yaml:10: kinds.thing.terminal: holds \"gone\""},
		"secret of every element":  {"    status: status", "    status: status\n    secret: [\"a.*\"]", "kinds.thing.secret: \"a.*\" ends in"},
		"query is text":            {"    status: status", "    status: status\n    query: a=b", "kinds.thing.query: is \"a=b\": want a mapping"},
		"read_lag alone":           {"    status: status", "    status: status\n    read_lag: 1s", "kinds.thing.read_lag: does nothing"},
		"unknown gone_after":       {"    status: status", "    status: status\n    gone_after: {ever: 1s}", "kinds.thing.gone_after.ever: is unknown here"},
		"no events":                {minimal[strings.Index(minimal, "events:"):], "", "events: is missing"},
		"no touches":               {"touches: [thing, \"*\"], ", "", "small.yaml:12: events.thing.touches: is missing"},
		"touches an unknown kind":  {"[thing, \"*\"]", "[moon]", "small.yaml:12: events.thing.touches: holds \"moon\""},
		"touches first of unknown": {"[thing, \"*\"]", "[{first_of: [thing, moon]}]", "events.thing.touches.first_of: holds \"moon\", which is no kind"},
		"touches first of none":    {"[thing, \"*\"]", "[{first_of: []}]", "events.thing.touches.first_of: is missing"},
		"derived kind unknown":     {"[totals]", "[moon]", "events.thing.derived: holds \"moon\", which is no kind"},
		"derived without every":    {"[totals]", "[thing]", "events.thing.derived: holds \"thing\", which has no every"},
		"implies a word":           {"derived: [totals]", "implies: prefix", "events.thing.implies: is \"prefix\""},
		"implies an unknown state": {"derived: [totals]", "implies: {made: moon}", "small.yaml:12: events.thing.implies.made: is \"moon\", which is no status of thing"},
		"implies of nothing":       {"[thing, \"*\"], derived: [totals]", "[\"*\"], implies: suffix", "events.thing.implies: needs one kind"},
		"an alias":                 {"provider: small", "provider: &a small\nevents: *a", "small.yaml:2: events: is an alias"},
		"two documents":            {"provider: small", "provider: small\n---\na: b", "want one YAML document"},
		"not YAML":                 {"provider: small", "provider: {", "small.yaml: yaml: "},
		"a list":                   {minimal, "[a]", "small.yaml:1: definition: is a list: want a mapping"},
		"nothing":                  {minimal, "", "small.yaml: the file is empty"},
		"a comment":                {minimal, "# nothing", "small.yaml: the file is empty"},
		"a dash":                   {minimal, "---\n", "is empty: want a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, minimal, c.old, "the test is wrong")
			_, err := Parse("small.yaml", []byte(strings.Replace(minimal, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.err)
		})
	}
}

func TestParseReportsAllErrorsAtOnce(t *testing.T) {
	broken := strings.NewReplacer("probe: /me", "probe: me", "type: type", "kind: type", "every: 5s", "every: soon").Replace(minimal)
	_, err := Parse("small.yaml", []byte(broken))
	for _, want := range []string{":3: envelope.type", ":3: envelope.kind", ":4: api.probe", ":10: kinds.totals.every"} {
		require.ErrorContains(t, err, want)
	}
	_, err = Parse("small.yaml", []byte(strings.Repeat("a: b\n", 1000)))
	require.Less(t, len(err.Error()), 5000)
}

func TestLoad(t *testing.T) {
	d, err := Load("lemon")
	require.NoError(t, err)
	require.Equal(t, "lemon", d.Name)
	require.Equal(t, []string{"lemon", "stripe"}, Builtins())

	_, err = Load("citrus")
	require.ErrorContains(t, err, `no built-in provider "citrus": there are lemon, stripe`)
	_, err = Load("../etc/passwd")
	require.ErrorIs(t, err, os.ErrNotExist)

	file := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(file, []byte("provider: [\n"), 0o600))
	_, err = Load(file)
	require.ErrorContains(t, err, file)
	_, err = Load("absent.yml")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// An event with one object names nothing but that.
func TestKindsThatAnObjectCannotName(t *testing.T) {
	const whole = `provider: small
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, object: {id: data.id, type: data.object}}
api: {errors: message, probe: /me, pagination: {style: cursor}}
kinds:
  thing: {get: "/things/{thing}", list: /things}
  part: {get: "/things/{thing}/parts/{part}", list: "/things/{thing}/parts"}
  totals: {shape: singleton, get: "/things/{thing}/totals", every: 5s}
  all: {shape: list, list: /all, every: 5s}
events:
  thing: {touches: [thing], derived: [totals, all]}
`
	_, err := Parse("small.yaml", []byte(whole))
	require.NoError(t, err)
	_, err = Parse("small.yaml", []byte(whole+"  part: {touches: [part]}\n"))
	require.ErrorContains(t, err, `small.yaml:12: events.part.touches: holds "part", whose path needs {thing}: an event with one object names no parents`)
	_, err = Parse("small.yaml", []byte(whole+"  other: {touches: [all], derived: [totals]}\n"))
	require.ErrorContains(t, err, `events.other.derived: holds "totals", which is under {thing}: events of this family carry no such id`)
}
