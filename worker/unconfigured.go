package worker

import (
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/unconfigured"
)

// reportedSources are the unconfigured sources whose waiting work has been logged.
type reportedSources map[string]bool

// rememberSources adds the sources to Redis' list of all sources the fleet has had.
// It adds former ones too, in case Redis has lost the list: each has a standing
// task in the store.
func (s meter) rememberSources() {
	names := append([]string(nil), s.w.names...)
	for f := (storage.TaskFilter{Kinds: []string{storage.KindRecover}, Limit: 200}); ; {
		page, err := s.w.Store.Tasks(s.ctx, f)
		if err != nil {
			s.log.Warn("the sources there were before are not known", "error", err)
			break
		}
		for _, t := range page.Items {
			names = append(names, t.Source)
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			break
		}
	}
	if err := s.w.Streams.Remember(s.ctx, names); err != nil {
		s.log.Warn("sources were not remembered", "error", err)
	}
}

// measureUnconfigured exports how much work of unconfigured sources waits, and logs
// each source once. No worker does that work, and no other figure counts it.
func (s meter) measureUnconfigured(reported reportedSources) {
	found, err := unconfigured.Find(s.ctx, s.w.Streams, s.w.Store, s.w.names)
	if err != nil {
		return // the next round tries again
	}
	waits := map[string]bool{}
	for _, work := range found {
		waits[work.Source] = true
		s.w.Metrics.Unconfigured.WithLabelValues(work.Source).Set(float64(work.Total()))
		if !reported[work.Source] {
			reported[work.Source] = true
			work.Warn(s.w.Logger)
		}
	}
	for name := range reported {
		if !waits[name] {
			delete(reported, name)
			s.w.Metrics.Unconfigured.DeleteLabelValues(name)
		}
	}
}

func (r reportedSources) clear(m *telemetry.Metrics) {
	for name := range r {
		m.Unconfigured.DeleteLabelValues(name)
	}
}
