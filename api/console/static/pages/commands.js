// Commands: changes asked for at the provider, and what became of each.

import { h } from '../dom.js';
import { act, get, getText, seg } from '../api.js';
import { a, at, bulk, button, code, entityLink, facts, figures, head, id, load, loading, parentsText, pill, section, titled, trace, typeName, when } from '../parts.js';
import { byEntity, byKind, bySource, byTime, list } from '../list.js';
import { askAndSay, reasonField } from '../dialog.js';
import { rawAt } from '../json.js';
import * as f from '../format.js';
import * as words from '../words.js';

export default function commands(page) {
  return page.steps[0] ? one(page, page.steps[0]) : all(page);
}

const href = (c) => `#/commands/${seg(c.id)}`;

// change names what is changed: by its id once that is known, before by the ref.
const change = (c) => [typeName(c.op), ' ', c.entity ? entityLink(c.source, c.kind, c.entity, c.parents) : [h('span', { class: 'kind' }, c.kind), ' ', id(c.ref)]];

// trouble is what stands in the way.
function trouble(c) {
  if (c.held) return 'Held: an operator has to release the commands of its source.';
  if (c.asked) return c.asked.reason;
  if (c.reason) return c.reason === 'create' ? 'What it changes was never created.' : c.reason;
  if (c.waits_for) return `Waits for the id of ${c.waits_for.join(', ')}.`;
  if (c.unclear) return `Its answer was lost. It is being found out what became of it (${c.unclear.strategy ?? 'next strategy'}).`;
  return c.ended_at ? '' : c.attempts[c.attempts.length - 1]?.error ?? '';
}

function all(page) {
  const asked = h('div');
  const read = () => load(asked, async () => questions(await get('v1/commands', { state: 'asked', limit: 200 }, page.signal), read), page.signal);
  if (!page.query.get('state')) read();
  return [
    head('Commands', 'Changes that applications ask for at the provider, made in the order of each entity. What was refused is dead. Where nothing can tell what became of a change, it waits for your word.'),
    asked,
    list({
      page, path: 'v1/commands', caption: 'Commands',
      filters: [
        { name: 'state', label: 'State', options: Object.keys(words.commandState) },
        bySource(),
        byKind(),
        { name: 'op', label: 'Change', hint: 'cancel', size: 10 },
        byEntity(),
        { name: 'ref', label: 'Ref', hint: 'the application’s name', size: 18 },
        ...byTime('Asked for from'),
      ],
      columns: [
        { name: 'Asked for', cell: (c) => a(href(c), when(c.at)) },
        { name: 'Change', class: 'wide', cell: (c) => change(c) },
        { name: 'Source', cell: (c) => c.source },
        { name: 'State', cell: (c) => pill(c.state, words.commandState) },
        { name: 'Why', class: 'wide', cell: (c) => trouble(c) && h('div', { class: 'why error' }, trouble(c)) },
        figures('Attempts', (c) => c.attempts.length),
        { name: 'By', cell: (c) => c.by },
        { name: '', cell: (c) => a(href(c), 'Open') },
      ],
      nothing: ['No change was asked for', 'What applications ask for with POST /v1/commands or in the outbox is shown here, with each attempt and its answer.'],
    }),
  ];
}

// questions are the commands that wait for an operator: those of sources that are held, and
// those of which it is asked what became of them, with what may be said of each.
function questions({ items, holds = [] }, read) {
  return [...holds.map((x) => held(x, read)), items.length > 0 && asks(items, read)];
}

function held(x, read) {
  return section(`Commands of ${x.source} are held`,
    h('p', { class: 'error' }, 'Since ', when(x.since), ': ', x.reason, '.'),
    h('p', null, 'Nothing of this source is sent. Look at what is queued, and take back what the provider shows as done and has no key for.'),
    bulk(button('Release …', () => release(x, read), { kind: 'primary', key: `release ${x.source}` })));
}

function asks(items, read) {
  return section(`${f.plural(items.length, 'change waits', 'changes wait')} for your word`,
    h('p', null, 'Look at the provider first. What comes later for the same entity waits behind it.'),
    h('ul', { class: 'questions' }, items.map((c) => h('li', null,
      h('p', null, change(c), ' of source ', c.source, ', asked for ', when(c.at), ' by ', c.by, '. ', a(href(c), 'Open')),
      question(c, read)))));
}

// question shows what is asked of one, and the answers.
function question(c, read) {
  return [
    h('p', { class: 'error' }, c.asked.reason),
    c.asked.candidates && h('p', null, 'It may have created: ', c.asked.candidates.map((x, i) => [i > 0 && ', ', entityLink(c.source, c.kind, x, c.parents)])),
    bulk(
      button('It was done …', () => resolveDone(c, read), { key: `done ${c.id}` }),
      button('It was not done …', () => resolveAbsent(c, read), { key: `absent ${c.id}` }),
      button('Discard …', () => discard(c, read), { kind: 'dangerous', key: `discard ${c.id}` })),
  ];
}

function one(page, commandID) {
  const body = loading();
  const read = () => load(body, async () => whole(await getText(`v1/commands/${seg(commandID)}`, null, page.signal), read), page.signal);
  read();
  return [head('Command', null, a('#/commands', 'All commands'), button('Refresh', read)), body];
}

function whole({ value: c, text }, read) {
  return [
    titled(pill(c.state, words.commandState), h('span', null, words.commandState[c.state]?.[1])),
    c.asked && section('What became of it?', question(c, read)),
    !c.asked && trouble(c) && h('p', { class: 'error big' }, trouble(c)),
    c.state === 'dead' && bulk(button('Retry …', () => retry(c, read), { kind: 'primary' }), button('Discard …', () => discard(c, read), { kind: 'dangerous' })),
    c.state === 'queued' && bulk(button('Take back …', () => takeBack(c, read), { kind: 'dangerous' })),
    facts(['Change', change(c)], ['Under', parentsText(c)], ['Source', c.source], ['Ref', c.ref && id(c.ref)], ['Number', `${f.number(c.n)} of its ${c.entity ? 'entity' : 'ref'}`],
      ['Asked for', when(c.at)], ['By', c.by], ['Key', id(c.key)], ['Looked at again', c.due_at && !c.ended_at && when(c.due_at)], ['Waits for', c.waits_for?.join(', ')],
      ['Over', c.ended_at && when(c.ended_at)], ['Trace', trace(c)], ['Command', id(c.id)]),
    section('What happened', h('ol', { class: 'timeline' }, steps(c).map(([time, ...says]) => h('li', null, at(time, c.at), h('div', null, says))))),
    c.body !== undefined && section('Fields', code(rawAt(text, ['body']), 'Fields to be set')),
    c.result?.body !== undefined && section('Answer', code(rawAt(text, ['result', 'body']), 'Answer of the provider')),
  ];
}

// steps are what happened to a command, in order: a time with what is said of it.
function steps(c) {
  const answered = c.result && !(c.result.status >= 300);
  return [
    [c.at, h('div', null, `Asked for by ${c.by}.`)],
    ...c.attempts.map((x) => [x.at,
      h('div', null, x.status ? `The provider answered HTTP ${x.status}` : 'No answer', x.request_id && [' to request ', id(x.request_id)], '.'),
      x.error && h('div', { class: 'error' }, x.error)]),
    ...(answered ? [[c.result.at, h('div', null, 'It is made at the provider', c.result.id && [': ', entityLink(c.source, c.kind, c.result.id, c.parents)], '.')]] : []),
    ...(c.covered_by ? [[c.covered_by.fetched_at, h('div', null, `Fetched (fetch ${f.number(c.covered_by.claim)} of the entity): the mirror shows it.`)]] : []),
    ...(c.ended_at ? [[c.ended_at, h('div', null, `Over: ${c.state}.`)]] : []),
  ].sort(([x], [y]) => new Date(x) - new Date(y));
}

const which = (c) => h('p', null, c.op, ' ', c.kind, ' ', id(c.entity ?? c.ref), ' of source ', c.source);

const post = (c, verb, body) => act('POST', `v1/commands/${seg(c.id)}/${verb}`, body);

function resolveDone(c, read) {
  const made = c.op === 'create';
  return askAndSay({
    title: 'Was this change made?', verb: 'It was done',
    body: [which(c), h('p', null, 'It is not sent again. The entity is fetched, and what waits behind it goes on.')],
    fields: made ? [{ name: 'id', label: 'Id of what it created', required: true, max: 255, value: c.asked.candidates?.length === 1 ? c.asked.candidates[0] : '', hint: 'as the provider shows it' }] : [],
    run: (values) => post(c, 'resolve', { outcome: 'done', ...(made ? { id: values.id.trim() } : {}) }), after: read,
  }, () => 'It counts as done.');
}

function resolveAbsent(c, read) {
  return askAndSay({
    title: 'Was this change not made?', verb: 'It was not done', danger: true,
    body: [which(c), h('p', null, 'It is sent again. If the provider has made it after all, it is made twice: look there first.')],
    run: () => post(c, 'resolve', { outcome: 'absent' }), after: read,
  }, () => 'It is sent again.');
}

function discard(c, read) {
  return askAndSay({
    title: 'Discard this command?', verb: 'Discard', danger: true,
    body: [which(c), h('p', null, 'It is not sent again. It is kept, with your name and reason. This cannot be undone.')],
    fields: [reasonField('kept with it')],
    run: ({ reason }) => post(c, 'discard', { reason }), after: read,
  }, () => 'The command is discarded.');
}

function retry(c, read) {
  return askAndSay({
    title: 'Ask for this change again?', verb: 'Retry',
    body: [which(c), h('p', null, 'It is sent again as it was, under a new key at the provider.')],
    run: () => post(c, 'retry', undefined), after: read,
  }, () => 'It is asked for again.');
}

function release(x, read) {
  return askAndSay({
    title: `Release the commands of ${x.source}?`, verb: 'Release', danger: true,
    body: [h('p', null, 'What is queued is sent again, under the same keys as before. What has no key at the provider and was done is made twice, unless it is taken back first.')],
    run: () => act('POST', `v1/sources/${seg(x.source)}/release`), after: read,
  }, () => 'The commands are released.');
}

function takeBack(c, read) {
  return askAndSay({
    title: 'Take this command back?', verb: 'Take back', danger: true,
    body: [which(c), h('p', null, 'It was not sent, and will not be. This cannot be undone.')],
    run: () => act('DELETE', `v1/commands/${seg(c.id)}`), after: read,
  }, () => 'It is taken back.');
}
