package telemetry

import "strings"

// TraceURL is the address of a trace, with {trace_id} in the place of its id, or "".
type TraceURL string

// Of returns the address of a trace, "" if either is.
func (u TraceURL) Of(id string) string {
	if id == "" {
		return ""
	}
	return strings.ReplaceAll(string(u), "{trace_id}", id)
}
