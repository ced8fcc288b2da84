// Package console is the operator's console: one page of plain HTML, CSS and ES modules
// that reads everything through the HTTP API. README.md shows what it has.
//
// There is no build step. The files of static are embedded and served as they are:
//
//	index.html  the frame: header, navigation, main
//	app.css     all styles, light and dark
//	app.js      starts: who is asking, which page, what is live
//	api.js      requests, problems, the token, the stream of /v1/live
//	dom.js      makes elements; text is always text, never markup
//	format.js   times, durations, numbers
//	words.js    what statuses, reasons and classes mean, in sentences
//	json.js     shows JSON as the provider wrote it: 1.10 stays 1.10
//	parts.js    tables, pills, filters, empty states, problems
//	chart.js    small charts in SVG
//	dialog.js   asks before anything is changed
//	list.js     a page with filters and a list
//	pages/      one module for each page
//
// Ids, types, errors and states come from outside. They reach the page as text nodes and
// attribute values only; the content security policy forbids the browser to take any
// text for markup or code, and to send anything to another host.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var embedded embed.FS

// policy lets the page load its own files and ask its own api, and nothing else. Trusted
// types make every way from text to markup an error.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes of the files, by the end of their names. The system's own table may differ.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is a file as it is served.
type file struct {
	body        []byte
	contentType string
	tag         string
}

// Handler serves the page at "" and its files below "/".
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if r.URL.Path == "/" { // relative addresses would lead elsewhere
			w.Header().Set("Location", "../console")
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		if name == "" {
			name = "index.html"
		}
		f, ok := files[name]
		if !ok {
			http.Error(w, "the console has no such file", http.StatusNotFound)
			return
		}
		f.serve(w, r)
	})
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // asks whether it is the newest: the tag says so
	h.Set("ETag", f.tag)
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	_, _ = w.Write(f.body) // the client is gone if this fails
}

// load reads the embedded files. It panics if that fails, which only a broken program
// can make it do.
func load() map[string]file {
	files := map[string]file{}
	root, err := fs.Sub(embedded, "static")
	if err == nil {
		err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			body, err := fs.ReadFile(root, name)
			sum := sha256.Sum256(body)
			files[name] = file{body: body, contentType: contentTypes[path.Ext(name)], tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
			return err
		})
	}
	if err != nil {
		panic("console: read the embedded files: " + err.Error())
	}
	return files
}
