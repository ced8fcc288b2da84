package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
)

var providerCheck = Command{
	Name: "provider check", Args: "NAME|FILE",
	Short: "Check a definition, and what it makes of an event",
	About: `Prints every problem with file, line and key. With an event it prints each step of its
signature (needs --secret), what the event names, and which requests Tarn would make. With
--api-url and --api-key it makes them: the probe, each entity, and the first page of each
list that can be asked for. It writes nothing anywhere.`,
	Example: `tarn provider check shop.yaml --event event.json --header 'Shop-Signature: t=1790000000,v1=…' --secret @secret.txt`,
	Wrong:   "the definition, the signature, the event or an answer is not right",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		var o checkOptions
		set.StringVar(&o.event, "event", "", "`FILE` with the body of a webhook, - for standard input")
		set.Var(&o.header, "header", "`'Name: value'` that came with it; may be repeated")
		set.Var(&o.secrets, "secret", "`SECRET`, or @FILE that holds it, to check the signature with; may be repeated")
		set.StringVar(&o.webhookURL, "webhook-url", "", "`URL` the provider sends to, where the signature covers it")
		set.StringVar(&o.pathSecret, "path-secret", "", "`SECRET` that stood in the path, where the definition says scheme: none")
		set.Var(&o.settings, "setting", "`NAME=VALUE` of a source's settings, which the definition may require of events; may be repeated")
		set.BoolVar(&o.scoped, "scoped", false, "read accounts that are connected to this one too, as a source with scoped: true does")
		set.StringVar(&o.apiURL, "api-url", "", "`URL` of the API, with its version; with --api-key the requests are made")
		set.StringVar(&o.apiKey, "api-key", "", "`KEY` of the API, or @FILE that holds it")
		set.DurationVar(&o.timeout, "timeout", 10*time.Second, "`TIME` for one request")
		return func(ctx context.Context, env *Env, args []string) error {
			return o.check(ctx, &checker{env: env}, args[0])
		}
	},
}

type checkOptions struct {
	event, webhookURL, pathSecret, apiURL, apiKey string
	header, secrets, settings                     texts
	scoped                                        bool
	timeout                                       time.Duration
}

// checker prints what is looked at and remembers whether it is right.
type checker struct {
	env   *Env
	wrong bool
}

func (c *checker) printf(format string, args ...any) { c.env.printf(format, args...) }

// bad prints what is not right.
func (c *checker) bad(format string, args ...any) {
	c.wrong = true
	c.printf(format, args...)
}

func (o *checkOptions) check(ctx context.Context, c *checker, name string) error {
	if (o.apiURL == "") != (o.apiKey == "") {
		return misused("--api-url and --api-key go together")
	}
	d, err := provider.Load(name)
	if err != nil {
		c.bad("%v\n", err)
		return errWrong
	}
	if o.event != "" {
		if d, err = o.settings.filledIn(d); err != nil {
			return err
		}
	}
	if o.scoped {
		if d, err = d.Scoped(); err != nil {
			return misused("--scoped: %w", err)
		}
	}
	c.printf("%s: provider %s, %d kinds, %d families of events%s\n", name, d.Name, len(d.Kinds()), len(d.Families()), changes(d))
	var client *provider.Client
	if o.apiURL != "" {
		if client, err = o.client(d); err != nil {
			return err
		}
		defer client.Close()
		c.probe(ctx, client)
	}
	var named []event.Ref
	if o.event != "" {
		if named, err = o.checkEvent(c, d); err != nil {
			return err
		}
	}
	c.requests(ctx, d, client, named)
	if c.wrong {
		return errWrong
	}
	return nil
}

// changes says how many changes a definition has, nothing if it has none.
func changes(d *provider.Definition) string {
	n := 0
	for _, k := range d.Kinds() {
		n += len(k.Ops())
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d changes", n)
}

func (o *checkOptions) client(d *provider.Definition) (*provider.Client, error) {
	key, err := secret(o.apiKey)
	if err != nil {
		return nil, err
	}
	return provider.NewClient(d, provider.ClientOptions{BaseURL: o.apiURL, Key: key, Timeout: o.timeout})
}

// checkEvent checks the event of the flags and returns the entities it names.
func (o *checkOptions) checkEvent(c *checker, d *provider.Definition) ([]event.Ref, error) {
	body, err := content(c.env, o.event)
	if err != nil {
		return nil, err
	}
	h, err := o.header.headers()
	if err != nil {
		return nil, err
	}
	if err := o.checkSignature(c, d, h, body); err != nil {
		return nil, err
	}
	return c.events(d, h, body), nil
}

func (o *checkOptions) checkSignature(c *checker, d *provider.Definition, h http.Header, body []byte) error {
	c.printf("\nsignature: %s\n", d.Signature())
	if len(o.secrets) == 0 {
		c.printf("  not checked: give --secret\n")
		return nil
	}
	secrets, err := o.secrets.secrets()
	if err != nil {
		return err
	}
	v, err := provider.NewVerifier(d, provider.VerifierOptions{Secrets: secrets, URL: o.webhookURL, Now: c.env.Now})
	if err != nil {
		return err
	}
	r := provider.WebhookRequest{Method: http.MethodPost, Header: h, Secret: o.pathSecret, Body: body}
	steps, refused := v.Explain(r)
	for _, s := range steps {
		c.printf("  %-12s %s\n", s.What, s.Text)
	}
	if refused != nil {
		c.bad("  refused: %v\n", refused)
		return nil
	}
	c.printf("  accepted\n")
	return nil
}

// events prints what the events of a body say and returns the entities they name.
func (c *checker) events(d *provider.Definition, h http.Header, body []byte) (named []event.Ref) {
	events, err := d.Events("check", h, body, c.env.Now())
	if err != nil {
		c.bad("\nevent: refused as malformed: %v\n", err)
		return nil
	}
	if len(events) == 0 {
		c.printf("\nthe body holds no event\n")
	}
	for _, e := range events {
		c.event(e)
		for _, ref := range append(e.Entities[:len(e.Entities):len(e.Entities)], e.Derived...) {
			known := func(r event.Ref) bool { return r.Key == ref.Key }
			if !slices.ContainsFunc(named, known) {
				named = append(named, ref)
			}
		}
	}
	return named
}

// event prints what one event says.
func (c *checker) event(e *event.Event) {
	c.printf("\nevent %s of type %s\n", e.ID, e.Type)
	switch {
	case e.Undated:
		c.bad("  created_at cannot be read as a time\n")
	case !e.CreatedAt.IsZero():
		c.printf("  created at %s\n", e.CreatedAt.Format(time.RFC3339Nano))
	}
	for _, place := range slices.Sorted(maps.Keys(e.Given)) {
		c.printf("  keeps %s = %s\n", place, e.Given[place])
	}
	for i, ref := range e.Entities {
		c.printf("  %s %s\n", map[bool]string{true: "is about", false: "touches"}[i == 0], inWords(ref))
	}
	for _, ref := range e.Derived {
		c.printf("  refreshes %s\n", inWords(ref))
	}
	switch {
	case e.Note != 0:
		c.bad("  %s: %s\n", e.Note, noteWords[e.Note])
	case e.Unnamed:
		c.bad("  does not name the entity that its type is about: is the place of its id right?\n")
	}
}

// noteWords say what a note means for an event.
var noteWords = map[event.Note]string{
	event.NamesNothing:  "it names no entity, so it is logged and nothing is fetched; is the place of its ids right?",
	event.UnknownType:   "the definition knows neither the family of its type nor a kind of that name",
	event.RequireUnmet:  "it lacks a value that the definition requires, so it is logged and nothing is fetched",
	event.ScopeUnusable: "what it has in the place of the scope's id can be none, so it is logged and nothing is fetched; is api.scope.id right?",
	event.Unreadable:    "it cannot be read, while others of the request can",
}

func inWords(ref event.Ref) string {
	text := ref.Key.Kind + " " + ref.Key.ID
	for _, name := range slices.Sorted(maps.Keys(ref.Parents)) {
		text += fmt.Sprintf(" of %s %s", name, ref.Parents[name])
	}
	return text
}

// requests prints the requests for the entities and lists that are known, and makes
// them if there is a client.
func (c *checker) requests(ctx context.Context, d *provider.Definition, client *provider.Client, named []event.Ref) {
	if client == nil && len(named) == 0 {
		return
	}
	c.printf("\nrequests\n")
	for _, ref := range named {
		path, err := d.Request(ref)
		if err != nil {
			c.printf("  %s: none yet, for the mirror has to know its parents: %v\n", inWords(ref), err)
			continue
		}
		c.printf("  GET %s%s\n", path, scopeWords(d, ref))
		if client != nil {
			c.fetch(ctx, client, ref)
		}
	}
	for _, k := range d.Kinds() {
		_, list := k.Paths()
		if client == nil || !k.Listable() {
			continue
		}
		for _, key := range listsOf(d, k, named) {
			c.printf("  GET %s%s\n", list, scopeWords(d, k.Ref(key.Source, "", key.Parents)))
			c.list(ctx, client, key)
		}
	}
}

// scopeWords puts the header that names a request's scope behind it.
func scopeWords(d *provider.Definition, ref event.Ref) string {
	name, value := d.ScopeHeader(ref)
	if name == "" {
		return ""
	}
	return fmt.Sprintf("   (%s: %s)", name, value)
}

// listsOf returns the lists of a kind that can be asked for: the one under no parents,
// or those under the parents of what an event names.
func listsOf(d *provider.Definition, k *provider.Kind, named []event.Ref) []provider.ListKey {
	for _, ref := range named {
		if k.InScopes() && ref.Key.Under != "" && d.ScopeOf(ref) != "" {
			if parents, ok := k.Parents(map[string]string{d.ScopeKind().IDKey: d.ScopeOf(ref)}); ok {
				return []provider.ListKey{{Source: "check", Kind: k.Name, Parents: parents}}
			}
		}
	}
	for _, root := range d.Roots() {
		if root == k {
			return []provider.ListKey{{Source: "check", Kind: k.Name}}
		}
	}
	for _, ref := range named {
		if ref.Key.Kind == k.Name && len(ref.Parents) > 0 {
			return []provider.ListKey{{Source: "check", Kind: k.Name, Parents: ref.Parents}}
		}
	}
	return nil
}

func (c *checker) probe(ctx context.Context, client *provider.Client) {
	if err := client.Probe(ctx); err != nil {
		c.bad("probe: %s\n", refusal(err))
		return
	}
	c.printf("probe: the API takes the key\n")
}

func (c *checker) fetch(ctx context.Context, client *provider.Client, ref event.Ref) {
	s, err := client.Fetch(ctx, ref, "tarn-provider-check")
	switch {
	case err != nil:
		c.bad("    %s\n", refusal(err))
	case s.Deleted:
		c.printf("    HTTP 200, proves itself as %s, deleted\n", ref.Key.Kind)
	case s.Status != "":
		c.printf("    HTTP 200, proves itself as %s, status %s\n", ref.Key.Kind, s.Status)
	default:
		c.printf("    HTTP 200, proves itself as %s\n", ref.Key.Kind)
	}
}

func (c *checker) list(ctx context.Context, client *provider.Client, key provider.ListKey) {
	page, err := client.ListPage(ctx, key, "", "tarn-provider-check")
	if err != nil {
		c.bad("    %s\n", refusal(err))
		return
	}
	more := "the only page"
	if page.Next != "" {
		more = "more pages follow"
	}
	c.printf("    HTTP 200, %d of %s, %s\n", len(page.Items), key.Kind, more)
	for _, err := range page.Unread {
		c.bad("    %v\n", err)
	}
}

// refusal says what an answer was and what Tarn would do about it.
func refusal(err error) string {
	var classed *fate.Error
	if errors.As(err, &classed) {
		return fmt.Sprintf("%v (class %s)", err, classed.Class)
	}
	return err.Error()
}
