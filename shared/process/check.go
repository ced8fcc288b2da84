package process

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

// longestAnswer is how much of what an address answered is shown, in bytes.
const longestAnswer = 1024

// check asks an address and fails unless it answers 200. It is the health
// check of a container whose image holds nothing but our binaries.
func check(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("--check: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("--check: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(res.Body, longestAnswer+1)) // the status alone says enough
		return fmt.Errorf("--check: %s answered %s: %s", url, res.Status, fate.Short(string(said), longestAnswer))
	}
	return nil
}
