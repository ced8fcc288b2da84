package provider

import (
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/signature"
)

// defaultTolerance is how far the time of a signature may be from now.
const defaultTolerance = 5 * time.Minute

func parseSignature(s *section) signatureSpec {
	spec := signature.Spec{
		Scheme:       s.text("scheme"),
		Headers:      s.texts("headers"),
		Hash:         s.text("hash"),
		Encoding:     s.text("encoding"),
		Prefix:       s.text("prefix"),
		Secret:       s.text("secret"),
		SecretPrefix: s.text("secret_prefix"),
		Algorithm:    s.text("algorithm"),
		Signed:       s.text("signed"),
	}
	parts, at := s.sub("parts"), s.sub("time")
	spec.Parts = signature.Parts{
		Separator: parts.text("separator"), Equals: parts.text("equals"), Time: parts.text("time"), Signature: parts.text("signature"),
	}
	spec.Time = signature.Time{Header: at.text("header"), Unit: at.text("unit")}
	parts.done()
	at.done()
	for _, h := range spec.Headers {
		s.checkHeader("headers", h)
	}
	if spec.Time.Header != "" {
		at.checkHeader("header", spec.Time.Header)
	}
	scheme, problems := signature.New(spec)
	for _, p := range problems {
		in, key := s, p.Key
		if group, member, nested := strings.Cut(p.Key, "."); nested {
			in, key = map[string]*section{"parts": parts, "time": at}[group], member
		}
		in.fail(key, "%s", p.Text)
	}
	tolerance := s.duration("tolerance", defaultTolerance)
	if scheme != nil && !scheme.Timed() && s.value["tolerance"] != nil {
		s.fail("tolerance", "is of no use: this scheme signs no time, so leave it out")
	}
	s.done()
	return signatureSpec{scheme: scheme, tolerance: tolerance}
}
