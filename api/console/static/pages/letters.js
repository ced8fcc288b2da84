// Dead letters: work that was given up, why, and what to do about it.

import { h, inUse } from '../dom.js';
import { act, get, getText, mayAct, seg } from '../api.js';
import { a, amount, aside, at, bulk, button, code, entityLink, eventLink, facts, figures, head, id, load, loading, ofJob, parentsText, pill, section, shortError, tag, titled, trace, typeName, when } from '../parts.js';
import { byEntity, byKind, bySource, byStatus, byTime, list } from '../list.js';
import { askAndSay, reasonField } from '../dialog.js';
import { filterWords } from './waiting.js';
import { rawAt } from '../json.js';
import * as f from '../format.js';
import * as words from '../words.js';

const classes = Object.keys(words.letterClass);
const classPill = (name) => tag(name, 'calm', words.letterClass[name]);
const lastError = (l) => l.attempts[l.attempts.length - 1]?.error ?? 'no error is on record';

export const whyGivenUp = (l) => section('Why it was given up',
  h('p', null, classPill(l.class), ' ', words.letterClass[l.class]),
  h('p', { class: 'error big' }, lastError(l)));

export default function letters(page) {
  return page.steps[0] ? one(page, page.steps[0]) : all(page);
}

function all(page) {
  return [
    head('Dead letters', 'Work that ran out of attempts, or could not succeed. Open ones wait for you: read why, correct the cause, then redrive. What will never succeed is discarded, and kept.'),
    list({
      page, path: 'v1/dead-letters', caption: 'Dead letters', usual: 'status', watch: (n) => n.letters,
      filters: [
        byStatus(words.letterStatus),
        bySource(),
        byKind(),
        { name: 'class', label: 'Class', options: classes },
        { name: 'type', label: 'Event type', hint: 'order.executed' },
        byEntity(),
        ...byTime('Given up from'),
      ],
      columns: [
        { name: 'Given up', cell: (l) => a(`#/dead-letters/${seg(l.id)}`, when(l.buried_at)) },
        { name: 'Entity', cell: (l) => entityLink(l.source, l.kind, l.entity, l.parents) },
        { name: 'Source', cell: (l) => l.source },
        { name: 'Event', cell: (l) => typeName(l.event_type ?? l.event) },
        { name: 'Why', class: 'wide', cell: (l) => [classPill(l.class), h('div', { class: 'why error' }, shortError(l, lastError(l)))] },
        figures('Attempts', (l) => l.attempts.length),
        { name: 'Status', cell: (l) => pill(l.status, words.letterStatus) },
        { name: '', cell: (l) => a(`#/dead-letters/${seg(l.id)}`, 'Open') },
      ],
      nothing: ['No dead letters', 'Work that was given up is shown here, with each attempt and its error, until it is redriven or discarded.'],
      also: many,
    }),
  ];
}

// many acts on all open dead letters that the filter selects.
function many(chosen) {
  if (chosen.status && chosen.status !== 'open') return aside('Only open dead letters can be redriven or discarded.');
  const { status, ...filter } = chosen;
  return bulk(
    h('p', null, Object.keys(filter).length > 0 ? 'All open ones that the filters select:' : 'All open ones:'),
    button('Redrive …', () => redriveMany(filter)), button('Discard …', () => discardMany(filter), { kind: 'dangerous' }));
}

// selection is what the api acts on: it takes everything only if that is said.
const selection = (filter) => (Object.keys(filter).length > 0 ? filter : { all: true });

// dryRun asks the api how many a filter selects before anything can be confirmed.
const dryRun = (verb, filter, consequence, extra) => async (show) => {
  if (!mayAct()) {
    show('How many these are, a dry run finds out for an operator.', false);
    return;
  }
  show('Counting by a dry run …', false);
  const { count } = await act('POST', `v1/dead-letters/${verb}`, { ...selection(filter), ...extra, dry_run: true });
  show([amount(f.plural(count, 'dead letter')), aside('Dry run: nothing has been changed.'), filterWords(filter), h('p', null, consequence)], count > 0);
};

const job = (got) => ofJob(`A job goes through ${f.plural(got.count, 'dead letter')}.`, got.job);

function redriveMany(filter) {
  return askAndSay({
    title: 'Redrive these dead letters?', verb: 'Redrive',
    body: dryRun('redrive', filter, 'The work of each is queued again, in its entity’s order. What fails again comes back as an open dead letter.'),
    fields: [{ name: 'rate', label: 'At most, a second', type: 'number', min: 0, step: 'any', hint: 'empty: as fast as the source’s budget allows' }],
    run: ({ rate }) => act('POST', 'v1/dead-letters/redrive', { ...selection(filter), ...(rate ? { rate } : {}) }),
  }, job);
}

function discardMany(filter) {
  return askAndSay({
    title: 'Discard these dead letters?', verb: 'Discard', danger: true,
    body: dryRun('discard', filter, 'Their work is given up for good: the mirror may stay out of date for these entities until another event or a sweep. They are kept, with your name and reason. This cannot be undone.', { reason: 'dry run' }),
    fields: [reasonField('kept with each of them')],
    run: ({ reason }) => act('POST', 'v1/dead-letters/discard', { ...selection(filter), reason }),
  }, job);
}

function one(page, letterID) {
  const body = loading();
  let event, follows, busy;
  // A redriven letter is followed until its event is settled.
  const read = () => {
    busy = true;
    load(body, async () => {
      const got = await getText(`v1/dead-letters/${seg(letterID)}`, null, page.signal);
      follows = got.value.status === 'redriven';
      if (follows) event = await get(`v1/events/${seg(got.value.event)}`, { source: got.value.source }, page.signal).catch((err) => (err.status === 404 ? null : event));
      follows &&= event !== null && !['processed', 'superseded', 'discarded', 'erased'].includes(event?.status);
      return whole(got, event, read, await redriven(got.value, page.signal));
    }, page.signal).finally(() => { busy = false; });
  };
  read();
  page.onLive(() => { if (follows && !busy && !inUse(body)) read(); });
  return [head('Dead letter', null, a('#/dead-letters?status=open', 'Open dead letters'), button('Refresh', read)), body];
}

// redriven are the acts by which a letter was redriven alone. A job's act names none.
async function redriven(l, signal) {
  const { items } = await get('v1/audit', { from: l.attempts[0]?.at, limit: 200 }, signal);
  return items.filter((n) => n.did === 'redrive' && n.to.startsWith(`${l.id} `));
}

function whole({ value: l, text }, event, read, before) {
  return [
    titled(pill(l.status, words.letterStatus), h('span', null, words.letterStatus[l.status]?.[1])),
    l.status === 'redriven' && h('p', null, 'Its work was queued again. Its event: ', event && [pill(event.status, words.eventStatus), ' '], eventLink(l.source, l.event), '.'),
    whyGivenUp(l),
    l.status === 'open' && bulk(button('Redrive …', () => redriveOne(l, read), { kind: 'primary' }), button('Discard …', () => discardOne(l, read), { kind: 'dangerous' })),
    facts(['Entity', entityLink(l.source, l.kind, l.entity, l.parents)], ['Under', parentsText(l)], ['Source', l.source], ['Event', [typeName(l.event_type ?? ''), ' ', eventLink(l.source, l.event)]],
      ['Given up', when(l.buried_at)], ['Redriven alone', before.length > 0 ? before.map((n) => h('div', null, when(n.at), ' by ', n.by)) : null], ['Closed', l.closed_at && when(l.closed_at)], ['By', l.by], ['Reason', l.reason], ['Trace', trace(l)], ['Dead letter', id(l.id)]),
    section(f.plural(l.attempts.length, 'attempt'), h('ol', { class: 'timeline' }, l.attempts.map((x) => h('li', null,
      at(x.at, l.attempts[0].at),
      h('div', { class: 'error' }, x.error))))),
    section('Payload of its event', l.payload === undefined ? aside('The log has none.') : code(rawAt(text, ['payload']), 'Payload of its event')),
  ];
}

const which = (l) => h('p', null, l.kind, ' ', id(l.entity), ' of source ', l.source, ', for event ', id(l.event));

// redriveOne counts too: the dry run shows how many of the entity's letters are open.
function redriveOne(l, read) {
  return askAndSay({
    title: 'Redrive this dead letter?', verb: 'Redrive',
    body: async (show) => {
      const says = [amount('1 dead letter'), which(l), h('p', null, 'Its work is queued again, in the entity’s order. If it fails again, this dead letter is open again with the new attempts.')];
      show(says, true);
      if (!mayAct() || l.parents) return;
      const { count } = await act('POST', 'v1/dead-letters/redrive', { entity: `${l.source}/${l.kind}/${l.entity}`, dry_run: true });
      if (count > 1) show([says, h('p', { class: 'note' }, `The entity has ${count} open dead letters. One good fetch supersedes all of them.`)], true);
    },
    run: () => act('POST', `v1/dead-letters/${seg(l.id)}/redrive`), after: read,
  }, () => 'Its work was queued again. If that fails, this dead letter is open again.');
}

function discardOne(l, read) {
  return askAndSay({
    title: 'Discard this dead letter?', verb: 'Discard', danger: true,
    body: [amount('1 dead letter'), which(l), h('p', null, 'Its work is given up for good. It is kept, with your name and reason. This cannot be undone.')],
    fields: [reasonField('kept with it')],
    run: ({ reason }) => act('POST', `v1/dead-letters/${seg(l.id)}/discard`, { reason }), after: read,
  }, () => 'It is discarded.');
}
