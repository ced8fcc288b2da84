package provider

import (
	"crypto/hmac"
	"net/http"
	"net/url"
)

// challengeSpec says how a provider asks whether an address is ours before it sends
// events there.
type challengeSpec struct {
	// when are the values that make a signed webhook a challenge, echo is the place of
	// what is to be answered.
	when []requirement
	echo place
	// get is the parameter of a GET that is to be answered, token the one that has to
	// be want: the value itself, or the setting of the source that has it.
	get, token, want, setting string
}

// mostEchoed is the longest challenge that is answered, in bytes.
const mostEchoed = 1024

// Challenge returns what a signed webhook wants to have echoed, if it is a challenge
// and no event.
func (d *Definition) Challenge(h http.Header, body []byte) (echo string, ok bool) {
	c := &d.envelope.challenge
	if !c.echo.is() {
		return "", false
	}
	s := d.scratch.take()
	defer d.scratch.free(s)
	o := origin{header: h}
	if d.parse(s, &o, body, false) != nil {
		return "", false
	}
	for i := range c.when {
		f, wrong := o.at(&c.when[i].place)
		text, is := f.plain()
		if wrong != nil || !is || text != c.when[i].want {
			return "", false
		}
	}
	echo, _, ok, wrong := o.idAt(&c.echo)
	return echo, ok && wrong == nil && echo != "" && len(echo) <= mostEchoed
}

// AnswersGET reports whether the provider asks by GET whether an address is ours.
func (d *Definition) AnswersGET() bool { return d.envelope.challenge.get != "" }

// ChallengeGET returns what a GET wants to have echoed. Not ok: it lacks the challenge,
// or has another token than the source.
func (d *Definition) ChallengeGET(query url.Values) (echo string, ok bool) {
	c := &d.envelope.challenge
	if c.get == "" || c.setting != "" || len(query[c.get]) != 1 || len(query[c.token]) != 1 {
		return "", false
	}
	echo = query.Get(c.get)
	good := hmac.Equal([]byte(query.Get(c.token)), []byte(c.want))
	return echo, good && echo != "" && len(echo) <= mostEchoed
}

// AckBody is the text that the provider wants as the answer to a webhook, "" if any
// will do.
func (d *Definition) AckBody() string { return d.envelope.ack }

// parseAnswers reads what the provider wants to be answered.
func (spec *envelopeSpec) parseAnswers(s *section, l layout) {
	ack := s.sub("ack")
	if spec.ack = ack.text("body"); ack.value != nil && spec.ack == "" {
		ack.fail("body", "is missing: want the text of the answer")
	}
	ack.done()
	c := s.sub("challenge")
	if c.value == nil {
		return
	}
	l.each = false // a challenge is no batch
	spec.challenge.parse(c, l)
	c.done()
}

func (spec *challengeSpec) parse(s *section, l layout) {
	when := s.sub("when")
	for _, name := range when.names {
		n := when.get(name)
		want, ok := scalar(n)
		if !ok || want == "" {
			when.fail(name, "is %s: want the value that makes a webhook a challenge", describe(n))
		}
		spec.when = append(spec.when, requirement{place: when.part(n, name, name, l), want: want})
	}
	spec.echo = s.place("echo", l)
	if (len(spec.when) > 0) != spec.echo.is() {
		s.fail("echo", "goes with when: want both, the values that make a webhook a challenge and the place of what is echoed")
	}
	spec.get = s.text("get")
	token := s.sub("token")
	switch {
	case len(token.names) > 1:
		s.fail("token", "has several parameters: want one")
	case len(token.names) == 1:
		spec.token = token.names[0]
		spec.want = token.text(spec.token)
		if spec.setting = token.setting(spec.token, spec.want); spec.setting != "" {
			spec.want = ""
		} else if spec.want != "" {
			token.fail(spec.token, "is a token in the definition: leave it to a setting of the source, as in \"{verify_token}\"")
		}
	}
	if (spec.get == "") != (spec.token == "") {
		s.fail("get", "goes with token: want both, as in get: hub.challenge and token: {hub.verify_token: \"{verify_token}\"}")
	}
	if spec.get == "" && !spec.echo.is() {
		s.fail("", "is empty: want when and echo, or get and token")
	}
}
