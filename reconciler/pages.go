package reconciler

import (
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/provider"
)

// manyPages is after how many pages a long list is logged, each time.
const manyPages = 1000

// follow takes the cursor of a list's next page. It fails if the list does not end.
func (f *finder) follow(c *provider.Cursors, list, next string) error {
	if err := c.Follow(next); err != nil {
		return err
	}
	if n := c.Pages() - 1; n%manyPages == 0 {
		f.log.Warn("a list of the provider is long; it has not ended yet", "source", f.name, "list", list, "pages", n)
	}
	return nil
}

// listBlocked raises an alert about a list that passes one of its bounds: it does not
// end, or a page of it cannot be read in any size. It ignores other errors.
func (f *finder) listBlocked(list string, err error) {
	if f.alert == nil || !errors.Is(err, provider.ErrEndless) && !errors.Is(err, provider.ErrPageTooLong) {
		return
	}
	f.alert(alert.Alert{Kind: alert.ListTooLong, Source: f.name, Reason: fmt.Sprintf("list of %s: %v", list, err)})
}
