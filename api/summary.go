package api

import (
	"context"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// liveEvents are the data of the events of GET /v1/live.
var liveEvents = []reflect.Type{reflect.TypeFor[hello](), reflect.TypeFor[past](), reflect.TypeFor[now]()}

// hello is the first event of GET /v1/live.
type hello struct {
	Version string        `json:"version" doc:"The version of the api."`
	By      string        `json:"by" doc:"The name of the token; local if none is needed."`
	Role    string        `json:"role" enum:"viewer,writer,operator"`
	Sources []helloSource `json:"sources" nullable:"false"`
}

type helloSource struct {
	Source string   `json:"source"`
	Kinds  []string `json:"kinds" nullable:"false" doc:"Kinds of entities, as the provider's definition names them."`
	// RatePerS is absent if there is no limit.
	RatePerS    float64 `json:"rate_per_s,omitempty" doc:"Requests a second that the provider allows the fleet. Absent: no limit."`
	ListsEvents bool    `json:"lists_events" doc:"Whether the provider lists its events, so that missed ones are found."`
}

// past is the second event: what was before the client came.
type past struct {
	EveryS float64 `json:"every_s" doc:"Seconds between two points."`
	Points []point `json:"points" nullable:"false" doc:"Oldest first, at most five minutes. Empty if no client listened before."`
}

// point is what charts show of a summary.
type point struct {
	At           moment  `json:"at"`
	ReceivedPerS float64 `json:"received_per_s"`
	P50Ms        float64 `json:"p50_ms"`
	P99Ms        float64 `json:"p99_ms"`
	Backlog      int64   `json:"backlog"`
	Parked       int64   `json:"parked"`
	Letters      int64   `json:"letters"`
	Drift        int64   `json:"drift"`
}

// now is a summary of the mirror and the fleet.
type now struct {
	At      moment        `json:"at"`
	Verdict verdict       `json:"verdict"`
	Flow    flow          `json:"flow"`
	Backlog backlogByAge  `json:"backlog"`
	Sources []fleetSource `json:"sources" nullable:"false"`
	// Unconfigured counts sources.
	Unconfigured int              `json:"unconfigured,omitempty" doc:"Sources that are not configured and whose work waits."`
	Workers      int              `json:"workers" doc:"Live workers."`
	Shards       int              `json:"shards"`
	Unowned      int              `json:"unowned" doc:"Shards that no worker holds."`
	Letters      map[string]int64 `json:"letters" doc:"Open dead letters by source; without those that have none."`
	Drift        drift            `json:"drift"`
	Commands     needful          `json:"commands"`
	Compared     []compared       `json:"compared" nullable:"false" doc:"Of each source the last comparison with the provider that ended."`
	Tasks        []liveTask       `json:"tasks" nullable:"false" doc:"Sweeps and jobs that wait or run, at most 20."`
	Away         []string         `json:"away,omitempty" enum:"redis,database" doc:"What does not answer. Figures that come from it are missing or old."`
}

// flow is how events pass, measured on the newest events of the log.
type flow struct {
	ReceivedPerS float64 `json:"received_per_s" doc:"Events received a second, over the last 10 s; over a shorter time if the newest 500 came within it."`
	P50Ms        float64 `json:"p50_ms" doc:"Half of the measured events were in the mirror this long after they were received, in milliseconds."`
	P99Ms        float64 `json:"p99_ms" doc:"The same of 99 in 100."`
	Measured     int     `json:"measured" doc:"How many are measured: those of the newest 500 that are processed."`
	Open         int     `json:"open" doc:"How many of the newest 500 are not settled yet."`
	Since        moment  `json:"since,omitzero" doc:"When the first of those 500 was received."`
}

// drift counts discrepancies. Each count stops at 100.
type drift struct {
	Suspected   int `json:"suspected" maximum:"100" doc:"Found, and not judged yet: an event under way may explain it."`
	Confirmed   int `json:"confirmed" maximum:"100" doc:"Confirmed, and not repaired yet."`
	Failed      int `json:"failed" maximum:"100" doc:"Confirmed, and the repair was given up."`
	RepairedDay int `json:"repaired_day" maximum:"100" doc:"Found in the last 24 hours and repaired."`
}

func (d drift) open() int { return d.Confirmed + d.Failed }

// needful counts commands that stay as they are until an operator acts.
type needful struct {
	Asked int64 `json:"asked" doc:"It is not known what became of them: an operator has to say."`
	Dead  int64 `json:"dead" doc:"Refused or given up, and neither retried nor discarded."`
}

type compared struct {
	Source     string `json:"source"`
	Sweep      string `json:"sweep"`
	Status     string `json:"status" enum:"done,failed"`
	FinishedAt moment `json:"finished_at"`
	Found      int64  `json:"found"`
	Unchecked  int64  `json:"unchecked_count,omitempty" doc:"Entities that it could not compare."`
}

// liveTask is the progress of a sweep or job.
type liveTask struct {
	ID         string `json:"id"`
	Kind       string `json:"kind"`
	Source     string `json:"source,omitempty"`
	Status     string `json:"status" enum:"waiting,running"`
	Cancelling bool   `json:"cancelling,omitempty"`
	Total      int64  `json:"total" doc:"Parts of a sweep, dead letters or events of a job. 0: not known yet."`
	Done       int64  `json:"done"`
	Failed     int64  `json:"failed,omitempty"`
	Found      int64  `json:"found,omitempty"`
}

// ageBounds are the upper bounds of the classes of age; the last class has none.
var ageBounds = [...]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}

// ageClasses counts live entries by age.
type ageClasses [len(ageBounds) + 1]int64

// agesOf counts the live entries of each shard and source under the age of its oldest
// one: the others may be younger.
func agesOf(shards []stream.ShardState) (n ageClasses) {
	for _, st := range shards {
		for _, q := range st.Sources {
			class := 0
			for class < len(ageBounds) && q.Oldest >= ageBounds[class] {
				class++
			}
			n[class] += q.Live
		}
	}
	return n
}

// backlogByAge is what waits.
type backlogByAge struct {
	Live       int64      `json:"live" doc:"Live entries: webhooks, syncs, what was redriven."`
	Background int64      `json:"background" doc:"Entries of sweeps, backfills, and what events make stale."`
	Parked     int64      `json:"parked" doc:"Entities that wait for their next attempt."`
	OldestAgeS float64    `json:"oldest_age_s" doc:"Age of the oldest live entry, in seconds."`
	Ages       []ageClass `json:"ages" nullable:"false" doc:"Live entries by the age of the oldest entry of their shard and source: none is older than its class says."`
}

type ageClass struct {
	// BelowS is absent in the last class.
	BelowS float64 `json:"below_s,omitempty" doc:"Younger than this, in seconds. Absent: older than all other classes."`
	Count  int64   `json:"count"`
}

func (n now) point() point {
	var letters int64
	for _, of := range n.Letters {
		letters += of
	}
	return point{
		At: n.At, ReceivedPerS: n.Flow.ReceivedPerS, P50Ms: n.Flow.P50Ms, P99Ms: n.Flow.P99Ms,
		Backlog: n.Backlog.Live + n.Backlog.Background, Parked: n.Backlog.Parked, Letters: letters, Drift: int64(n.Drift.open()),
	}
}

// hello tells a caller who it is and what there is.
func (l *live) hello(ctx context.Context) ([]byte, error) {
	who, sources := callerOf(ctx), l.summaries.sources
	h := hello{Version: l.version, By: who.name, Role: string(who.role), Sources: []helloSource{}}
	for _, name := range sources.names() {
		src := sources.get(name)
		if src == nil {
			continue // it was just removed
		}
		s := helloSource{Source: name, Kinds: []string{}, RatePerS: src.Rate.PerSecond(), ListsEvents: src.Provider.EventList().Kept}
		for _, k := range src.Provider.Kinds() {
			s.Kinds = append(s.Kinds, k.Name)
		}
		h.Sources = append(h.Sources, s)
	}
	return frame("hello", h), nil
}

const (
	// passagesRead is how many events of the log are measured. They are read by index,
	// without payloads.
	passagesRead = 500
	// flowWindow is the time over which events a second are counted.
	flowWindow = 10 * time.Second
	// slowlyEvery is how many summaries share a look at what changes slowly.
	slowlyEvery = 5
	// driftCounted is the most discrepancies of a status that are counted: the store has
	// no count of them, and a page shows whether there are many.
	driftCounted = 100
	// tasksShown bounds the sweeps and jobs under way that a summary has.
	tasksShown = 20
)

// summaries makes summaries, one at a time. No step reads more of the log or of other
// lists than a fixed number of rows.
type summaries struct {
	*overview
	turn int
	// slow is what the last look at it has found.
	slow struct {
		drift    drift
		compared []compared
		commands needful
	}
}

// make never fails: what does not answer is named in the summary.
func (s *summaries) make(ctx context.Context) now {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	n := now{At: momentOf(s.now()), Sources: []fleetSource{}, Letters: map[string]int64{}, Tasks: []liveTask{}}
	if err := s.queueState(ctx, &n); err != nil {
		s.log.WarnContext(ctx, "redis does not do what is asked", "doing", "make a summary", "error", err)
		n.Away = append(n.Away, "redis")
	}
	if err := s.storeState(ctx, &n); err != nil {
		s.log.WarnContext(ctx, "store does not answer", "doing", "make a summary", "error", err)
		n.Away = append(n.Away, "database")
	}
	n.Drift, n.Compared, n.Commands = s.slow.drift, append([]compared{}, s.slow.compared...), s.slow.commands
	n.Verdict = judge(&n)
	return n
}

// queueState adds what Redis knows.
func (s *summaries) queueState(ctx context.Context, n *now) error {
	last, err := s.latest(ctx)
	if err != nil {
		return err
	}
	f := last.got
	n.Sources, n.Unconfigured, n.Workers, n.Shards = f.Sources, len(f.Unconfigured), len(f.Workers), len(f.Shards)
	for _, sh := range f.Shards {
		if sh.Owner == "" {
			n.Unowned++
		}
	}
	for _, src := range f.Sources {
		n.Backlog.Live += src.Live
		n.Backlog.Background += src.Background
		n.Backlog.Parked += src.Parked
		n.Backlog.OldestAgeS = max(n.Backlog.OldestAgeS, src.OldestAgeS)
	}
	for i, count := range last.ages {
		class := ageClass{Count: count}
		if i < len(ageBounds) {
			class.BelowS = ageBounds[i].Seconds()
		}
		n.Backlog.Ages = append(n.Backlog.Ages, class)
	}
	return nil
}

// storeState adds what the database knows.
func (s *summaries) storeState(ctx context.Context, n *now) (err error) {
	passages, err := s.store.Passages(ctx, passagesRead)
	if err != nil {
		return err
	}
	n.Flow = flowOf(passages, n.At.Time)
	if n.Letters, err = s.store.OpenLetters(ctx); err != nil {
		return err
	}
	if n.Letters == nil {
		n.Letters = map[string]int64{}
	}
	tasks, err := s.store.Tasks(ctx, storage.TaskFilter{
		Kinds:    slices.Concat(sweepKinds, jobKinds),
		Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}, Limit: tasksShown,
	})
	if err != nil {
		return err
	}
	for _, t := range tasks.Items {
		if !standing(t) {
			n.Tasks = append(n.Tasks, newLiveTask(t))
		}
	}
	s.turn++
	if (s.turn-1)%slowlyEvery == 0 {
		return s.lookSlowly(ctx, n.At.Time)
	}
	return nil
}

func newLiveTask(t *storage.Task) liveTask {
	total := t.Counts["total"]
	if slices.Contains(sweepKinds, t.Kind) {
		total = t.Counts["partitions"]
	}
	return liveTask{
		ID: t.ID, Kind: t.Kind, Source: t.Source, Status: string(t.Status), Cancelling: cancelling(t),
		Total: total, Done: t.Counts["done"], Failed: t.Counts["failed"], Found: t.Counts["found"],
	}
}

// lookSlowly counts discrepancies and commands, and finds the last comparisons.
func (s *summaries) lookSlowly(ctx context.Context, at time.Time) error {
	var d drift
	for _, of := range []struct {
		filter storage.DiscrepancyFilter
		count  *int
	}{
		{storage.DiscrepancyFilter{Status: storage.Suspected}, &d.Suspected},
		{storage.DiscrepancyFilter{Status: storage.Confirmed}, &d.Confirmed},
		{storage.DiscrepancyFilter{Status: storage.Failed}, &d.Failed},
		{storage.DiscrepancyFilter{Status: storage.Repaired, From: at.Add(-24 * time.Hour)}, &d.RepairedDay},
	} {
		of.filter.Limit = driftCounted
		page, err := s.store.Discrepancies(ctx, of.filter)
		if err != nil {
			return err
		}
		*of.count = len(page.Items)
	}
	var last []compared
	for _, source := range s.sources.names() {
		page, err := s.store.Tasks(ctx, storage.TaskFilter{
			Kinds: []string{modeSweep, modeVerify, modeBackfill}, Source: source,
			Statuses: []storage.TaskStatus{storage.TaskDone, storage.TaskFailed}, Limit: 1,
		})
		if err != nil {
			return err
		}
		for _, t := range page.Items {
			last = append(last, compared{
				Source: source, Sweep: t.ID, Status: string(t.Status), FinishedAt: momentOf(t.FinishedAt),
				Found: t.Counts["found"], Unchecked: t.Counts["failed_checks"],
			})
		}
	}
	counted, err := s.store.Commands().Counts(ctx)
	if err != nil {
		return err
	}
	var c needful
	for _, of := range counted.Counts {
		switch of.State {
		case storage.CommandAsked:
			c.Asked += of.Count
		case storage.CommandDead:
			c.Dead += of.Count
		}
	}
	s.slow.drift, s.slow.compared, s.slow.commands = d, last, c
	return nil
}

// flowOf measures the newest events, which come newest first.
func flowOf(newest []storage.Passage, at time.Time) (f flow) {
	if len(newest) == 0 {
		return f
	}
	var took []float64
	received := 0
	for _, p := range newest {
		switch {
		case p.Status == storage.Processed:
			took = append(took, float64(p.ProcessedAt.Sub(p.ReceivedAt))/float64(time.Millisecond))
		case !p.Status.Final():
			f.Open++
		}
		if at.Sub(p.ReceivedAt) < flowWindow {
			received++
		}
	}
	window := flowWindow
	f.Since = momentOf(newest[len(newest)-1].ReceivedAt)
	if received == passagesRead { // there may be more of them in the window
		window = max(at.Sub(f.Since.Time), time.Millisecond)
	}
	f.ReceivedPerS = math.Round(float64(received)/window.Seconds()*10) / 10
	slices.Sort(took)
	f.Measured, f.P50Ms, f.P99Ms = len(took), percentile(took, 50), percentile(took, 99)
	return f
}

// percentile is that of sorted values, by nearest rank; 0 for none.
func percentile(sorted []float64, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return max(0, sorted[rank-1])
}
