package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// AcceptFor is how long ResumeAccepting accepts deletions: long enough to find
// and remove what belonged to an account that is closed, short enough that it
// does not stand open for the next mistake.
const AcceptFor = time.Hour

// ResumeAccepting ends a pause as Resume does, and lets known entities of the
// source be taken for deleted though no known entity answers any more: an
// operator has looked. That ends after AcceptFor, or with Resume. Repeated, it
// begins again.
func (s *Streams) ResumeAccepting(ctx context.Context, source, by string) error {
	keys := []string{s.keys.accepted(source), s.keys.source(source), s.keys.probe(source)}
	_, err := run(ctx, s.client, acceptScript, "resume source "+source+" and accept its deletions", keys, by, AcceptFor.Milliseconds())
	return err
}

// DeletionsAccepted returns for how long deletions of a source are still
// accepted. 0: they are not.
func (s *Streams) DeletionsAccepted(ctx context.Context, source string) (time.Duration, error) {
	left, err := s.client.PTTL(ctx, s.keys.accepted(source)).Result()
	if err != nil {
		return 0, fmt.Errorf("read whether deletions of source %s are accepted: %w", source, err)
	}
	// Redis keeps the moment of expiry. More left than was ever given means that
	// its clock was set back; the time may be over.
	if left < 0 || left > AcceptFor {
		return 0, nil
	}
	return left, nil
}

// Account returns who the provider said we are when it had just answered for an
// entity the mirror knows. "": it never said so, or Redis was emptied since.
func (s *Streams) Account(ctx context.Context, source string) (string, error) {
	account, err := s.client.Get(ctx, s.keys.account(source)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read the account of source %s: %w", source, err)
	}
	return account, nil
}

// SetAccount keeps it.
func (s *Streams) SetAccount(ctx context.Context, source, account string) error {
	if err := s.client.Set(ctx, s.keys.account(source), account, 0).Err(); err != nil {
		return fmt.Errorf("keep the account of source %s: %w", source, err)
	}
	return nil
}
