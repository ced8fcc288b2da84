package command

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/provider/signature"
)

var webhookSign = Command{
	Name:  "webhook sign",
	Short: "Print the headers of a signed webhook",
	About: `The webhook is a file, byte by byte, or one that is made up of a type and ids. The headers
are printed one a line, as curl takes them from a file with -H @FILE. A body that was made
up, or that holds its own signature, is printed after them and an empty line.`,
	Example: "tarn webhook sign --provider lemon --secret @secret.txt --event event.json",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		var o webhookOptions
		o.flags(set)
		set.StringVar(&o.url, "webhook-url", "", "`URL` the provider sends to, where the signature covers it")
		return func(_ context.Context, env *Env, _ []string) error {
			w, err := o.webhook(env)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(w.Header)) {
				env.printf("%s: %s\n", name, w.Header.Get(name))
			}
			if w.Path != "" {
				env.printf("# no header: the address ends in %s\n", w.Path)
			}
			if w.made {
				env.printf("\n%s\n", w.Body)
			}
			return nil
		}
	},
}

var webhookSend = Command{
	Name:  "webhook send",
	Short: "Send one signed webhook to a running api and print its answer",
	About: `The address is that of the source, http://HOST/webhooks/SOURCE; where the definition says
scheme: none, the secret is added to it.`,
	Example: `tarn webhook send --url http://127.0.0.1:8080/webhooks/lemon --provider lemon \
  --secret standalone-webhook-secret --type order.created --id order=bord_1 --id account=cusa_1`,
	Wrong: "the api answered something else than a 2xx",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		var o webhookOptions
		o.flags(set)
		to := set.String("url", "", "`URL` to send to. Required")
		set.StringVar(&o.url, "webhook-url", "", "`URL` that the source has as its webhook_url, where the signature covers it; default: that of --url")
		return func(ctx context.Context, env *Env, _ []string) error {
			if *to == "" {
				return misused("--url is missing: give the address of the source, http://HOST/webhooks/SOURCE")
			}
			if o.url == "" {
				o.url = *to
			}
			w, err := o.webhook(env)
			if err != nil {
				return err
			}
			return w.send(ctx, env, strings.TrimSuffix(*to, "/")+w.Path)
		}
	},
}

// webhookOptions are the flags of both commands.
type webhookOptions struct {
	provider, secret, event, eventType, eventID, url string
	ids, header, settings                            texts
	at                                               string
}

func (o *webhookOptions) flags(set *flag.FlagSet) {
	set.StringVar(&o.provider, "provider", "", "`NAME|FILE` of the definition. Required")
	set.StringVar(&o.secret, "secret", "", "`SECRET` to sign with, or @FILE that holds it. Required")
	set.StringVar(&o.event, "event", "", "`FILE` with the body, - for standard input")
	set.StringVar(&o.eventType, "type", "", "`TYPE` of an event to make up, instead of --event")
	set.StringVar(&o.eventID, "event-id", "", "`ID` of the event; default: one that is drawn")
	set.Var(&o.ids, "id", "`NAME=ID` that a made-up event names; may be repeated")
	set.Var(&o.header, "header", "`'Name: value'` that is sent besides; may be repeated")
	set.Var(&o.settings, "setting", "`NAME=VALUE` of a source's settings, which the definition may require of events; may be repeated")
	set.StringVar(&o.at, "at", "", "`TIME` of the signature, as 2026-07-01T12:00:00Z; default: now")
}

// webhook is a signed webhook.
type webhook struct {
	signature.Signed
	// made reports whether the body is not the one of the file.
	made bool
}

// webhook makes the webhook that the flags describe.
func (o *webhookOptions) webhook(env *Env) (*webhook, error) {
	if o.provider == "" || o.secret == "" {
		return nil, misused("--provider and --secret are needed")
	}
	if (o.event == "") == (o.eventType == "") {
		return nil, misused("want either --event or --type")
	}
	d, err := provider.Load(o.provider)
	if err != nil {
		return nil, err
	}
	key, err := secret(o.secret)
	if err != nil {
		return nil, err
	}
	at := env.Now()
	if o.at != "" {
		if at, err = time.Parse(time.RFC3339, o.at); err != nil {
			return nil, misused("--at %s: want a time such as 2026-07-01T12:00:00Z", o.at)
		}
	}
	header, body, err := o.message(env, d, at)
	if err != nil {
		return nil, err
	}
	signed, err := d.Signature().Sign(key, signature.Message{Method: http.MethodPost, URL: o.url, Header: header, Body: body, At: at})
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		if signed.Header.Get(name) == "" {
			signed.Header[name] = values
		}
	}
	return &webhook{Signed: signed, made: o.event == "" || !bytes.Equal(signed.Body, body)}, nil
}

// message returns the body to sign and the headers that it needs besides.
func (o *webhookOptions) message(env *Env, d *provider.Definition, at time.Time) (http.Header, []byte, error) {
	given, err := o.header.headers()
	if err != nil {
		return nil, nil, err
	}
	id := o.eventID
	if id == "" {
		id = "evt_" + strings.ToLower(rand.Text())
	}
	header, body := http.Header{}, []byte(nil)
	if o.event != "" {
		if len(o.ids) > 0 {
			return nil, nil, misused("--id is of no use with --event, whose ids stand in the file")
		}
		body, err = content(env, o.event)
	} else {
		header, body, err = o.made(d, id, at)
	}
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(header, given)
	if headers := d.Signature().Headers(); len(headers) > 0 {
		// Headers that the signature covers hold the event's id in every known scheme.
		for _, name := range headers[0].Covered {
			if header.Get(name.Text) == "" {
				header.Set(name.Text, id)
			}
		}
	}
	return header, body, nil
}

// made makes up an event.
func (o *webhookOptions) made(d *provider.Definition, id string, at time.Time) (http.Header, []byte, error) {
	ids, err := o.ids.pairs("id")
	if err != nil {
		return nil, nil, err
	}
	if d, err = o.settings.filledIn(d); err != nil {
		return nil, nil, err
	}
	return d.Sample(provider.Sample{ID: id, Type: o.eventType, At: at, IDs: ids})
}

// mostAnswered is how much of an answer is printed.
const mostAnswered = 64 << 10

// send posts the webhook and prints the answer.
func (w *webhook) send(ctx context.Context, env *Env, to string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(w.Body))
	if err != nil {
		return misused("--url: %v", err)
	}
	req.Header = w.Header
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := env.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // read only
	answer, err := io.ReadAll(io.LimitReader(res.Body, mostAnswered))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	env.printf("%s\n%s\n", res.Status, bytes.TrimSpace(answer))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return errWrong
	}
	return nil
}
