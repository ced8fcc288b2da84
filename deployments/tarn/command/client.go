package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// defaultAPI is the address of the api that `make run` starts.
const defaultAPI = "http://127.0.0.1:8080"

// mostAnswer bounds an answer of the api: a page of 200 events with large payloads.
const mostAnswer = 512 << 20

// connection has the flags of every command that asks a running api.
type connection struct {
	env        *Env
	api, token string
	json       bool
	// key is the Idempotency-Key of requests. Default: none.
	key string
}

// connected declares the flags of a connection and hands it to do once they are read.
func connected(set *flag.FlagSet, do func(context.Context, *connection, []string) error) func(context.Context, *Env, []string) error {
	c := &connection{}
	set.StringVar(&c.api, "api", "", "`URL` of the api; default: TARN_API, then that of the file, then "+defaultAPI)
	set.StringVar(&c.token, "token", "", "`TOKEN` of an operator or viewer, or @FILE that holds it; default: TARN_TOKEN, then that of the file")
	set.BoolVar(&c.json, "json", false, "print what the api answers, one JSON object a line")
	return func(ctx context.Context, env *Env, args []string) error {
		c.env = env
		if err := c.complete(); err != nil {
			return err
		}
		return do(ctx, c, args)
	}
}

// userFile is what tarn/cli.yaml in the user's configuration directory may say.
type userFile struct {
	API   string `yaml:"api"`
	Token string `yaml:"token"`
}

// complete fills in what no flag gives: from the environment, then from the file.
func (c *connection) complete() error {
	saved, err := c.saved()
	if err != nil {
		return err
	}
	c.api = cmp.Or(c.api, c.env.Getenv("TARN_API"), saved.API, defaultAPI)
	u, err := url.Parse(c.api)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
		return misused("%q is no address of an api: want one such as %s", c.api, defaultAPI)
	}
	c.api = strings.TrimSuffix(c.api, "/")
	if c.token, err = secret(cmp.Or(c.token, c.env.Getenv("TARN_TOKEN"), saved.Token)); err != nil {
		return err
	}
	if strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return misused("the token has characters that no token has; does the file hold only the token?")
	}
	return nil
}

// saved reads the user's file. None is no error.
func (c *connection) saved() (userFile, error) {
	dir := c.env.Getenv("XDG_CONFIG_HOME")
	if dir == "" && c.env.Getenv("HOME") != "" {
		dir = filepath.Join(c.env.Getenv("HOME"), ".config")
	}
	if dir == "" {
		return userFile{}, nil
	}
	path := filepath.Join(dir, "tarn", "cli.yaml")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return userFile{}, nil
	}
	if err != nil {
		return userFile{}, err
	}
	var f userFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return userFile{}, fmt.Errorf("%s: %w: it may have api and token", path, err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && f.Token != "" && !strings.HasPrefix(f.Token, "@") {
		return userFile{}, fmt.Errorf("%s holds a token and others may read it: chmod 600 %[1]s", path)
	}
	return f, nil
}

// get reads one thing of the api into out and returns the answer as it came.
func (c *connection) get(ctx context.Context, out any, query url.Values, path ...string) (json.RawMessage, error) {
	return c.call(ctx, http.MethodGet, query, nil, out, path...)
}

// post asks the api to act. A nil body sends none.
func (c *connection) post(ctx context.Context, out, body any, path ...string) (json.RawMessage, error) {
	return c.call(ctx, http.MethodPost, nil, body, out, path...)
}

// call sends a request to /v1 and reads its answer. The parts of the path are escaped.
func (c *connection) call(ctx context.Context, method string, query url.Values, body, out any, path ...string) (json.RawMessage, error) {
	text, _, err := c.exchange(ctx, method, query, body, out, path...)
	return text, err
}

// exchange is call that also returns the status of the answer, for answers that mean
// something else by it.
func (c *connection) exchange(ctx context.Context, method string, query url.Values, body, out any, path ...string) (answer json.RawMessage, status int, err error) {
	address := c.api + "/v1"
	for _, part := range path {
		address += "/" + url.PathEscape(part)
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, 0, err
		}
		send = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, address, send)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("User-Agent", "tarn/"+c.env.Version)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.env.HTTP.Do(r)
	if err != nil {
		return nil, 0, fmt.Errorf("no api answers at %s (set --api, or TARN_API): %w", c.api, err)
	}
	defer func() { _ = res.Body.Close() }() // read whole, or an error is returned
	text, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("the answer of %s broke off: %w", c.api, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, 0, newRefusal(res, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, 0, fmt.Errorf("%s answered something that is no Tarn api's answer: %w", c.api, err)
	}
	return text, res.StatusCode, nil
}

// refused is an answer of the api that is an error.
type refused struct {
	status int
	// kind is the end of its problem type, "not-found".
	kind, text string
}

func (r *refused) Error() string { return r.text }

func newRefusal(res *http.Response, body []byte) error {
	var p struct {
		Type, Detail string
		Errors       []struct{ Message, Location string }
		Candidates   []struct{ Link string }
		Parked       *parkedAnswer
	}
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		return &refused{status: res.StatusCode, text: fmt.Sprintf("HTTP %s: is this the address of a Tarn api?", res.Status)}
	}
	text := printable(p.Detail)
	for _, e := range p.Errors {
		text += fmt.Sprintf("\n  %s: %s", printable(e.Location), printable(e.Message))
	}
	for _, a := range p.Candidates {
		text += "\n  " + printable(a.Link)
	}
	if p.Parked != nil {
		text += "\n  " + printable(p.Parked.why())
	}
	if res.StatusCode == http.StatusUnauthorized {
		text += " (give --token, or set TARN_TOKEN)"
	}
	return &refused{status: res.StatusCode, kind: p.Type[strings.LastIndexByte(p.Type, ':')+1:], text: text}
}

// isRefused reports whether the api answered an error of this type.
func isRefused(err error, kind string) bool {
	var r *refused
	return errors.As(err, &r) && r.kind == kind
}

// pageSize is the most that a page of the api has.
const pageSize = 200

// each reads a list page by page, at most so many items, newest first, and calls do with
// each until do returns false.
func each[T any](ctx context.Context, c *connection, most int, query url.Values, do func(T, json.RawMessage) bool, path ...string) error {
	q := url.Values{}
	for name, values := range query {
		q[name] = values
	}
	for most > 0 {
		q.Set("limit", strconv.Itoa(min(most, pageSize)))
		var page struct {
			Items      []json.RawMessage
			NextCursor string `json:"next_cursor"`
		}
		if _, err := c.get(ctx, &page, q, path...); err != nil {
			return err
		}
		for _, raw := range page.Items {
			var item T
			if err := json.Unmarshal(raw, &item); err != nil {
				return fmt.Errorf("%s answered an item that cannot be read: %w", c.api, err)
			}
			if !do(item, raw) {
				return nil
			}
		}
		if most -= len(page.Items); page.NextCursor == "" || len(page.Items) == 0 {
			return nil
		}
		q.Set("cursor", page.NextCursor)
	}
	return nil
}
