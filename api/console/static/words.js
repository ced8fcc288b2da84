// What the words of the api mean, in sentences. tone is one of good, warn, bad, calm.

export const eventStatus = {
  pending: ['calm', 'Waits or is being fetched.'],
  retrying: ['warn', 'An attempt has failed. It is tried again.'],
  processed: ['good', 'Every entity it names was fetched after it came, and the mirror has the answer.'],
  dead: ['bad', 'The work was given up. A dead letter holds it until you redrive or discard it.'],
  superseded: ['good', 'The work was given up, but a later fetch brought the entity up to date.'],
  discarded: ['calm', 'An operator has discarded the work.'],
  erased: ['calm', 'An operator has erased all that it names. Nothing was fetched.'],
};

export const letterStatus = {
  open: ['bad', 'Nothing happens until you redrive or discard it.'],
  redriven: ['calm', 'Its work was queued again.'],
  superseded: ['good', 'A later fetch brought the entity up to date.'],
  discarded: ['calm', 'It was given up for good, and is kept.'],
  erased: ['calm', 'An operator has erased its entity.'],
};

export const letterClass = {
  transient: 'The provider could not be reached, timed out or answered with a server error until all attempts were used. Once it answers again, redrive.',
  throttled: 'The provider kept refusing this entity for haste (429). Redrive with a low rate.',
  refused: 'The provider does not let our key read this. Correct the key or its rights, then redrive.',
  gone: 'The provider says that there is no such entity. If that is right, discard it.',
  permanent: 'The provider refuses the request, or the answer cannot be stored. A repeat fails again until the cause is corrected: read the error.',
  panic: 'The program failed on it. Report the error, and redrive after an upgrade.',
  abandoned: 'Its source was discarded by an operator.',
};

export const commandState = {
  queued: ['calm', 'Not sent, or known not to be done.'],
  sending: ['calm', 'It is being sent.'],
  unclear: ['warn', 'Its answer was lost. It is being found out what became of it.'],
  asked: ['bad', 'Only you can find out what became of it. It is not sent again by itself.'],
  answered: ['calm', 'The provider has made it. The mirror does not show it yet.'],
  done: ['good', 'The provider has made it, and the mirror shows it.'],
  dead: ['bad', 'It was refused, or given up. Nothing happens until you retry or discard it.'],
  cancelled: ['calm', 'It was taken back before it was sent.'],
  discarded: ['calm', 'An operator has given it up.'],
};

export const driftType = {
  missing: 'The provider has it, the mirror did not.',
  stale: 'The states differ.',
  deleted: 'The mirror has it alive, the provider has it no longer.',
  unexpected: 'The mirror has it as deleted, the provider has it.',
  moved: 'The states agree, the parents differ.',
  shared_id: 'The provider has another entity with this id under other parents. The mirror keeps one.',
  event_missed: 'The provider sent an event that never came.',
  rewritten: 'The provider took back history that it had shown.',
  doubled: 'The provider has another entity with a name that an application gave to one.',
  subscription_gap: 'The provider does not send event types that the definition expects.',
};

export const driftStatus = {
  suspected: ['warn', 'Found, and not judged yet. An event under way may explain it.'],
  confirmed: ['bad', 'Nothing explains it. It is being repaired.'],
  repaired: ['good', 'The mirror is true again.'],
  failed: ['bad', 'The repair was given up. Sync the entity, or look at its dead letters.'],
  dropped: ['calm', 'Explained by an event that was on its way.'],
};

export const waitReason = {
  failed: 'An attempt failed.',
  not_found: 'The provider says that it has no such entity. It is asked once more before the mirror marks it as deleted.',
  never_seen: 'The provider says that it has no such entity, and never showed it. It is asked again later.',
  throttled: 'The provider refuses this entity for haste (429).',
  undefined: 'The provider’s definition has no such kind. Add it to the definition.',
  refused: 'The key may not read this kind. Correct its rights.',
  unsettled: 'The database refuses to settle its events. See the worker’s log.',
  backlog: 'It has not failed. It waits for its turn.',
};

export const pauseKind = {
  by_hand: 'An operator has paused it. It stays so until an operator resumes it.',
  throttled: 'The provider has answered 429. It is tried again by itself.',
  used_up: 'The provider’s allowance is used up. It is tried again by itself.',
  down: 'The provider does not answer. It is tried again by itself.',
  refused: 'The provider refuses our key. Correct the key and reload the settings; it is tried again by itself.',
  misconfigured: 'Too many known entities were not found: perhaps the wrong account or address is asked. Check the settings, then resume.',
};

export const taskStatus = {
  waiting: ['calm', 'No reconciler has begun with it.'],
  running: ['calm', 'Under way.'],
  done: ['good', 'Over.'],
  failed: ['bad', 'Over, and some of it was not done. What it found is valid.'],
  cancelled: ['calm', 'An operator has ended it.'],
};

export const taskKind = {
  sweep: ['Sweep', 'compares the provider’s lists with the mirror and repairs what differs'],
  backfill: ['Backfill', 'fills a mirror that is mostly empty, at the lowest priority'],
  verify: ['Verify', 'compares and repairs nothing'],
  gaps: ['Gaps', 'looks for events that never came'],
  redrive: ['Redrive', 'queues the work of dead letters again'],
  discard: ['Discard', 'gives dead letters up'],
  abandon: ['Discard a source', 'removes all open work of a source that is not configured any more'],
  erase: ['Erase', 'erases an entity, or an account with all that is under it, and looks a second time; it is carried through'],
  restore: ['Restore', 'lets what was erased together come back; it is carried through'],
  reread: ['Read again', 'reads events with a note again by the present definition'],
};

export const note = {
  names_nothing: 'It names no entity.',
  unknown_type: 'The definition does not know its type.',
  require_unmet: 'It lacks a value that the definition requires. It is not followed.',
  unreadable: 'It came among others in one request and cannot be read.',
  scope_unusable: 'What it has as the id of an account can be none. It is not followed.',
};

// wrong says what is wrong with a part of a request: "entity: want …".
export function wrong({ location, message, value }) {
  const like = message === 'want source/kind/id' ? ', such as lemon/order/bord_1' : '';
  return `${location ? `${location.split('.').pop()}: ` : ''}${message}${like}${value ? ` – this is “${value}”` : ''}`;
}

// remedy is what to do about a problem of the api.
export function remedy(problem) {
  switch (problem.status) {
    case 200: return 'Correct the cause, then sync it again.';
    case 0: return 'Check that the api runs and that this machine reaches it. The page tries again by itself.';
    case 401: return 'Sign in with one of the api’s operator_tokens.';
    case 403: return 'Use an operator’s token. A viewer’s may only read.';
    case 404: return problem.type === 'not-yet' ? 'Wait for its first fetch, or sync it now.' : 'Check the address, or go back to the list.';
    case 410: return 'Nothing is to be done. An operator may restore it.';
    case 409: return {
      erasing: 'Wait until the job is over: it looks a second time after 30 seconds.',
      ambiguous: 'Filter the list by a source, and find it there.',
    }[problem.type] ?? 'Load the page again: it has changed in the meantime.';
    case 422: case 400: return 'Correct what you have entered and try again.';
    case 503: return problem.retryAfter ? `Try again in ${problem.retryAfter} seconds.` : 'Try again in a moment.';
    case 504: return 'Try again, or look at what it waits for.';
  }
  return 'The log of the api says why.';
}
