// Package otlptest receives traces in the process of a test: an OTLP/HTTP
// collector that keeps every span, so that a test can say what a trace looks
// like and what must never be in one.
package otlptest

import (
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Receiver is a collector on a loopback port. Safe for concurrent use.
type Receiver struct {
	server *httptest.Server
	mu     sync.Mutex
	spans  []Span
	text   strings.Builder
	faults []string
}

// Start starts a receiver. Close it.
func Start() *Receiver {
	r := &Receiver{}
	r.server = httptest.NewServer(http.HandlerFunc(r.receive))
	return r
}

// Close stops the receiver.
func (r *Receiver) Close() { r.server.Close() }

// URL is the endpoint to export to.
func (r *Receiver) URL() string { return r.server.URL }

// Spans returns all spans received so far by start time.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.spans)
	slices.SortStableFunc(out, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return out
}

// Traces returns all traces received so far by the start of their first span.
func (r *Receiver) Traces() []Trace {
	byID := map[string]int{}
	var traces []Trace
	for _, s := range r.Spans() {
		i, ok := byID[s.TraceID]
		if !ok {
			i = len(traces)
			byID[s.TraceID] = i
			traces = append(traces, Trace{ID: s.TraceID})
		}
		traces[i].Spans = append(traces[i].Spans, s)
	}
	return traces
}

// Text returns everything received, attributes, events, status messages and
// resources included, as text: what must not be in a trace must not be in it.
func (r *Receiver) Text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Faults returns what was sent that is no OTLP trace export.
func (r *Receiver) Faults() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.faults)
}

func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) {
	export, err := decode(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.faults = append(r.faults, err.Error())
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.text.WriteString(prototext.Format(export))
	for _, rs := range export.ResourceSpans {
		resource := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, span(s, resource["service.name"]))
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	body, _ := proto.Marshal(&collector.ExportTraceServiceResponse{}) // an empty message always marshals
	_, _ = w.Write(body)
}

func decode(req *http.Request) (*collector.ExportTraceServiceRequest, error) {
	if req.URL.Path != "/v1/traces" {
		return nil, fmt.Errorf("export to %s, want /v1/traces", req.URL.Path)
	}
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("unzip export: %w", err)
		}
		body = unzipped
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read export: %w", err)
	}
	var export collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &export); err != nil {
		return nil, fmt.Errorf("decode export: %w", err)
	}
	return &export, nil
}

func span(s *tracepb.Span, service string) Span {
	out := Span{
		TraceID: fmt.Sprintf("%x", s.TraceId), ID: fmt.Sprintf("%x", s.SpanId), Parent: fmt.Sprintf("%x", s.ParentSpanId),
		Service: service, Name: s.Name, Kind: strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_")),
		Start: time.Unix(0, int64(s.StartTimeUnixNano)).UTC(), End: time.Unix(0, int64(s.EndTimeUnixNano)).UTC(),
		Attributes: attributes(s.Attributes), Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
	}
	for _, l := range s.Links {
		out.Links = append(out.Links, Link{TraceID: fmt.Sprintf("%x", l.TraceId), SpanID: fmt.Sprintf("%x", l.SpanId)})
	}
	return out
}

func attributes(kvs []*common.KeyValue) map[string]string {
	out := make(map[string]string, len(kvs))
	for _, kv := range kvs {
		out[kv.Key] = text(kv.Value)
	}
	return out
}

func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *common.AnyValue_ArrayValue:
		parts := make([]string, len(v.ArrayValue.GetValues()))
		for i, e := range v.ArrayValue.GetValues() {
			parts[i] = text(e)
		}
		return strings.Join(parts, ",")
	default:
		return ""
	}
}

// Span is one span as exported. Ids are lower-case hex; times are UTC.
type Span struct {
	TraceID, ID string
	// Parent is the id of the parent span, "" for a root.
	Parent string
	// Service is the service.name of the exporting process.
	Service string
	Name    string
	// Kind is internal, server, client, producer or consumer.
	Kind       string
	Start, End time.Time
	Attributes map[string]string
	Links      []Link
	// Failed: the status is an error.
	Failed bool
}

// Link is a span another one points at.
type Link struct{ TraceID, SpanID string }

// Trace is the spans of one trace by start time.
type Trace struct {
	ID    string
	Spans []Span
}

// Tree draws the trace, one span a line, children indented by two spaces
// under their parent, siblings by start time then name. A span whose parent
// was not received is printed at the margin, so a trace is one tree exactly if one
// line does.
func (t Trace) Tree() string {
	known := map[string]bool{}
	for _, s := range t.Spans {
		known[s.ID] = true
	}
	children := map[string][]Span{}
	for _, s := range t.Spans {
		parent := s.Parent
		if !known[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	var b strings.Builder
	draw(&b, children, "", 0)
	return b.String()
}

// Roots counts the spans without a received parent.
func (t Trace) Roots() int {
	n := 0
	for line := range strings.Lines(t.Tree()) {
		if !strings.HasPrefix(line, " ") {
			n++
		}
	}
	return n
}

func draw(b *strings.Builder, children map[string][]Span, of string, depth int) {
	slices.SortStableFunc(children[of], func(x, y Span) int {
		return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.Name, y.Name))
	})
	for _, s := range children[of] {
		fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), s.Name)
		draw(b, children, s.ID, depth+1)
	}
}
