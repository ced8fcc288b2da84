package fate

import "errors"

// freeThrottles is how often in a row one entity may be answered 429, while others
// are not, before that costs an attempt. A quick asker is refused now and then,
// whatever the entity.
const freeThrottles = 2

var (
	// ErrPaused is the failure of work that found its source paused.
	ErrPaused = New(Unavailable, errors.New("the source is paused"))
	// ErrOvertaken is the failure of a write under a claim that is no longer the
	// newest: another fetch of the entity has begun.
	ErrOvertaken = errors.New("a newer fetch of the entity has begun")
)

// Failure is work that failed, and what is known about it so far.
type Failure struct {
	// Err is what failed. Its class is that of Of.
	Err error
	// Disagree: the entity was asked for under several parents. Their answers
	// differ, and none has it.
	Disagree bool
	// Answer is the answer to the question that Decide asked about this failure.
	Answer Answer
	// Throttled is how often in a row the same was answered 429 though the source
	// was not asked too often, this time included.
	Throttled int
	// Confirmed: the provider has said for the kind's gone_after that it has no
	// such entity.
	Confirmed bool
	// Alive: the mirror holds the entity, and not as deleted.
	Alive bool
	// Unfinished: what failed is a step of carrying out an earlier fate.
	Unfinished bool
}

// Question is what has to be known of a source before a fate is decided.
type Question int

// The questions. The answer to the first three is Yes if it is the source.
const (
	// Down: is the source down, or does this alone fail?
	Down Question = iota
	// Refusing: does the provider refuse our key, or this alone?
	Refusing
	// Overasked: is the source asked too often, or is this alone answered so?
	Overasked
	// Believable: may it be believed that an entity the mirror knows is gone, or
	// that a list has no elements any more?
	Believable
)

// Answer is the answer to a Question.
type Answer int

// The answers. The zero value is NotAsked.
const (
	NotAsked Answer = iota
	No
	Yes
	// OfKind answers Refusing: neither the source nor this alone, but all of its kind
	// or of its scope.
	OfKind
)

// AnswerOf returns Yes or No.
func AnswerOf(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// Action is what to do with failed work.
type Action int

// The actions. Only Retry costs an attempt.
const (
	// Retry counts an attempt, and tries again after a back-off; work without
	// attempts left is buried.
	Retry Action = iota
	// Wait keeps the work where it is, and tries again once Until is over.
	Wait
	// Park puts the work aside until Until is over.
	Park
	// Confirm asks again after the kind's gone_after whether the entity is gone.
	Confirm
	// Tombstone writes that the entity is gone.
	Tombstone
	// Bury gives the work up as a dead letter.
	Bury
	// Redo does the whole work again after a pause that grows.
	Redo
	// Ask asks the source first. The answer goes into Failure.Answer.
	Ask
)

// Until is what work waits for.
type Until int

// What work waits for.
const (
	// SourceWell: the source is not paused any more.
	SourceWell Until = iota
	// StoreBack: the store and Redis answer.
	StoreBack
	// FetchOver: the newer fetch of the entity has ended.
	FetchOver
	// Proof: it is proven that the right account is asked.
	Proof
	// ItsTurn: the time that the provider asked this entity to wait is over.
	ItsTurn
	// Definition: a worker whose definition has the kind takes the work up.
	Definition
	// Permission: our key may read the kind, and enter the scope.
	Permission
)

// Fate is what becomes of a failure.
type Fate struct {
	Do Action
	// Until is set for Wait and Park.
	Until Until
	// Question is set for Ask.
	Question Question
}

// Decide returns what becomes of a failure. The package comment has the table.
func Decide(f Failure) Fate {
	class, _ := Of(f.Err)
	switch {
	case f.Unfinished && class != Panic:
		return Fate{Do: Redo}
	case errors.Is(f.Err, ErrOvertaken):
		return Fate{Do: Wait, Until: FetchOver}
	case errors.Is(f.Err, ErrPaused):
		return Fate{Do: Wait, Until: SourceWell}
	case f.Disagree && class.Repeats():
		return Fate{Do: Retry} // nothing is concluded
	}
	switch class {
	case Unavailable:
		return Fate{Do: Wait, Until: StoreBack}
	case Undefined:
		return Fate{Do: Park, Until: Definition}
	case Permanent, Panic:
		return Fate{Do: Bury}
	case Gone:
		return f.gone()
	case Refused:
		if f.Answer == OfKind {
			return Fate{Do: Park, Until: Permission}
		}
		return f.unlessSource(Refusing, Fate{Do: Bury})
	case Throttled:
		if f.Throttled > freeThrottles {
			return f.unlessSource(Overasked, Fate{Do: Retry})
		}
		return f.unlessSource(Overasked, Fate{Do: Park, Until: ItsTurn})
	}
	return f.unlessSource(Down, Fate{Do: Retry})
}

// unlessSource is alone if the failure is not the source's. While the source is
// ill, everything of it waits and nothing is charged.
func (f Failure) unlessSource(q Question, alone Fate) Fate {
	switch f.Answer {
	case Yes:
		return Fate{Do: Wait, Until: SourceWell}
	case No:
		return alone
	}
	return Fate{Do: Ask, Question: q}
}

// gone: one 404 may come too early, and those of a wrong account never come to
// an end.
func (f Failure) gone() Fate {
	switch {
	case !f.Confirmed:
		return Fate{Do: Confirm}
	case !f.Alive || f.Answer == Yes:
		return Fate{Do: Tombstone}
	case f.Answer == No:
		return Fate{Do: Wait, Until: Proof}
	}
	return Fate{Do: Ask, Question: Believable}
}
