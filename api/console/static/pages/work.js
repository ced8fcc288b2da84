// Sweeps and jobs: comparisons with the provider, and work on many dead letters or events.

import { h, inUse } from '../dom.js';
import { act, get, seg } from '../api.js';
import { a, amount, bulk, button, entityLink, errorText, facts, figures, head, id, load, loading, pill, progress, quiet, section, table, titled, typeName, when } from '../parts.js';
import { bySource, byStatus, list, sourceOptions } from '../list.js';
import { askAndSay } from '../dialog.js';
import { filterWords } from './waiting.js';
import * as f from '../format.js';
import * as words from '../words.js';

const over = (t) => ['done', 'failed', 'cancelled'].includes(t.status);
const kindWord = (kind) => (words.taskKind[kind] ?? [kind])[0];
const says = (kind) => words.taskKind[kind]?.[1];
const failedWord = (t) => (t.kind === 'redrive' ? 'Not queued again' : 'Failed');
const statusPill = (t) => pill(t.cancelling ? 'ending' : t.status, words.taskStatus, t.status);
const standing = (t) => t.mode === 'gaps' && t.id.startsWith('gaps.');

export default function work(page) {
  const [what, taskID] = page.steps;
  if (taskID) return one(page, what, taskID);
  return [
    head('Sweeps and jobs', 'Sweeps compare the provider with the mirror. Jobs go through many dead letters or events. The reconciler does both; they go on if it is started again.',
      button('Start a comparison …', () => start(page), { kind: 'primary' })),
    h('nav', { class: 'tabs', 'aria-label': 'Sweeps or jobs' }, [['sweeps', 'Sweeps'], ['jobs', 'Jobs']].map(([name, label]) => h('a', { href: `#/work/${name}`, 'aria-current': (what ?? 'sweeps') === name && 'page', 'data-key': `tab ${name}` }, label))),
    what === 'jobs' ? jobs(page) : sweeps(page),
  ];
}

const watch = (n) => n.tasks;

function sweeps(page) {
  return list({
    page, path: 'v1/sweeps', caption: 'Sweeps', watch,
    filters: [
      { name: 'mode', label: 'Mode', options: ['sweep', 'backfill', 'verify', 'gaps'].map((m) => [m, kindWord(m)]) },
      byStatus(words.taskStatus), bySource(),
    ],
    columns: [
      { name: 'Started', cell: (s) => a(`#/work/sweeps/${seg(s.id)}`, when(s.started_at ?? s.created_at)) },
      { name: 'Mode', cell: (s) => h('span', { title: says(s.mode) }, standing(s) ? 'Standing search for gaps' : kindWord(s.mode)) },
      { name: 'Source', cell: (s) => s.source },
      { name: 'Kinds', cell: (s) => s.kinds?.join(', ') || 'all' },
      { name: 'Progress', class: 'wide', cell: (s) => (standing(s) ? quiet('never ends') : progress(s.done, s.partitions)) },
      figures('Found', (s) => s.found),
      figures('Requests', (s) => s.api_calls),
      { name: 'Status', cell: (s) => statusPill(s) },
      { name: '', cell: (s) => !over(s) && !standing(s) && !s.cancelling && button('Cancel …', () => cancel(page, 'sweeps', s), { key: `cancel ${s.id}` }) },
    ],
    nothing: ['No sweep yet', 'The reconciler starts sweeps by its schedule. Start one with the button above, or see whether a reconciler runs.'],
  });
}

// carriedThrough are jobs that cannot be cancelled.
const carriedThrough = (t) => ['erase', 'restore'].includes(t.kind);

function jobs(page) {
  return list({
    page, path: 'v1/jobs', caption: 'Jobs', watch,
    filters: [
      { name: 'kind', label: 'Kind', options: ['redrive', 'discard', 'abandon', 'reread', 'erase', 'restore'].map((k) => [k, kindWord(k)]) },
      byStatus(words.taskStatus), bySource(),
    ],
    columns: [
      { name: 'Started', cell: (j) => a(`#/work/jobs/${seg(j.id)}`, when(j.created_at)) },
      { name: 'What', cell: (j) => h('span', { title: says(j.kind) }, kindWord(j.kind)) },
      { name: 'Source', cell: (j) => j.source || 'all' },
      { name: 'By', cell: (j) => j.by ?? '–' },
      { name: 'Progress', class: 'wide', cell: (j) => progress(j.done, j.total) },
      { name: 'Failed', class: 'n', cell: (j) => h('span', { title: failedWord(j) }, f.number(j.failed)) },
      { name: 'Status', cell: (j) => statusPill(j) },
      { name: '', cell: (j) => !over(j) && !j.cancelling && !carriedThrough(j) && button('Cancel …', () => cancel(page, 'jobs', j), { key: `cancel ${j.id}` }) },
    ],
    nothing: ['No job yet', 'Redriving or discarding many dead letters starts a job. Its progress is shown here, and it can be cancelled.'],
  });
}

function one(page, what, taskID) {
  const body = loading();
  let shown, seen = '';
  const read = () => load(body, async () => {
    shown = await get(`v1/${what === 'jobs' ? 'jobs' : 'sweeps'}/${seg(taskID)}`, null, page.signal);
    return whole(page, what, shown);
  }, page.signal);
  read();
  page.onLive((l) => {
    const task = JSON.stringify(l.now?.tasks.find((t) => t.id === taskID) ?? null);
    // One that ended between two summaries is in none, and may be shown as it was before.
    const stale = task === 'null' ? shown && !over(shown) && !standing(shown) : seen !== task;
    if (stale && !inUse(body)) read();
    seen = task;
  });
  return [head(what === 'jobs' ? 'Job' : 'Sweep', null, a(`#/work/${what}`, what === 'jobs' ? 'All jobs' : 'All sweeps'), button('Refresh', read)), body];
}

function whole(page, what, t) {
  const kind = t.mode ?? t.kind;
  return [
    titled(typeName(kindWord(kind)), statusPill(t)),
    h('p', { class: 'about' }, says(kind), '. ', words.taskStatus[t.status]?.[1]),
    t.kind === 'redrive' && h('p', null, 'It counts what is queued again. What fails again is an open dead letter: ', a(`#/dead-letters?${new URLSearchParams({ status: 'open', ...t.filter })}`, 'show those of its filter'), '.'),
    h('p', { class: 'bigmeter' }, progress(t.done, what === 'jobs' ? t.total : t.partitions)),
    facts(['Source', t.source || 'all'], ['Kinds', t.kinds?.join(', ')], ['By', t.by], ['Reason', t.reason], [failedWord(t), t.failed || null], ['Differences found', t.found !== undefined && what !== 'jobs' ? a(`#/drift?sweep=${seg(t.id)}`, f.number(t.found)) : null],
      ['Entities seen', t.entities], ['Events seen', t.events], ['Requests', t.api_calls], ['Last error', t.error && errorText(t.error)],
      ['Asked for', when(t.created_at)], ['Started', t.started_at && when(t.started_at)], ['Ended', t.finished_at && when(t.finished_at)], [what === 'jobs' ? 'Job' : 'Sweep', id(t.id)]),
    t.filter && section('What it selects', filterWords(t.filter)),
    t.warnings?.length > 0 && section('Warnings', h('ul', null, t.warnings.map((w) => h('li', null, w)))),
    t.unchecked_count > 0 && section(`${f.entities(t.unchecked_count)} could not be checked`, t.unchecked && entities(t, t.unchecked)),
    t.failed_list_count > 0 && section(`${f.plural(t.failed_list_count, 'list was', 'lists were')} not read whole`, t.failed_lists && table('Lists', [
      { name: 'Kind', cell: (x) => x.kind }, { name: 'Under', cell: (x) => Object.values(x.parents ?? {}).map(id) }, { name: 'Error', class: 'wide', cell: (x) => errorText(x.error) }], t.failed_lists)),
    t.not_fetched_count > 0 && section(`${f.plural(t.not_fetched_count, 'entity was', 'entities were')} not fetched`, t.not_fetched && entities(t, t.not_fetched)),
    !over(t) && !standing(t) && !t.cancelling && !carriedThrough(t) && bulk(button('Cancel …', () => cancel(page, what, t), { kind: 'dangerous' })),
  ];
}

// entities are some that a sweep could not do, with the reasons.
const entities = (t, some) => table('Entities', [
  { name: 'Entity', cell: (x) => (x.id ? entityLink(t.source, x.kind, x.id, x.parents) : `the rest of ${x.kind}`) }, { name: 'Why', class: 'wide', cell: (x) => errorText(x.reason) }], some);

function cancel(page, what, t) {
  const noun = what === 'jobs' ? 'job' : 'sweep';
  return askAndSay({
    title: `End this ${noun}?`, verb: `End the ${noun}`, danger: true,
    body: [amount(`1 ${noun}`), h('p', null, kindWord(t.mode ?? t.kind), ' ', id(t.id), ': ', f.number(t.done), ' done. What is done stays done, the rest is left. It ends within seconds.')],
    run: () => act('DELETE', `v1/${what}/${seg(t.id)}`), after: page.again,
  }, () => `The ${noun} ends.`);
}

function start(page) {
  const sources = sourceOptions();
  return askAndSay({
    title: 'Start a comparison', verb: 'Start',
    body: h('p', null, 'It spends requests of the source’s budget, after webhooks.'),
    fields: [
      { name: 'source', label: 'Source', options: sources.map((s) => [s, s]) },
      { name: 'mode', label: 'Mode', options: ['sweep', 'verify', 'backfill', 'gaps'].map((m) => [m, `${kindWord(m)}: ${words.taskKind[m][1]}`]) },
      { name: 'kinds', label: 'Kinds', hint: 'with commas between; empty: all. Not for gaps.' },
      { name: 'rate', label: 'Requests a second, at most', type: 'number', min: 0, step: 'any', hint: 'empty: what the budget allows' },
    ],
    run({ source, mode, kinds, rate }) {
      const named = kinds.split(',').map((k) => k.trim()).filter(Boolean);
      return act('POST', 'v1/sweeps', { source, mode, ...(named.length > 0 && { kinds: named }), ...(rate ? { rate } : {}) });
    },
    after: page.again,
  }, (s) => [s.accepted ? 'It is waiting for a reconciler.' : 'One like it is under way already: no other is started.', `#/work/sweeps/${seg(s.id)}`, 'Show its progress']);
}
