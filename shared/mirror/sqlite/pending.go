package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
)

var errPending = errors.ErrUnsupported

func (s *Store) Judge(context.Context, []string, []string, time.Time) ([]mirror.Discrepancy, error) {
	return nil, errPending
}
func (s *Store) Repair(context.Context, []string, bool, time.Time) error { return errPending }
func (s *Store) Discrepancies(context.Context, mirror.DiscrepancyFilter) (mirror.Page[*mirror.Discrepancy], error) {
	return mirror.Page[*mirror.Discrepancy]{}, errPending
}
func (s *Store) CountDiscrepancies(context.Context) ([]mirror.DiscrepancyCount, error) {
	return nil, errPending
}
func (s *Store) LetterByID(context.Context, string) (*mirror.LetterRecord, error) {
	return nil, errPending
}
func (s *Store) Letters(context.Context, mirror.LetterFilter) (mirror.Page[*mirror.LetterRecord], error) {
	return mirror.Page[*mirror.LetterRecord]{}, errPending
}
func (s *Store) CountLetters(context.Context, mirror.LetterFilter) (int64, error) {
	return 0, errPending
}
func (s *Store) OpenLetters(context.Context) (map[string]int64, error) { return nil, errPending }
func (s *Store) Redriven(context.Context, []string, string, time.Time) (int, error) {
	return 0, errPending
}
func (s *Store) Discard(context.Context, []string, string, string, time.Time) (int, error) {
	return 0, errPending
}
func (s *Store) Unsettled(context.Context, string, time.Time, int, string) ([]*mirror.EventRow, string, error) {
	return nil, "", errPending
}
func (s *Store) Requeued(context.Context, []mirror.Requeue) error { return errPending }
func (s *Store) KnownEvents(context.Context, string, []string) (map[string]bool, error) {
	return nil, errPending
}
func (s *Store) Documents(context.Context, []event.Key) ([]*mirror.Document, error) {
	return nil, errPending
}
func (s *Store) Verify(context.Context, []mirror.Verified) (int, error) { return 0, errPending }
func (s *Store) DueForVerify(context.Context, mirror.DueFilter) ([]*mirror.Document, error) {
	return nil, errPending
}
func (s *Store) Staleness(context.Context, time.Time) ([]mirror.Staleness, error) {
	return nil, errPending
}
func (s *Store) CreateTasks(context.Context, []*mirror.Task) error  { return errPending }
func (s *Store) Task(context.Context, string) (*mirror.Task, error) { return nil, errPending }
func (s *Store) Tasks(context.Context, mirror.TaskFilter) (mirror.Page[*mirror.Task], error) {
	return mirror.Page[*mirror.Task]{}, errPending
}
func (s *Store) SaveTask(context.Context, *mirror.Task) (bool, error) { return false, errPending }
func (s *Store) CancelTask(context.Context, string) (bool, error)     { return false, errPending }
func (s *Store) ForgetTasks(context.Context, time.Time) (int, error)  { return 0, errPending }
