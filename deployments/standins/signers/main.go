// Command signers signs and verifies webhooks with the libraries that providers
// publish, so that tests can hold Tarn's signatures against them.
//
// It reads one JSON object a line from its standard input and answers each with one
// line, until the input ends:
//
//	{"do": "sign",   "library": NAME, "secret": …, "id": …, "at": SECONDS, "body": …}
//	{"do": "verify", "library": NAME, "secret": …, "header": {NAME: VALUE}, "body": …}
//
// The answer to the first is {"header": {NAME: VALUE}}, that to the second
// {"verified": BOOL}; either may be {"error": TEXT}. NAME is one of:
//
//	stripe    github.com/stripe/stripe-go
//	standard  github.com/standard-webhooks/standard-webhooks
//	svix      github.com/svix/svix-webhooks
//	paddle    github.com/PaddleHQ/paddle-go-sdk, which verifies only
//	github    github.com/go-playground/webhooks, which verifies only, and reads the event
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	paddle "github.com/PaddleHQ/paddle-go-sdk/v4"
	"github.com/go-playground/webhooks/v6/github"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v85/webhook"
	svix "github.com/svix/svix-webhooks/go"
)

// request is one line of the input.
type request struct {
	Do      string            `json:"do"`
	Library string            `json:"library"`
	Secret  string            `json:"secret"`
	ID      string            `json:"id"`
	At      int64             `json:"at"`
	Header  map[string]string `json:"header"`
	Body    string            `json:"body"`
}

func (r request) header() http.Header {
	h := http.Header{}
	for name, value := range r.Header {
		h.Set(name, value)
	}
	return h
}

// answer is one line of the output.
type answer struct {
	Header   map[string]string `json:"header,omitempty"`
	Verified bool              `json:"verified,omitempty"`
	Error    string            `json:"error,omitempty"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "signers:", err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var r request
		switch err := d.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read a request: %w", err)
		}
		if err := e.Encode(r.handle()); err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
	}
}

func (r request) handle() answer {
	var a answer
	var err error
	switch r.Do {
	case "sign":
		a.Header, err = r.sign()
	case "verify":
		err = r.verify()
		a.Verified = err == nil
	default:
		err = fmt.Errorf("cannot do %q", r.Do)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (r request) sign() (map[string]string, error) {
	at := time.Unix(r.At, 0)
	switch r.Library {
	case "stripe":
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(r.Body), Secret: r.Secret, Timestamp: at})
		return map[string]string{"Stripe-Signature": signed.Header}, nil
	case "standard":
		w, err := standard.NewWebhook(r.Secret)
		if err != nil {
			return nil, err
		}
		return r.family("webhook", w.Sign)
	case "svix":
		w, err := svix.NewWebhook(r.Secret)
		if err != nil {
			return nil, err
		}
		return r.family("svix", w.Sign)
	}
	return nil, fmt.Errorf("%s signs nothing", r.Library)
}

// family returns the three headers of Standard Webhooks.
func (r request) family(name string, sign func(string, time.Time, []byte) (string, error)) (map[string]string, error) {
	signed, err := sign(r.ID, time.Unix(r.At, 0), []byte(r.Body))
	return map[string]string{name + "-id": r.ID, name + "-timestamp": strconv.FormatInt(r.At, 10), name + "-signature": signed}, err
}

func (r request) verify() error {
	h, body := r.header(), []byte(r.Body)
	switch r.Library {
	case "stripe":
		return webhook.ValidatePayload(body, h.Get("Stripe-Signature"), r.Secret)
	case "standard":
		w, err := standard.NewWebhook(r.Secret)
		if err != nil {
			return err
		}
		return w.Verify(body, h)
	case "svix":
		w, err := svix.NewWebhook(r.Secret)
		if err != nil {
			return err
		}
		return w.Verify(body, h)
	case "paddle":
		req := &http.Request{Method: http.MethodPost, Header: h, Body: io.NopCloser(strings.NewReader(r.Body))}
		good, err := paddle.NewWebhookVerifier(r.Secret, paddle.VerifierWithTimestampTolerance(time.Minute)).Verify(req)
		if err == nil && !good {
			err = errors.New("the signature does not match")
		}
		return err
	case "github":
		hook, err := github.New(github.Options.Secret(r.Secret))
		if err != nil {
			return err
		}
		req := &http.Request{Method: http.MethodPost, Header: h, Body: io.NopCloser(strings.NewReader(r.Body))}
		_, err = hook.Parse(req, github.Event(h.Get("X-GitHub-Event")))
		return err
	}
	return fmt.Errorf("there is no library %q", r.Library)
}
