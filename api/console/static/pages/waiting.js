// Parked: entities that wait for another attempt, why, and until when.

import { h } from '../dom.js';
import { act, get } from '../api.js';
import { amount, bulk, button, entityLink, errorText, facts, figures, head, shortError, tag, when } from '../parts.js';
import { byEntity, byKind, bySource, list } from '../list.js';
import { askAndSay } from '../dialog.js';
import * as f from '../format.js';
import * as words from '../words.js';

const tone = (reason) => (reason === 'backlog' ? 'calm' : ['undefined', 'refused', 'unsettled'].includes(reason) ? 'bad' : 'warn');
const reasonPill = (reason) => tag(reason.replaceAll('_', ' '), tone(reason), words.waitReason[reason]);

// waitFacts says why one entity waits.
export function waitFacts(w) {
  return [
    facts(['Why', [reasonPill(w.reason), ' ', words.waitReason[w.reason]]], ['Next try', next(w)], ['Last error', w.error && errorText(w.error)],
      ['Failed', w.failed_at && when(w.failed_at)], ['Attempts so far', w.attempts?.length || null], ['Signals that wait for it', f.number(w.waiting)]),
  ];
}

export default function waiting(page) {
  return [
    head('Parked', 'Entities that could not be brought up to date yet. Each is tried again by itself; after its last attempt it becomes a dead letter.'),
    list({
      page, path: 'v1/parked', caption: 'Parked entities', watch: (n) => n.backlog.parked, due: triedSoon,
      filters: [
        bySource(),
        byKind(),
        { name: 'reason', label: 'Why', options: Object.keys(words.waitReason).map((r) => [r, r.replaceAll('_', ' ')]) },
        { name: 'class', label: 'Class of failure', options: ['transient', 'throttled', 'unavailable', 'refused', 'gone', 'permanent', 'panic', 'undefined'] },
        byEntity(),
      ],
      columns: [
        { name: 'Next try', cell: next },
        { name: 'Entity', cell: (w) => entityLink(w.source, w.kind, w.entity, w.parents) },
        { name: 'Source', cell: (w) => w.source },
        { name: 'Why', class: 'wide', cell: (w) => [reasonPill(w.reason), h('div', { class: 'why' }, w.error ? errorText(shortError(w, w.error)) : words.waitReason[w.reason])] },
        figures('Attempts', (w) => w.attempts?.length ?? 0),
        figures('Signals', (w) => w.waiting),
        { name: '', cell: (w) => button('Retry now …', () => retry(page, { entity: `${w.source}/${w.kind}/${w.entity}`, ...(w.parents && { source: w.source }) }, w), { key: `retry ${w.source}/${w.kind}/${w.entity}` }) },
      ],
      nothing: ['Nothing is parked', 'An entity whose fetch has failed is shown here, with the reason and the time of the next attempt, until an attempt succeeds.'],
      also: (chosen) => bulk(button(Object.keys(chosen).length > 0 ? 'Retry all of these …' : 'Retry everything …', () => retry(page, chosen))),
    }),
  ];
}

// next is when it is tried again. Once that time is over nothing is known of the attempt
// until the page is read again.
const next = (w) => when(w.next_attempt_at, '–', 'due, or tried since');

// triedSoon reports whether an attempt is due and may be made at any moment. What stays due
// for long, as while its source is paused, is not waited for.
function triedSoon(w) {
  const overdue = f.between(w.next_attempt_at, new Date());
  return overdue >= 0 && overdue < 30;
}

// retry makes a selection due. It is counted first, up to a thousand.
async function retry(page, chosen, one) {
  const body = Object.keys(chosen).length > 0 ? chosen : { all: true };
  await askAndSay({
    title: one ? 'Try it again now?' : 'Try these again now?', verb: 'Retry now',
    body: async (show) => {
      const says = h('p', null, 'The next attempt is made at once, and is counted as usual: if it is the last and fails, the work becomes a dead letter. A source that is paused stays so.');
      if (one) {
        show([amount('1 entity'), h('p', null, entityLink(one.source, one.kind, one.entity, one.parents)), says]);
        return;
      }
      show('Counting …', false);
      const { n, more } = await count(chosen, page.signal);
      show([amount(`${more ? 'more than ' : ''}${f.entities(n)}`), filterWords(chosen), says], n > 0);
    },
    run: () => act('POST', 'v1/parked/retry', body), after: page.reload,
  }, (got) => `${f.plural(got.entities, 'entity is', 'entities are')} due now.`);
}

async function count(chosen, signal) {
  let n = 0, cursor;
  for (let pages = 0; pages < 5; pages++) {
    const got = await get('v1/parked', { ...chosen, limit: 200, cursor }, signal);
    n += got.items.length;
    cursor = got.next_cursor;
    if (!cursor) return { n, more: false };
  }
  return { n, more: true };
}

// filterWords says what a filter selects.
export function filterWords(chosen) {
  const said = Object.entries(chosen).filter(([, v]) => v);
  return h('p', null, said.length === 0 ? 'No filter: of all sources and kinds.' : ['Selected by ', said.map(([k, v], i) => [i > 0 && ', ', `${k} `, h('code', null, String(v))]), '.']);
}
