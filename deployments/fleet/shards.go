package fleet

import "context"

// Shut sends no more webhooks to any api, as a proxy whose apis were taken out; Open sends them
// again to those that run.
func (f *Fleet) Shut() {
	for _, m := range f.Members(API) {
		f.balancer.remove(m.Addr)
	}
}

// Open is the end of Shut.
func (f *Fleet) Open() {
	for _, m := range f.Members(API) {
		if m.Running() {
			f.balancer.add(m.Addr)
		}
	}
}

// Move writes settings with another number of shards, under another prefix. No member runs
// meanwhile, and the first one after it has to Adopt.
func (f *Fleet) Move(ctx context.Context, prefix string, shards int) error {
	f.plan.Prefix, f.plan.Shards = prefix, shards
	if err := f.writeSettings(); err != nil {
		return err
	}
	return f.openStreams(ctx)
}
