// Entities: what the mirror has, how fresh it is, and what brought it there.

import { fill, h } from '../dom.js';
import { act, entityPath, get, getText, live, Problem, seg } from '../api.js';
import { a, amount, bulk, button, code, empty, entityHref, entityLink, exactly, facts, finder, head, id, load, loading, noSource, ofJob, parentsText, problem, quiet, section, table, tag, titled, typeName, when } from '../parts.js';
import { byTime, list, withRaw } from '../list.js';
import { askAndSay } from '../dialog.js';
import { eventColumns } from './events.js';
import { whyGivenUp } from './letters.js';
import { waitFacts } from './waiting.js';
import { driftColumns } from './drift.js';
import { rawAt } from '../json.js';

export default function entities(page) {
  const [source, kind, entityID] = page.steps;
  if (entityID) return one(page, source, kind, entityID);
  if (kind) return all(page, source, kind);
  if (page.query.get('id')) return find(page, page.query.get('id'));
  return choose(page);
}

const findAny = (page) => finder('Find by its whole id, of any kind', (wanted) => page.go('/entities', { id: wanted }), page.query.get('id') ?? '');

const comes = 'An entity appears with the first event about it, or when a sweep or a backfill finds it at the provider.';

// find shows the entities that have an id; the only one at once.
function find(page, wanted) {
  const body = loading();
  load(body, async () => {
    const { items } = await get('v1/entities', { id: wanted }, page.signal);
    if (items.length === 1) {
      location.replace(entityHref(items[0].source, items[0].kind, items[0].id, items[0].parents));
      return null;
    }
    if (items.length === 0) return empty('The mirror has no entity with this id', comes);
    return table('Entities with this id', [
      { name: 'Entity', cell: (e) => entityLink(e.source, e.kind, e.id, e.parents) },
      { name: 'Status', cell: (e) => (e.erased_at ? 'erased' : e.deleted_at ? 'deleted' : e.verified_at ? e.status ?? '–' : 'not fetched yet') },
      { name: 'Under', cell: (e) => parents(e) },
      { name: 'True at', cell: (e) => when(e.verified_at) },
    ], items);
  }, page.signal);
  return [head(['Entities with the id ', id(wanted)], null, a('#/entities', 'All kinds')), findAny(page), body];
}

// choose asks for a kind; it waits for the stream, which names them.
function choose(page) {
  const body = loading();
  let drawn = false;
  const draw = () => {
    if (drawn || !live.hello) return;
    drawn = true;
    fill(body, live.hello.sources.length === 0
      ? noSource()
      : live.hello.sources.map((s) => section(s.source, h('ul', { class: 'kinds' }, s.kinds.map((k) => h('li', null, a(`#/entities/${seg(s.source)}/${seg(k)}`, k)))))));
  };
  live.on(draw, page.signal);
  draw();
  return [head('Entities', 'The mirror, by source and kind.'), findAny(page), body];
}

function all(page, source, kind) {
  return [
    head([quiet(source + ' / '), kind], 'Mirrored entities, by id.', a('#/entities', 'All kinds')),
    finder('Find by its whole id', (wanted) => page.go(`/entities/${seg(source)}/${seg(kind)}/${seg(wanted)}`)),
    list({
      page, path: `v1/entities/${seg(source)}/${seg(kind)}`, caption: `Entities of kind ${kind}`,
      filters: [{ name: 'status', label: 'Status' }, { name: 'parent', label: 'Under', hint: 'account/cusa_1', size: 24 }, ...byTime('Fetched from')],
      columns: [
        { name: 'Id', cell: (e) => a(entityHref(e.source, e.kind, e.id, e.parents), id(e.id)) },
        { name: 'Status', cell: (e) => (e.deleted_at ? tag('deleted', 'calm', 'The provider has it no longer.') : e.status ? h('span', null, e.status) : '–') },
        { name: 'Under', cell: (e) => parents(e) },
        { name: 'True at', cell: (e) => when(e.verified_at) },
        { name: 'Last event', cell: (e) => (e.last_event ? a(`#/events/${seg(e.source)}/${seg(e.last_event.id)}`, e.last_event.type) : '–') },
        { name: 'Freshness', cell: (e) => freshness(e) },
      ],
      nothing: [`The mirror has no ${kind} yet`, comes],
    }),
  ];
}

const parents = (e) => (Object.entries(e.parents ?? {}).map(([k, v]) => h('div', null, a(`#/entities/${seg(e.source)}/${seg(k)}/${seg(v)}`, h('span', { class: 'kind' }, k), ' ', id(v)))));

function freshness(e) {
  if (!e.behind && e.discarded) return tag('may be out of date', 'warn', 'Work on it was discarded, and no fetch has made up for that.');
  if (!e.behind) return tag('fresh', 'good', 'Nothing says that the provider has a newer state.');
  return [tag(e.behind.reason, e.behind.reason === 'dead letter' ? 'bad' : 'warn', 'The mirror knows that it is behind the provider.'), ' since ', when(e.behind.since)];
}

function one(page, source, kind, entityID) {
  const parent = page.query.get('parent') ?? undefined;
  const body = loading();
  const fetchIt = button('Sync now …', () => sync(source, kind, entityID, parent, read, page.known), { kind: 'primary' });
  const read = () => whole(page, source, kind, entityID, parent, body, fetchIt);
  read();
  return [
    head([quiet(kind + ' '), id(entityID)], null, a(`#/entities/${seg(source)}/${seg(kind)}`, `All of ${kind}`), button('Refresh', read),
      fetchIt),
    body,
  ];
}

async function whole(page, source, kind, entityID, parent, body, fetchIt) {
  const path = entityPath(source, kind, entityID);
  const letters = h('div');
  let state;
  try {
    const got = await getText(path, { parent }, page.signal);
    page.known = !got.value.deleted_at; // and under what
    state = mirrored(got, letters);
  } catch (err) {
    if (page.signal.aborted) return;
    if (err.candidates?.length) { fill(body, candidates(source, kind, entityID, err)); return; }
    state = [problem(err), err.parked && section('What it waits for', waitFacts(err.parked)), letters];
    if (err.type === 'erased') state = marker(err.erased, () => restore(source, kind, entityID, parent, () => whole(page, source, kind, entityID, parent, body, fetchIt)));
    else if (err.type !== 'not-yet') { fill(body, state); return; }
    fetchIt.hidden = err.type === 'erased';
  }
  const events = loading();
  const found = h('div');
  fill(body, state, section('Its events', events), found);
  load(events, async () => {
    const { items, next_cursor } = await get(`${path}/events`, { parent, limit: 20 }, page.signal);
    if (items.length === 0) return empty('No event names it', 'The mirror has it from a sweep or a backfill.');
    return [table('Events that name it', eventColumns.filter((c) => !['Source', 'Names'].includes(c.name)), items),
      next_cursor && h('p', null, a(`#/events?entity=${seg(`${source}/${kind}/${entityID}`)}`, 'Show all of them'))];
  }, page.signal);
  load(letters, async () => {
    const entity = `${source}/${kind}/${entityID}`;
    try {
      const { items: [newest] } = await get('v1/dead-letters', { entity, status: 'open', limit: 1 }, page.signal);
      return newest && [whyGivenUp(newest), a(`#/dead-letters/${seg(newest.id)}`, 'Open the dead letter'), ', or ', a(`#/dead-letters?entity=${seg(entity)}`, 'show all of this entity')];
    } catch (err) {
      if (err.type === 'ambiguous') return null; // the filter has no parents
      throw err;
    }
  }, page.signal);
  load(found, async () => {
    if (parent) return null; // the filter has no parents
    const { value, text } = await getText('v1/discrepancies', { entity: `${source}/${kind}/${entityID}`, limit: 20 }, page.signal);
    const items = withRaw(value.items, text);
    return items.length > 0 && section('Differences that sweeps found', table('Differences', driftColumns.filter((c) => c.name !== 'Entity'), items));
  }, page.signal);
}

function candidates(source, kind, entityID, err) {
  return [h('p', null, err.detail), h('ul', null, err.candidates.map((c) => h('li', null, a(entityHref(source, kind, entityID, c.parents), parentsText(c) || 'without parents'))))];
}

function mirrored({ value: e, text }, letters) {
  const history = Array.isArray(e.state?.history) ? e.state.history : [];
  return [
    titled(e.status && typeName(e.status), e.terminal && tag('final', 'calm', 'A status that it never leaves.'),
      e.deleted_at && tag('deleted', 'calm', 'The provider has it no longer. This is its last state.'), freshness(e)),
    e.discarded && h('p', { class: 'about' }, 'It may be out of date: work on it was discarded ', when(e.discarded.at), ', and no fetch has made up for that. ', a(`#/dead-letters/${seg(e.discarded.letter)}`, 'Show the dead letter')),
    facts(['Source', e.source], ['Under', Object.keys(e.parents ?? {}).length > 0 ? parents(e) : null], ['Deleted', e.deleted_at && when(e.deleted_at)],
      ['Fetched', when(e.synced_at)], ['Known to be true at', when(e.verified_at)],
      ['Last event', e.last_event && a(`#/events/${seg(e.source)}/${seg(e.last_event.id)}`, typeName(e.last_event.type), ' ', id(e.last_event.id))]),
    e.behind?.parked && section('What it waits for', waitFacts(e.behind.parked)),
    letters,
    history.length > 0 && section('Its history, as the provider tells it', table('History', [
      { name: 'When', cell: (x) => (x.timestamp ? exactly(x.timestamp) : '–') },
      { name: 'Status', cell: (x) => String(x.status ?? '–') },
    ], history.filter((x) => x && typeof x === 'object'))),
    section('State', e.state === undefined ? empty('No state', 'The provider had it no longer when it was first asked for.') : code(rawAt(text, ['state']), 'State, as the provider wrote it')),
  ];
}

// marker is what is left of an erased entity.
function marker(e, again) {
  const [source, kind, ...rest] = (e.with ?? '').split('/');
  return [
    titled(tag('erased', 'calm', 'An operator has erased its data.'), h('span', null, 'erased ', when(e.erased_at), e.by && [' by ', h('b', null, e.by)])),
    h('p', { class: 'about' }, 'Its data is gone from the mirror and from the records. The provider is not asked for it, and its events are settled as erased, until it is restored.'),
    facts(['Source', e.source], ['Under', Object.keys(e.parents ?? {}).length > 0 ? parents(e) : null], ['Erased at', exactly(e.erased_at)], ['By', e.by],
      ['Erased with', e.with && a(`#/entities/${seg(source)}/${seg(kind)}/${seg(rest.join('/'))}`, e.with)], ['Newest fetch that was to begin', e.claim && `no. ${e.claim}`]),
    e.with ? h('p', { class: 'note' }, 'It comes back when what it was erased with is restored.') : bulk(button('Restore …', again)),
  ];
}

function restore(source, kind, entityID, parent, read) {
  return askAndSay({
    title: 'Let it come back?', verb: 'Restore it',
    body: [amount('1 entity'), h('p', null, kind, ' ', id(entityID), ' is fetched from the provider of ', source, ' again, with all that was erased with it. What was erased of events stays erased.')],
    run: () => act('POST', `${entityPath(source, kind, entityID)}/restore`, undefined, { parent }), after: read,
  }, (got) => (got.job ? ofJob('A job restores it, and what was erased with it.', got.job) : 'It is queued to be fetched. Refresh in a moment.'));
}

const syncWords = {
  synced: 'It was fetched: this is the provider’s state.', retrying: 'The fetch has failed and is tried again.', queued: 'It is queued. Refresh in a moment.',
  erased: 'It is erased: nothing is fetched.',
};

// followed waits a little longer for a sync that is queued. One that was given up is a problem.
async function followed(got) {
  for (let i = 0; i < 3 && got.status === 'queued'; i++) {
    await new Promise((done) => setTimeout(done, 1000));
    got = await get(`v1/syncs/${seg(got.id)}`);
  }
  if (got.status === 'failed') throw new Problem(200, { title: 'The fetch was given up', detail: got.error });
  return got;
}

function sync(source, kind, entityID, parent, read, known) {
  return askAndSay({
    title: 'Fetch it now?', verb: 'Fetch it',
    body: [amount('1 entity'), h('p', null, kind, ' ', id(entityID), ' is fetched from the provider of ', source, ', before background work. While the source is paused nothing is fetched.')],
    fields: parent || known ? [] : [{ name: 'parent', label: 'Under', hint: 'what it belongs to, such as account/cusa_1' }],
    run: async (values) => followed(await act('POST', `${entityPath(source, kind, entityID)}/sync`, undefined, { parent: parent ?? values.parent, wait: '5s' })), after: read,
  }, (got) => syncWords[got.status]);
}
