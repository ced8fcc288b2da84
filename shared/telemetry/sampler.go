package telemetry

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The variables of the environment that choose a sampler, as the OpenTelemetry
// specification has them. They go over the settings, as the environment does.
const (
	samplerVariable    = "OTEL_TRACES_SAMPLER"
	samplerArgVariable = "OTEL_TRACES_SAMPLER_ARG"
)

// sampler returns the sampler that the environment names or, if it names none, one
// that keeps a share of the traces that begin here. ratio 0 is 1.
func sampler(ratio float64, environ []string) (sdktrace.Sampler, error) {
	name, arg := variable(environ, samplerVariable), variable(environ, samplerArgVariable)
	if name == "" {
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cmp.Or(ratio, 1))), nil
	}
	root, parentBased := strings.CutPrefix(name, "parentbased_")
	of, err := rootSampler(root, arg)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", samplerVariable, name, err)
	}
	if parentBased {
		return sdktrace.ParentBased(of), nil
	}
	return of, nil
}

func rootSampler(name, arg string) (sdktrace.Sampler, error) {
	switch name {
	case "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "traceidratio":
		ratio, err := strconv.ParseFloat(cmp.Or(arg, "1"), 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("%s is %q, want a number from 0 to 1", samplerArgVariable, arg)
		}
		return sdktrace.TraceIDRatioBased(ratio), nil
	}
	return nil, fmt.Errorf("want always_on, always_off or traceidratio, or one of them after parentbased_")
}

// variable returns the value of a variable of an environment, "" if it has none. The
// last of several counts, as for a process.
func variable(environ []string, name string) (value string) {
	for _, v := range environ {
		if found, ok := strings.CutPrefix(v, name+"="); ok {
			value = found
		}
	}
	return value
}
