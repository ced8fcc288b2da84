package provider

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
)

// tokenAnswers sends requests for access tokens. An answer that begins as JSON does is
// marked as such: some endpoints call it text, which package oauth2 reads as a form.
type tokenAnswers struct{ next http.RoundTripper }

// longestMargin is how many bytes of white space may stand before the JSON.
const longestMargin = 64

// RoundTrip sends a request.
func (t tokenAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body := bufio.NewReader(res.Body)
	start, _ := body.Peek(longestMargin) // an error is that of a later Read too
	if bytes.HasPrefix(bytes.TrimLeft(start, " \t\r\n"), []byte("{")) {
		res.Header.Set("Content-Type", "application/json")
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{body, res.Body}
	return res, nil
}
