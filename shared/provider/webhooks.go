package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// webhooksSpec says where the provider lists the webhooks it sends. No path:
// nowhere.
type webhooksSpec struct {
	path       string
	url, types rawjson.Path
	// wanted are the event types there are.
	wanted []string
	pages  *paginationSpec
	// live is the path of what says whether a webhook is sent, and isLive the text it
	// has then. Nil: all are.
	live   rawjson.Path
	isLive string
}

// Webhook is one webhook the provider sends.
type Webhook struct {
	URL string
	// Types are the event types it is sent for. "*" among them: all.
	Types []string
	// Disabled: the provider says that it does not send it.
	Disabled bool
}

// WebhookTypes returns the event types a webhook should be sent for, sorted.
// None if the provider does not list its webhooks.
func (d *Definition) WebhookTypes() []string { return d.api.webhooks.wanted }

// Webhooks asks for the webhooks the provider sends. Their secrets, which some
// providers answer with, are not kept. Errors are classed as Fetch's are.
func (c *Client) Webhooks(ctx context.Context, why string) ([]Webhook, error) {
	spec := c.def.api.webhooks
	if spec.path == "" {
		return nil, fate.Errorf(fate.Permanent, "list webhooks: provider %s does not list them", c.def.Name)
	}
	var hooks []Webhook
	call := call{kind: "webhooks", path: spec.path, pages: spec.pages, why: why}
	err := c.walk(ctx, rawjson.Path{"id"}, call, func() { hooks = nil }, func(p *page) error {
		for _, v := range p.items {
			hooks = append(hooks, spec.read(v))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	return hooks, nil
}

func (s *webhooksSpec) read(v rawjson.Value) Webhook {
	var h Webhook
	h.URL, _ = v.At(s.url).Text()
	for _, t := range v.At(s.types).Elements() {
		if name, ok := t.Text(); ok {
			h.Types = append(h.Types, name)
		}
	}
	h.Disabled = s.live != nil && plainText(v.At(s.live)) != s.isLive
	return h
}

func parseWebhooks(s *section, api apiSpec) webhooksSpec {
	if s.value == nil {
		return webhooksSpec{}
	}
	spec := webhooksSpec{path: s.required("path"), url: s.jsonPath("url"), types: s.jsonPath("types")}
	s.checkFixed("path", spec.path)
	spec.pages = s.pagination(api, "path")
	if spec.url == nil || spec.types == nil {
		s.fail("", "wants url and types: their paths in an element of the list")
	}
	live := s.sub("live")
	spec.live, spec.isLive = live.jsonPath("at"), live.text("is")
	if live.value != nil && (spec.live == nil || spec.isLive == "") {
		live.fail("", "wants at and is, as in {at: status, is: enabled}: a path in an element of the list, and its value while the webhook is sent")
	}
	live.done()
	expected := s.sub("expected")
	for _, family := range expected.names {
		for _, what := range expected.texts(family) {
			spec.wanted = append(spec.wanted, family+"."+what)
		}
	}
	slices.Sort(spec.wanted)
	s.done()
	return spec
}
