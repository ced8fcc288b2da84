package api

import (
	_ "embed"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
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
		"Times are RFC 3339 in UTC. Fields that have no value are absent. Errors are RFC 9457 problems; their types begin with `urn:tarn:problem:` and are named here by what follows it."
	config.Formats = map[string]huma.Format{"application/json": encode.format(), "json": encode.format()}
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema field in answers
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{bearerScheme: {
		Type: "http", Scheme: "bearer",
		Description: "A token of operator_tokens. Its scope here is the role it must have. Without any configured, requests from the same machine need none.",
	}}
	return humagin.New(engine, config)
}

// serveDocument serves the finished document and a page that shows it. It is
// called after all operations are registered.
func serveDocument(engine *gin.Engine, api huma.API) error {
	document, err := api.OpenAPI().MarshalJSON()
	if err != nil {
		return err
	}
	engine.GET("/openapi.json", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", document) })
	engine.GET("/docs", func(c *gin.Context) {
		// The page needs itself and the document, nothing from anywhere else.
		c.Header("Content-Security-Policy",
			"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
		c.Data(http.StatusOK, "text/html; charset=utf-8", docsPage)
	})
	return nil
}

// alsoOK describes the 200 of an operation that mostly answers another status.
func alsoOK[T any](api huma.API, description string) map[string]*huma.Response {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return map[string]*huma.Response{"200": {
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
	for path, summary := range map[string]string{
		"/healthz": "Whether every loop of the process turns",
		"/readyz":  "Whether webhooks can be taken; follows Redis, reports the store",
		"/metrics": "Metrics in the Prometheus text format",
	} {
		content := "application/json"
		if path == "/metrics" {
			content = "text/plain"
		}
		doc.AddOperation(&huma.Operation{
			OperationID: path[1:], Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"operation"},
			Responses: map[string]*huma.Response{
				"200": {Description: "Yes", Content: map[string]*huma.MediaType{content: {}}},
				"503": {Description: "No", Content: map[string]*huma.MediaType{content: {}}},
			},
		})
	}
}

// receipt is the answer to a good webhook.
type receipt struct {
	Status string `json:"status" enum:"accepted,duplicate"`
	ID     string `json:"id,omitempty" doc:"The event's id. Absent where the provider sends several events in a request."`
	// Of a source whose provider sends several events in a request:
	Events     *int `json:"events,omitempty" doc:"Where the provider sends several events in a request: how many this one held."`
	Duplicates *int `json:"duplicates,omitempty" doc:"How many of them had come before. If all had, the status is duplicate."`
}

func challengeOperation(schemas huma.Registry) *huma.Operation {
	refused := map[string]*huma.MediaType{"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")}}
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
			Description: when, Content: map[string]*huma.MediaType{"application/problem+json": {Schema: refused}},
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
