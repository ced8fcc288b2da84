// Package provider speaks to providers: it reads their webhooks and asks
// their APIs. It alone knows HTTP to providers. What a provider is like is
// data, a YAML definition; the few things that need code (signature schemes,
// pagination styles, error styles) are small strategies chosen by name.
package provider
