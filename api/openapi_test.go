package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

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

		"LetterList":      f.get("/v1/dead-letters").Body.Bytes(),
		"Selected":        f.post("/v1/dead-letters/redrive", `{"dry_run":true}`).Body.Bytes(),
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

func TestDocsPageNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	w := newFixture(t).get("/docs")
	require.Equal(t, http.StatusOK, w.Code)
	require.NotRegexp(t, `https?://|//cdn`, w.Body.String())
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
}
