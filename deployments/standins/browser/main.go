// Command browser drives a headless Chromium for tests. It reads requests from its input
// and writes answers to its output, a JSON object each:
//
//	{"do": "open", "url": …, "width": 1280, "height": 800, "dark": false}   a new tab, alone
//	{"do": "go", "url": …}                  loads another address in it
//	{"do": "eval", "js": …}                 → {"value": …}; promises are awaited
//	{"do": "wait", "js": …, "within_ms": …} until the expression is true
//	{"do": "click", "at": "#selector"}      with the mouse, once it is visible; with "js", which
//	                                        marks it, marked again if the page was replaced
//	{"do": "type", "at": "#selector", "text": …}
//	{"do": "press", "text": "Tab"}          a key: Tab, Enter, Escape, or text
//	{"do": "shot", "path": "page.png"}      the whole page
//	{"do": "names"}                         → {"value": ["button", …]}, roles without a name
//	{"do": "heard"}                         → {"heard": {"errors": …, "requests": …}} since open
//
// The answer to what failed has an "error". It ends when its input ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// stepWithin bounds one step.
const stepWithin = time.Minute

type request struct {
	Do, URL, JS, At, Text, Path string
	Width, Height               int64
	Dark                        bool
	WithinMS                    int64 `json:"within_ms"`
}

type answer struct {
	Value any    `json:"value,omitempty"`
	Heard *heard `json:"heard,omitempty"`
	Error string `json:"error,omitempty"`
}

// heard is what a tab said and asked for.
type heard struct {
	Errors   []string `json:"errors"`
	Requests []string `json:"requests"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	program, err := find()
	if err != nil {
		return err
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("font-render-hinting", "none"), chromedp.Flag("force-color-profile", "srgb"))
	all, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	ctx, end := chromedp.NewContext(all)
	defer end()
	if err := chromedp.Do(ctx); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	d := &driver{browser: ctx}
	defer d.close()
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var r request
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := d.do(r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
}

// find returns the path of a Chromium.
func find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium is on PATH; install it: apt-get install chromium, dnf install chromium, apk add chromium, brew install chromium")
}

// driver has the browser and its one open tab.
type driver struct {
	browser context.Context
	tab     context.Context
	closing context.CancelFunc
	// width and height are those of the tab's screen.
	width, height int64

	mu    sync.Mutex
	heard heard
}

func (d *driver) close() {
	if d.closing != nil {
		d.closing()
	}
}

func (d *driver) do(r request) (a answer, err error) {
	switch r.Do {
	case "open":
		return a, d.open(r)
	case "heard":
		d.mu.Lock()
		defer d.mu.Unlock()
		return answer{Heard: &heard{slices.Clone(d.heard.Errors), slices.Clone(d.heard.Requests)}}, nil
	case "wait":
		return a, d.wait(r)
	case "eval":
		a.Value, err = d.eval(r.JS)
		return a, err
	case "names":
		a.Value, err = d.nameless()
		return a, err
	case "shot":
		return a, d.shot(r.Path)
	case "go":
		return a, d.run(chromedp.Navigate(r.URL))
	case "click":
		return a, d.click(r)
	case "type":
		return a, d.run(chromedp.SendKeys(chromedp.CSS(r.At), r.Text, chromedp.NodeVisible))
	case "press":
		return a, d.run(chromedp.KeyEvent(key(r.Text)))
	}
	return a, fmt.Errorf("%q is nothing the browser can do", r.Do)
}

func key(name string) string {
	switch name {
	case "Tab":
		return kb.Tab
	case "Enter":
		return kb.Enter
	case "Escape":
		return kb.Escape
	}
	return name
}

// step runs f on the tab, within stepWithin.
func (d *driver) step(f func(context.Context) error) error {
	if d.tab == nil {
		return errors.New("no tab is open")
	}
	ctx, cancel := context.WithTimeout(d.tab, stepWithin)
	defer cancel()
	return f(ctx)
}

func (d *driver) run(step chromedp.Action[chromedp.Void]) error {
	return d.step(func(ctx context.Context) error { return chromedp.Do(ctx, step) })
}

// open closes the tab and opens another, in a context of its own: it has neither cache
// nor storage of those before.
func (d *driver) open(r request) error {
	d.close()
	d.mu.Lock()
	d.heard = heard{}
	d.mu.Unlock()
	d.width, d.height = r.Width, r.Height
	d.tab, d.closing = chromedp.NewContext(d.browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(d.listen))
	// The tab lives as long as the context of its first step: not that of a bounded one.
	if err := chromedp.Do(d.tab); err != nil {
		return err
	}
	scheme := "light"
	if r.Dark {
		scheme = "dark"
	}
	return d.step(func(ctx context.Context) error {
		if err := d.resize(ctx, d.height); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		if err != nil {
			return err
		}
		return chromedp.Do(ctx, chromedp.Navigate(r.URL))
	})
}

func (d *driver) listen(happened any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e := happened.(type) {
	case *network.EventRequestWillBeSent:
		d.heard.Requests = append(d.heard.Requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		said := e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			said += " " + thrown.Description
		}
		d.heard.Errors = append(d.heard.Errors, said)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			d.heard.Errors = append(d.heard.Errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			said := string(e.Type)
			for _, arg := range e.Args {
				said += " " + string(arg.Value) + arg.Description
			}
			d.heard.Errors = append(d.heard.Errors, said)
		}
	}
}

func (d *driver) eval(js string) (value any, err error) {
	err = d.step(func(ctx context.Context) error {
		value, err = chromedp.Run(ctx, chromedp.Evaluate[any](js, chromedp.EvalAwaitPromise))
		return err
	})
	return value, err
}

// clickWithin is how long a marked element is tried to be clicked at before it is marked
// again: longer than a machine stalls, for a click that was made and is not known of is made
// twice.
const clickWithin = 5 * time.Second

func (d *driver) click(r request) error {
	at := chromedp.Click(chromedp.CSS(r.At), chromedp.NodeVisible)
	if r.JS == "" {
		return d.run(at)
	}
	return d.step(func(ctx context.Context) error {
		for {
			if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](r.JS)); err != nil {
				return err
			}
			try, cancel := context.WithTimeout(ctx, clickWithin)
			err := chromedp.Do(try, at)
			cancel()
			if err == nil || ctx.Err() != nil {
				return err
			}
		}
	})
}

// wait asks again and again, since a page may be replaced while it is waited for.
func (d *driver) wait(r request) error {
	within := time.Duration(r.WithinMS) * time.Millisecond
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		value, err := d.eval(r.JS)
		if err == nil && value == true {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %s (it is %v, %v)", within, r.JS, value, err)
		}
	}
}

// shot writes a picture of the page on a screen that is as high as the page, up to tallest.
func (d *driver) shot(path string) error {
	return d.step(func(ctx context.Context) error {
		high, err := chromedp.Run(ctx, chromedp.Evaluate[int64]("document.documentElement.scrollHeight"))
		if err != nil {
			return err
		}
		if err := d.resize(ctx, max(d.height, min(high, tallest))); err != nil {
			return err
		}
		picture, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, picture.Data, 0o600); err != nil {
			return err
		}
		return d.resize(ctx, d.height)
	})
}

// tallest is the most of a page that a picture shows, in pixels.
const tallest = 1200

// resize gives the screen another height.
func (d *driver) resize(ctx context.Context, height int64) error {
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: d.width, Height: height, DeviceScaleFactor: 1,
	})
	return err
}

// named are the roles that must have a name.
var named = []string{"button", "link", "textbox", "combobox", "checkbox", "heading", "table", "img", "image", "navigation", "dialog", "form", "searchbox", "spinbutton"}

// nameless returns the roles of what the accessibility tree has without a name.
func (d *driver) nameless() (found []string, err error) {
	found = []string{}
	err = d.step(func(ctx context.Context) error {
		tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		for _, n := range tree.Nodes {
			if n.Ignored || n.Role == nil {
				continue
			}
			role, name := text(n.Role), ""
			if n.Name != nil {
				name = text(n.Name)
			}
			if slices.Contains(named, role) && name == "" {
				found = append(found, fmt.Sprintf("%s (node %d)", role, n.BackendDOMNodeID))
			}
		}
		return err
	})
	return found, err
}

func text(v *accessibility.Value) (s string) {
	_ = json.Unmarshal(v.Value, &s) // another type has no text
	return s
}
