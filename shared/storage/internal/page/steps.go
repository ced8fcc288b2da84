package page

import "sync"

// Steps remembers where the last step of each scan ends, so that the next page of
// the same step need not look for its end again. The zero value is ready.
type Steps struct{ last sync.Map } // by name: step

type step struct{ after, end string }

// End returns where the step ends in which a page that begins behind an id lies,
// if that is the last one kept of the scan.
func (s *Steps) End(scan, after string) (end string, known bool) {
	v, known := s.last.Load(scan)
	if !known {
		return "", false
	}
	last := v.(step)
	return last.end, last.after <= after && after < last.end
}

// Keep remembers that a step begins behind one id and ends at another, behind
// which there is more.
func (s *Steps) Keep(scan, after, end string) { s.last.Store(scan, step{after, end}) }
