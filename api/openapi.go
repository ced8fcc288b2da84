package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/tarn-sync/tarn/shared/problems"
)

//go:embed docs.html
var docsPage []byte

// Errors every operation of a shape may answer with, for the document.
var (
	listErrors = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable}
	itemErrors = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable}
	actErrors  = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable}
	// startErrors are the errors of operations that create something.
	startErrors = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable}
)

// newOperations makes the part of the HTTP surface that is declared as typed operations.
// serveDocument serves the document, since the library would make it on the first request
// without a lock.
func newOperations(engine *gin.Engine, version string, encode *encoder) huma.API {
	config := huma.DefaultConfig("Tarn", version)
	config.Info.Description = "A true local copy of a provider's data: webhooks in, mirrored state out.\n\n" +
		"Times in answers are RFC 3339 in UTC with milliseconds, `2026-03-01T12:00:00.000Z`. Fields that have no value are absent. Ids that Tarn makes need no escaping in a path. " +
		"Every error is an RFC 9457 problem; the types begin with `urn:tarn:problem:` and are named here by what follows it. x-problems lists them."
	config.Formats = map[string]huma.Format{"application/json": encode.format(), "json": encode.format()}
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema field in answers
	config.RejectUnknownQueryParameters = true
	config.Extensions = map[string]any{"x-problems": listProblems()}
	config.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[moment](), reflect.TypeFor[time.Time]())
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{bearerScheme: {
		Type: "http", Scheme: "bearer",
		Description: "A token of operator_tokens. Its scope here is the role it must have. Without any configured, requests from the same machine need none.",
	}}
	return humagin.New(engine, config)
}

// problemType is one type of problem in the document.
type problemType struct {
	Type     string `json:"type"`
	Statuses []int  `json:"statuses"`
	Means    string `json:"means"`
}

func listProblems() []problemType {
	all := make([]problemType, len(problems.Kinds))
	for i, k := range problems.Kinds {
		all[i] = problemType{Type: problems.Base + k.Name, Statuses: k.Statuses, Means: k.Means}
	}
	return all
}

// docsPolicy lets the page run what is in it, ask its own server, and nothing else. The
// hashes are those of its one style and one script.
var docsPolicy = "default-src 'none'; style-src " + hashOf("style") + "; script-src " + hashOf("script") +
	"; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// hashOf returns the source expression of the page's only element of a name.
func hashOf(element string) string {
	_, rest, _ := bytes.Cut(docsPage, []byte("<"+element+">"))
	text, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// serveDocument serves the finished document and a page that shows it and sends requests. It
// is called after all operations are registered.
func serveDocument(engine *gin.Engine, api huma.API) error {
	addExamples(api.OpenAPI())
	document, err := api.OpenAPI().MarshalJSON()
	if err != nil {
		return err
	}
	engine.GET("/openapi.json", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", document) })
	engine.GET("/docs", func(c *gin.Context) {
		c.Header("Content-Security-Policy", docsPolicy)
		c.Header("Referrer-Policy", "no-referrer")
		c.Header("X-Content-Type-Options", "nosniff")
		c.Data(http.StatusOK, "text/html; charset=utf-8", docsPage)
	})
	return nil
}

// alsoOK describes the 200 of an operation that mostly answers another status.
func alsoOK[T any](api huma.API, description string) map[string]*huma.Response {
	return also[T](api, "200", description)
}

// alsoAccepted is the same for an operation that is mostly done at once.
func alsoAccepted[T any](api huma.API, description string) map[string]*huma.Response {
	return also[T](api, "202", description)
}

func also[T any](api huma.API, status, description string) map[string]*huma.Response {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return map[string]*huma.Response{status: {
		Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}}
}

// documentPlain adds the routes that are plain handlers to the document: the receiver,
// which must be fast, and the routes for orchestrators.
func documentPlain(api huma.API) {
	doc := api.OpenAPI()
	doc.AddOperation(webhookOperation(doc.Components.Schemas))
	doc.AddOperation(secretWebhookOperation(doc.Components.Schemas))
	doc.AddOperation(challengeOperation(doc.Components.Schemas))
	for _, op := range processOperations(doc.Components.Schemas) {
		doc.AddOperation(op)
	}
}

// processOperations are the routes for orchestrators and Prometheus.
func processOperations(schemas huma.Registry) []*huma.Operation {
	answer := func(description, content string, schema *huma.Schema) *huma.Response {
		return &huma.Response{Description: description, Content: map[string]*huma.MediaType{content: {Schema: schema}}}
	}
	named := func(of reflect.Type, name string) *huma.Schema { return schemas.Schema(of, true, name) }
	return []*huma.Operation{
		{
			OperationID: "healthz", Method: http.MethodGet, Path: "/healthz", Tags: []string{"operation"},
			Summary: "Whether every loop of the process turns",
			Parameters: []*huma.Param{{
				Name: "verbose", In: "query", AllowEmptyValue: true, Description: "Show every loop.", Schema: &huma.Schema{Type: huma.TypeBoolean},
			}},
			Responses: map[string]*huma.Response{
				"200": answer("Every loop turns", "application/json", named(reflect.TypeFor[healthy](), "Healthy")),
				"503": answer("Some are stuck", problems.ContentType, named(reflect.TypeFor[stuck](), "Stuck")),
			},
		},
		{
			OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: []string{"operation"},
			Summary: "Whether webhooks can be taken; follows Redis, reports the store",
			Responses: map[string]*huma.Response{
				"200": answer("They can", "application/json", named(reflect.TypeFor[ready](), "Ready")),
				"503": answer("They cannot", problems.ContentType, named(reflect.TypeFor[notReady](), "NotReady")),
			},
		},
		{
			OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"operation"},
			Summary: "Metrics in the Prometheus text format",
			Responses: map[string]*huma.Response{
				"200": answer("The metrics", "text/plain", &huma.Schema{Type: huma.TypeString}),
				"500": answer("They could not be gathered", problems.ContentType, named(reflect.TypeFor[Problem](), "Problem")),
			},
		},
	}
}

// The answers of /healthz and /readyz, which package telemetry gives, as the document has
// them.
type (
	healthy struct {
		Status string     `json:"status" enum:"ok"`
		Loops  []loopTurn `json:"loops,omitempty" doc:"Only if asked for."`
	}
	loopTurn struct {
		Name      string `json:"name"`
		LastTurn  moment `json:"last_turn"`
		WaitingOn string `json:"waiting_on,omitempty" doc:"What it waits for. Waiting is no standstill."`
		Stuck     bool   `json:"stuck,omitempty"`
	}
	stuck struct {
		Problem
		Loops []loopTurn `json:"loops,omitempty" doc:"Only if asked for; the stuck ones first."`
	}
	ready struct {
		Status string            `json:"status" enum:"ready"`
		Checks map[string]string `json:"checks" doc:"Each check: ok, not ready, or takes no writes."`
	}
	notReady struct {
		Problem
		Checks map[string]string `json:"checks"`
	}
)

// receipt is the answer to a good webhook.
type receipt struct {
	Status string `json:"status" enum:"accepted,duplicate"`
	ID     string `json:"id,omitempty" doc:"The event's id. Absent where the provider sends several events in a request."`
	// Of a source whose provider sends several events in a request:
	Events     *int `json:"events,omitempty" doc:"Where the provider sends several events in a request: how many this one held."`
	Duplicates *int `json:"duplicates,omitempty" doc:"How many of them had come before. If all had, the status is duplicate."`
}

func challengeOperation(schemas huma.Registry) *huma.Operation {
	refused := map[string]*huma.MediaType{problems.ContentType: {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")}}
	return &huma.Operation{
		OperationID: "answer-challenge", Method: http.MethodGet, Path: webhookRoute,
		Summary: "Echo the challenge of a provider that asks whether the address is ours", Tags: []string{"webhooks"},
		Description: "Only for providers whose definition has `envelope.challenge.get`.",
		Parameters:  []*huma.Param{{Name: "source", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "The challenge", Content: map[string]*huma.MediaType{"text/plain": {}}},
			"403": {Description: "The challenge or its token is missing or wrong", Content: refused},
			"405": {Description: "The source's provider does not ask by GET", Content: refused},
		},
	}
}

func webhookOperation(schemas huma.Registry) *huma.Operation {
	responses := map[string]*huma.Response{"200": {
		Description: "The event is stored durably, now or before. (Another status if the source's ack says so.)",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[receipt](), true, "Receipt")}},
	}}
	refused := schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for status, when := range map[int]string{
		http.StatusNotFound:              "No source of this name is configured",
		http.StatusRequestEntityTooLarge: "The body is too large",
		http.StatusRequestTimeout:        "The body did not arrive in time",
		http.StatusUnauthorized:          "The signature or its timestamp was not accepted",
		http.StatusBadRequest:            "The body is not a readable event, or is encoded",
		http.StatusServiceUnavailable:    "The event could not be stored durably; Retry-After says when to send it again",
	} {
		responses[strconv.Itoa(status)] = &huma.Response{
			Description: when, Content: map[string]*huma.MediaType{problems.ContentType: {Schema: refused}},
		}
	}
	return &huma.Operation{
		OperationID: "receive-webhook", Method: http.MethodPost, Path: webhookRoute,
		Summary: "Receive one webhook event of a source", Tags: []string{"webhooks"},
		Description: "Authenticated by the provider's signature over the raw body. Checked in this order: 404, 413, 401, 400; " +
			"success is answered only after the event is stored durably. The content type is ignored.",
		Parameters: []*huma.Param{{Name: "source", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Description: "The event in the provider's own form."}},
		}},
		Responses: responses,
	}
}

// secretWebhookOperation is the operation of sources whose webhooks are not signed.
func secretWebhookOperation(schemas huma.Registry) *huma.Operation {
	op := webhookOperation(schemas)
	op.OperationID, op.Path = "receive-unsigned-webhook", secretWebhookRoute
	op.Summary = "Receive one webhook event of a source that does not sign"
	op.Description = "For sources whose definition says `scheme: none`: the secret of the path takes the place of the signature. " +
		"For all others the answer is 404. Otherwise as `/webhooks/{source}`."
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: "secret", In: "path", Required: true, Description: "One of the source's webhook_secrets.", Schema: &huma.Schema{Type: huma.TypeString},
	})
	return op
}
