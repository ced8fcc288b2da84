package worker

import "github.com/tarn-sync/tarn/worker/entity"

// enter waits for the gate, which is closed while an entity is being parked. It
// waits as long as Redis is away, or until the shard is lost.
func (r *intake) enter() {
	r.loop.Waiting("the shard's gate")
	r.step(entity.Enter{})
	select {
	case <-r.entered:
	case <-r.ctx.Done():
	}
	r.loop.Turn()
}

func (r *intake) leave() { r.step(entity.Leave{}) }
