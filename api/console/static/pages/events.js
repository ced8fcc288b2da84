// Events: the log, and the story of one event.

import { fill, h } from '../dom.js';
import { act, get, getText, mayAct, Problem, seg } from '../api.js';
import { a, amount, aside, at, bulk, button, code, entityLink, errorText, eventLink, facts, finder, head, id, load, loading, ofJob, pill, quiet, section, tag, titled, trace, typeName, when } from '../parts.js';
import { byEntity, byKind, bySource, byStatus, byTime, list } from '../list.js';
import { askAndSay } from '../dialog.js';
import { rawAt } from '../json.js';
import * as f from '../format.js';
import * as words from '../words.js';

export default function events(page) {
  const [source, eventID] = page.steps;
  return eventID ? one(page, source, eventID) : all(page);
}

// eventColumns are those of a list of events.
export const eventColumns = [
  { name: 'Received', cell: (e) => when(e.received_at) },
  { name: 'Type', cell: (e) => typeName(e.type) },
  { name: 'Event', cell: (e) => eventLink(e.source, e.id) },
  { name: 'Source', cell: (e) => e.source },
  { name: 'Names', cell: (e) => names(e) },
  { name: 'Status', cell: (e) => [pill(e.status, words.eventStatus), e.note && [' ', tag(e.note.replaceAll('_', ' '), 'warn', words.note[e.note])]] },
  { name: 'Took', class: 'n', cell: (e) => (e.processed_at ? f.length(f.between(e.received_at, e.processed_at)) : '–') },
];

function names(e) {
  const [first, ...others] = e.entities;
  if (!first) return quiet('no entity');
  return [entityLink(e.source, first.kind, first.id, first.parents), others.length > 0 && quiet(` and ${others.length} more`)];
}

function all(page) {
  return [
    head('Events', 'Every event that a worker has logged, newest first, with what became of it.'),
    unlogged(page),
    find(page, page.query.get('source')),
    list({
      page, path: 'v1/events', caption: 'Events', columns: eventColumns,
      filters: [
        bySource(),
        byStatus(words.eventStatus),
        { name: 'type', label: 'Type', hint: 'order.executed' },
        byKind('Names a kind'),
        byEntity('Names an entity'),
        { name: 'note', label: 'Note', options: Object.keys(words.note).map((n) => [n, n.replaceAll('_', ' ')]) },
        ...byTime(),
      ],
      nothing: ['No event has come yet', 'Webhooks that the provider sends to /webhooks/SOURCE appear here as soon as a worker has read them.'],
      also: (chosen) => chosen.note && chosen.source && mayAct() && bulk(
        h('p', null, words.note[chosen.note], ' If a setting or the definition was corrected since, read them again.'),
        button('Read them again …', () => again(chosen))),
    }),
  ];
}

// unlogged names the sources that are paused: their events wait unread.
function unlogged(page) {
  const body = h('div');
  page.onLive(({ now }) => {
    const waits = now?.sources.filter((s) => s.paused && s.live > 0).map((s) => `${s.source} is paused: ${f.plural(s.live, 'entry waits', 'entries wait')} in its queue. New events among them are not in this list yet.`) ?? [];
    if (waits.join('') !== body.textContent) fill(body, waits.length > 0 && bulk(waits.map((text) => h('p', { class: 'note' }, text))));
  });
  return body;
}

const find = (page, source, wanted) => finder('Find by its whole id', (other) => page.go(`/events/${seg(source || any)}/${seg(other)}`), wanted);

function again(chosen) {
  const body = { source: chosen.source, note: chosen.note, type: chosen.type, from: chosen.from, to: chosen.to };
  return askAndSay({
    title: 'Read these events again?', verb: 'Read again',
    body: async (show) => {
      show('Counting …', false);
      const { count } = await act('POST', 'v1/events/redrive', { ...body, dry_run: true });
      show([amount(f.plural(count, 'event')), h('p', null, 'Each is read from the log by the present definition. One whose note changes is followed; the others stay as they are.')], count > 0);
    },
    run: () => act('POST', 'v1/events/redrive', body),
  }, (job) => ofJob('The job has been started.', job.job));
}

// any stands in an address for the only source that has the event.
const any = '*';

function one(page, source, eventID) {
  const body = loading();
  const read = () => load(body, async () => {
    const got = await getText(`v1/events/${seg(eventID)}`, { source: source === any ? null : source }, page.signal);
    return story(got, await arrival(got.value, page.signal));
  }, page.signal);
  read();
  return [head('Event', null, a('#/events', 'All events'), button('Refresh', read)), source === any && find(page, any, eventID), body];
}

// arrival says how an event came. That no webhook had brought it is on record as a difference;
// what the provider's list had from before the log began is not.
async function arrival(e, signal) {
  const webhook = ['Received', 'by a webhook whose signature was right, or from the provider’s list when the log began'];
  const [first] = e.entities;
  if (!first) return webhook;
  try {
    const { items } = await get('v1/discrepancies', { type: 'event_missed', entity: `${e.source}/${first.kind}/${first.id}`, limit: 200 }, signal);
    return items.some((d) => d.event === e.id) ? ['Found in the provider’s list of events', 'no webhook had brought it by then'] : webhook;
  } catch (err) {
    if (err instanceof Problem) return webhook;
    throw err;
  }
}

// story tells one event: received, logged, which fetch covered it.
function story({ value: e, text }, came) {
  return [
    titled(typeName(e.type), pill(e.status, words.eventStatus)),
    h('p', { class: 'about' }, words.eventStatus[e.status]?.[1]),
    facts(['Event', id(e.id)], ['Source', e.source], ['Trace', trace(e)], ['Sent again', e.duplicates ? `${e.duplicates} times` : null],
      ['Failed attempts', e.attempts || null], ['Last error', e.error && errorText(e.error)]),
    section('What happened', h('ol', { class: 'timeline' }, steps(e, came))),
    flags(e),
    section('Payload', e.payload === undefined ? aside('The log has none.') : code(rawAt(text, ['payload']), 'Payload, as received')),
    e.given && section('Read outside the payload', facts(...Object.entries(e.given))),
  ];
}

function step(time, e, title, ...more) {
  return { time, node: h('li', null, time ? at(time, e.received_at) : h('div', { class: 'at' }, '–'),
    h('div', null, h('p', { class: 'strong' }, title), more)) };
}

// entryTime is when an entry was appended: its id begins with the milliseconds.
const entryTime = (signal) => new Date(Number(signal.id.split('-')[0])).toISOString();

function steps(e, [title, how]) {
  const found = [];
  if (e.created_at) found.push(step(e.created_at, e, 'It happened at the provider', aside('by the provider’s clock')));
  found.push(step(e.received_at, e, title, aside(how)));
  for (const o of e.entities) {
    if (o.signal) found.push(step(entryTime(o.signal), e, ['Queued for ', entityLink(e.source, o.kind, o.id, o.parents)], aside(`its newest entry, in shard ${o.signal.shard}: `, id(o.signal.id))));
    found.push(outcome(e, o));
  }
  if (e.status === 'processed' && e.entities.length > 0) found.push(step(e.processed_at, e, 'Processed', aside('every entity it names is settled')));
  const order = (s) => (s.time ? new Date(s.time).getTime() : Infinity);
  return found.map((s, i) => [s, i]).sort(([x, i], [y, j]) => order(x) - order(y) || i - j).map(([s]) => s.node);
}

function outcome(e, o) {
  const link = entityLink(e.source, o.kind, o.id, o.parents);
  const c = o.covered_by;
  if (c && o.status !== 'erased') {
    const shared = o.signal && c.signal !== o.signal.id;
    return step(c.fetched_at, e, ['Fetch ', h('b', null, `no. ${c.claim}`), ' of ', link, ' covered it'],
      aside(shared ? ['One fetch for several: it also settled what had come up to entry ', id(c.signal), '.'] : 'The fetch began after the event came, so the mirror has what it says.'));
  }
  if (o.status === 'retrying') {
    return step(o.next_attempt_at, e, ['Another attempt for ', link], h('p', { class: 'error' }, o.last_error ?? ''),
      aside('a later event or a retry may bring it forward: ', a(`#/waiting?entity=${seg(`${e.source}/${o.kind}/${o.id}`)}`, 'show what it waits for')));
  }
  const says = { pending: 'is not fetched yet', dead: 'was given up', superseded: 'was brought up to date by a later fetch', discarded: 'was discarded by an operator', erased: 'is erased: it was not fetched', processed: 'is settled' };
  const letter = ['dead', 'discarded'].includes(o.status);
  return step(['pending', 'discarded'].includes(o.status) ? null : e.processed_at, e, [link, ' ', says[o.status] ?? o.status],
    letter && h('p', null, a(`#/dead-letters?entity=${seg(`${e.source}/${o.kind}/${o.id}`)}`, 'Show its dead letter')));
}

const flagWords = {
  out_of_order: 'It came after a newer event of the same entity.',
  overtaken: 'The entity was already past it when it was fetched.',
  lagging: 'The provider’s reads did not show it in time.',
  payload_differs: 'It was sent again with another body. The first was kept.',
  parents_differ: 'It names other parents for an entity than those the mirror has, which were used.',
  unnamed: 'It does not name the entity its type is about. Only sweeps find that.',
  undated: 'Its own time could not be read.',
};

function flags(e) {
  const said = Object.entries(flagWords).filter(([name]) => e[name]).map(([, says]) => says);
  if (e.note) said.unshift(words.note[e.note]);
  return said.length > 0 && section('Worth knowing', h('ul', null, said.map((s) => h('li', null, s))));
}
