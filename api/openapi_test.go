package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// writeDocument has TestDocumentIsCheckedIn write the file instead of comparing it.
var writeDocument = flag.Bool("write-openapi", false, "write api/openapi.json")

// The file openapi.json is what the server says, laid out for readers and for differences
// between versions.
func TestDocumentIsCheckedIn(t *testing.T) {
	const file = "openapi.json"
	var now bytes.Buffer
	require.NoError(t, json.Indent(&now, newFixture(t).get("/openapi.json").Body.Bytes(), "", "  "))
	now.WriteByte('\n')
	if *writeDocument {
		require.NoError(t, os.WriteFile(file, now.Bytes(), 0o644)) //nolint:gosec // for all to read
	}
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	if !bytes.Equal(kept, now.Bytes()) {
		at := 0
		for at < min(len(kept), now.Len()) && kept[at] == now.Bytes()[at] {
			at++
		}
		line := 1 + bytes.Count(kept[:at], []byte("\n"))
		require.FailNow(t, "api/openapi.json is not what the server says; `make openapi` rewrites it", "they differ from line %d on", line)
	}
}

// document is what /openapi.json says, as far as the tests look.
type document struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Summary     string
		Security    []map[string][]string
		Parameters  []struct{ Name, In string }
		Responses   map[string]any
	}
	Components struct{ Schemas map[string]any }
}

func readDocument(t *testing.T) (document, []byte) {
	t.Helper()
	w := newFixture(t).get("/openapi.json")
	require.Equal(t, http.StatusOK, w.Code)
	var d document
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &d))
	return d, w.Body.Bytes()
}

var (
	ginParam  = regexp.MustCompile(`:(\w+)`)
	pathParam = regexp.MustCompile(`\{(\w+)\}`)
)

func TestDocumentCoversEveryRoute(t *testing.T) {
	t.Parallel()
	d, _ := readDocument(t)
	require.Regexp(t, `^3\.1\.`, d.OpenAPI)
	ids := map[string]bool{}
	described := 0
	for _, route := range newFixture(t).engine.Routes() {
		if route.Path == "/openapi.json" || route.Path == "/docs" {
			continue // the document does not describe itself
		}
		if route.Path == "/" || strings.HasPrefix(route.Path, "/console") {
			continue // pages for people
		}
		path := ginParam.ReplaceAllString(route.Path, "{$1}")
		op, ok := d.Paths[path][strings.ToLower(route.Method)]
		require.True(t, ok, "%s %s is not in the document", route.Method, path)
		described++
		require.NotEmpty(t, op.Summary, path)
		require.False(t, ids[op.OperationID], "operationId %s twice", op.OperationID)
		ids[op.OperationID] = true
		require.Equal(t, strings.HasPrefix(path, "/v1/"), len(op.Security) > 0, path)
		declared := map[string]bool{}
		for _, p := range op.Parameters {
			declared[p.In+"."+p.Name] = true
		}
		for _, m := range pathParam.FindAllStringSubmatch(path, -1) {
			require.True(t, declared["path."+m[1]], "%s: parameter %s is not declared", path, m[1])
		}
	}
	total := 0
	for _, methods := range d.Paths {
		total += len(methods)
	}
	require.Equal(t, described, total, "the document describes routes that are not there")
}

// TestDocumentIsValid checks the schemas against their metaschema and follows
// every reference.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	d, raw := readDocument(t)
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]+)"`).FindAllSubmatch(raw, -1) {
		name, ok := strings.CutPrefix(string(m[1]), "#/components/schemas/")
		require.True(t, ok, "%s", m[1])
		require.Contains(t, d.Components.Schemas, name)
	}
	compiler := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	require.NoError(t, compiler.AddResource("openapi.json", doc))
	for name := range d.Components.Schemas {
		_, err := compiler.Compile("openapi.json#/components/schemas/" + name)
		require.NoError(t, err, name)
	}
}

// notReady is what an api answers whose Redis is away.
func (f *fixture) notReady() []byte {
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	defer f.queue.set(func(q *fakeQueue) { q.err = nil })
	return f.get("/readyz").Body.Bytes()
}

// stuckHealth is what an api answers one of whose loops is stuck.
func stuckHealth(t *testing.T) []byte {
	at := noon
	health := telemetry.NewHealth(func() time.Time { return at })
	health.Loop("reads")
	at = at.Add(time.Hour)
	return newFixture(t, func(o *Options) { o.Health = health }).get("/healthz?verbose").Body.Bytes()
}

// TestAnswersMatchTheDocument holds real answers against the schemas.
func TestAnswersMatchTheDocument(t *testing.T) {
	t.Parallel()
	_, raw := readDocument(t)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", doc))

	f := newFixture(t)
	f.store.put(order("bord_1", noon))
	f.do(webhook("lemon", orderEvent("evt_1"), noon))
	letter := f.buried()
	f.store.tasks = []*storage.Task{redriveTask("job_1", storage.TaskRunning), sweepTask("sweep_1", "sweep", storage.TaskRunning)}
	jobs := f.get("/v1/jobs/job_1").Body.Bytes()
	sweeps := f.get("/v1/sweeps/sweep_1").Body.Bytes()
	f.store.discrepancies = []*storage.Discrepancy{{ID: "d1", Source: "lemon", Type: storage.Stale, Status: storage.Suspected, Patch: []byte(`[]`), FoundAt: noon}}
	f.waits()
	f.queue.workers, f.queue.shards = []string{"w1"}, []stream.ShardState{{Owner: "w1", Epoch: 1}}
	for schema, answer := range map[string][]byte{
		"Entity":     f.get("/v1/entities/lemon/order/bord_1").Body.Bytes(),
		"EntityList": f.get("/v1/entities/lemon/order").Body.Bytes(),
		"EventList":  f.get("/v1/events").Body.Bytes(),
		"Receipt":    f.do(webhook("lemon", orderEvent("evt_1"), noon)).Body.Bytes(),
		"Problem":    f.do(webhook("lime", "{}", noon)).Body.Bytes(),
		"Healthy":    f.get("/healthz?verbose").Body.Bytes(),
		"Ready":      f.get("/readyz").Body.Bytes(),
		"Stuck":      stuckHealth(t),
		"NotReady":   f.notReady(),

		"LetterList":      f.get("/v1/dead-letters").Body.Bytes(),
		"Selected":        f.post("/v1/dead-letters/redrive", `{"dry_run":true,"all":true}`).Body.Bytes(),
		"Letter":          f.post("/v1/dead-letters/"+letter+"/redrive", "").Body.Bytes(),
		"Job":             jobs,
		"Sweep":           sweeps,
		"JobList":         []byte(`{"items":[` + string(jobs) + `]}`),
		"SweepList":       []byte(`{"items":[` + string(sweeps) + `]}`),
		"DiscrepancyList": f.get("/v1/discrepancies").Body.Bytes(),
		"Synced":          f.post("/v1/entities/lemon/order/bord_1/sync", "").Body.Bytes(),
		"SourceState":     f.post("/v1/sources/lemon/pause", `{"reason":"r"}`).Body.Bytes(),
		"RetryOutputBody": f.post("/v1/sources/lemon/retry", "").Body.Bytes(),
		"Followed":        f.get(f.post("/v1/entities/lemon/order/bord_1/sync", "").Header().Get("Location")).Body.Bytes(),
		"ActedList":       f.get("/v1/audit").Body.Bytes(),
		"ParkedList":      f.get("/v1/parked").Body.Bytes(),
		"Fleet":           f.get("/v1/fleet").Body.Bytes(),
	} {
		compiled, err := compiler.Compile("openapi.json#/components/schemas/" + schema)
		require.NoError(t, err, schema)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
		require.NoError(t, err, schema)
		require.NoError(t, compiled.Validate(value), "%s: %s", schema, answer)
	}
}

// requireFits holds a JSON text against a schema of the document.
func requireFits(t *testing.T, schema, text string) {
	t.Helper()
	_, raw := readDocument(t)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", doc))
	compiled, err := compiler.Compile("openapi.json#/components/schemas/" + schema)
	require.NoError(t, err, schema)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err, text)
	require.NoError(t, compiled.Validate(value), "%s: %s", schema, text)
}

// The page runs its own script and style alone, by their hashes, and asks its own server
// alone.
func TestDocsPageNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	w := newFixture(t).get("/docs")
	require.Equal(t, http.StatusOK, w.Code)
	page := w.Body.String()
	require.NotRegexp(t, `https?://|//cdn`, page)
	require.NotRegexp(t, `\s(on[a-z]+|style)="`, page, "the policy lets no such attribute work")
	policy := w.Header().Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.Contains(t, policy, "connect-src 'self'")
	require.Contains(t, policy, "form-action 'none'")
	require.NotContains(t, policy, "unsafe")
	for _, element := range []string{"style", "script"} {
		texts := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(page, -1)
		require.Len(t, texts, 1, "one %s, since the policy has one hash", element)
		sum := sha256.Sum256([]byte(texts[0][1]))
		require.Contains(t, policy, element+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	require.NotContains(t, page, "localStorage", "the token stays in its tab")
	require.NotContains(t, page, "innerHTML", "what a server answers is text")
}
