package process

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/loops"
)

// reloads has the functions that take new settings.
type reloads struct {
	mu  sync.Mutex
	all []func(*config.Config) error
	// last has the settings passed on last. Nil: none yet.
	last *config.Config
}

// OnReload registers a function that takes secrets, keys and rates from settings
// that were read again. All other settings it gets are those the process started
// with. An error is logged, and the former values stay in force.
//
// If settings were read again before the registration, take gets them at once: a
// process may wait for Redis at its start for long, and by then only the key that
// was changed meanwhile may be valid.
func (p *Process) OnReload(take func(*config.Config) error) {
	p.reloads.mu.Lock()
	defer p.reloads.mu.Unlock()
	p.reloads.all = append(p.reloads.all, take)
	if p.reloads.last == nil {
		return
	}
	if err := take(p.reloads.last); err != nil {
		p.notTaken(err)
	}
}

func (p *Process) notTaken(err error) {
	p.Logger.Error("some settings were not taken; the old ones stay in force", "error", err)
}

// followSettings makes SIGHUP, and new content of a file that the settings name, read the
// settings again. It returns when signals are caught; uncaught, a SIGHUP would end the
// process.
func (p *Process) followSettings(ctx context.Context, file string, environ []string) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	files := newRotation(p.Config, func() (*config.Config, error) { return config.Load(file, environ) }, p.Reload,
		func(files []string) { p.Logger.Info("files of the settings have new content", "files", files) })
	looks := time.NewTimer(loops.UntilTick(lookEvery))
	go func() {
		defer signal.Stop(hangups)
		defer looks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				files.hangup(time.Now())
			case <-looks.C:
				files.look(time.Now())
				looks.Reset(loops.UntilTick(lookEvery))
			}
		}
	}()
}

// Reload passes settings that were read again to all registered functions, now or
// later: of what was read only what may change without a restart. Ones that
// could not be read change nothing. It reports whether everything was taken.
func (p *Process) Reload(read *config.Config, err error) (taken bool) {
	defer func() {
		result := "taken"
		if !taken {
			result = "refused"
		}
		p.Metrics.Reloads.WithLabelValues(result).Inc()
	}()
	if err != nil {
		p.Logger.Error("settings were not read again; the old ones stay in force", "error", err)
		return false
	}
	if keys := config.NeedsRestart(p.Config, read); len(keys) > 0 {
		p.Logger.Warn("settings differ that need a restart", "keys", keys)
	}
	p.reloads.mu.Lock()
	defer p.reloads.mu.Unlock()
	running := p.reloads.last
	if running == nil {
		running = p.Config
	}
	p.reloads.last = config.Reloaded(running, read)
	var failed []error
	for _, take := range p.reloads.all {
		failed = append(failed, take(p.reloads.last))
	}
	if err := errors.Join(failed...); err != nil {
		p.notTaken(err)
		return false
	}
	p.Logger.Info("settings read again")
	return true
}
