package worker

import (
	"github.com/tarn-sync/tarn/shared/orphan"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// orphaned are the sources that are not configured and whose work waits, as they
// were last told.
type orphaned map[string]bool

// rememberSources notes the sources there are, and those there were before
// Redis kept a list of them or when it lost it: each has had a standing task.
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

// measureOrphans exports what waits of sources that are not configured, and tells
// of each once: no worker works on it, and no other figure counts it.
func (s meter) measureOrphans(told orphaned) {
	found, err := orphan.Find(s.ctx, s.w.Streams, s.w.Store, s.w.names)
	if err != nil {
		return // the next round says more than a line in the log
	}
	waits := map[string]bool{}
	for _, work := range found {
		waits[work.Source] = true
		s.w.Metrics.Unconfigured.WithLabelValues(work.Source).Set(float64(work.Total()))
		if !told[work.Source] {
			told[work.Source] = true
			work.Warn(s.w.Logger)
		}
	}
	for name := range told {
		if !waits[name] {
			delete(told, name)
			s.w.Metrics.Unconfigured.DeleteLabelValues(name)
		}
	}
}

func (o orphaned) clear(m *telemetry.Metrics) {
	for name := range o {
		m.Unconfigured.DeleteLabelValues(name)
	}
}
