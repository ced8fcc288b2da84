// Now: is the mirror right?

import { fill, h, inUse } from '../dom.js';
import { live, seg } from '../api.js';
import { a, aside, empty, head, pill, progress, quiet, section, table, when } from '../parts.js';
import { spark, bars } from '../chart.js';
import * as f from '../format.js';
import * as words from '../words.js';

const tones = { right: 'good', behind: 'warn', wrong: 'bad', unknown: 'calm' };
const answers = { right: 'Right', behind: 'Behind', wrong: 'Not right', unknown: 'Not known' };
const pagesOf = { fleet: 'Fleet', waiting: 'Parked', 'dead-letters': 'Dead letters', drift: 'Drift', work: 'Sweeps and jobs', sources: 'Sources' };

const openLetters = '#/dead-letters?status=open';

export default function now(page) {
  const body = h('div', null, aside('Connecting …'));
  const said = h('p', { class: 'unseen', role: 'status' }); // read out when it changes, and only then
  const show = () => {
    if (inUse(body)) return;
    fill(body, live.now ? draw(live) : lost(live));
    const sentence = live.now?.verdict.sentence ?? '';
    if (said.textContent !== sentence) said.textContent = sentence;
  };
  page.onLive(show);
  if (!live.now) show();
  return [head('Is the mirror right?'), said, body];
}

function lost(l) {
  if (l.state === 'off') return aside('Connecting …');
  return h('div', { class: 'verdict calm' }, h('p', { class: 'answer' }, 'Not known'),
    h('p', { class: 'sentence' }, l.problem ? l.problem.detail : 'The api does not answer.'), aside('It is tried again by itself.'));
}

function draw({ now: n, points, state }) {
  return [verdict(n, state), tiles(n, points), h('div', { class: 'two' }, waits(n), compared(n)), underWay(n)];
}

function verdict(n, state) {
  const tone = state === 'live' ? tones[n.verdict.level] : 'calm';
  return h('div', { class: `verdict ${tone}` },
    h('p', { class: 'answer' }, answers[n.verdict.level], state !== 'live' && quiet(' – as it was; the connection is lost')),
    h('p', { class: 'sentence' }, n.verdict.sentence),
    n.verdict.reasons.length > 0 && h('ul', null, n.verdict.reasons.map((r) => h('li', { class: tones[r.level] },
      r.text, r.see && [' ', a(r.see === 'dead-letters' ? openLetters : `#/${r.see}`, `Show ${pagesOf[r.see].toLowerCase()}`)]))));
}

function tile({ title, figure, unit, says, values, tone, href }) {
  const of = f.plural(values.length, 'point');
  return h('div', { class: `tile ${tone ?? ''}` },
    h('h2', null, href ? a(href, title) : title),
    h('p', { class: 'figure' }, figure, unit && h('span', { class: 'unit' }, ' ' + unit)),
    spark(values, `${title}: ${figure} ${unit ?? ''}, ${of}`),
    h('p', { class: 'says' }, says));
}

function tiles(n, points) {
  const letters = Object.values(n.letters).reduce((x, y) => x + y, 0);
  const drift = n.drift.confirmed + n.drift.failed;
  const commands = n.commands.dead + n.commands.asked;
  const paused = n.sources.filter((s) => s.paused);
  const { flow } = n;
  const measured = flow.measured > 0 ? `of the newest ${f.number(flow.measured)} processed events, received since ${f.clock(flow.since)}` : 'once an event has been processed';
  const of = (key) => points.map((p) => p[key]);
  return h('div', { class: 'tiles' },
    tile({ title: 'Throughput', figure: f.number(flow.received_per_s), unit: 'events/s', values: of('received_per_s'), says: 'logged, over the last 10 s', href: '#/events' }),
    tile({ title: 'Event to mirror, p50', figure: flow.measured ? f.millis(flow.p50_ms) : '–', values: of('p50_ms'), says: `Half took less, ${measured}` }),
    tile({ title: 'Event to mirror, p99', figure: flow.measured ? f.millis(flow.p99_ms) : '–', values: of('p99_ms'), says: `99 in 100 took less, ${measured}` }),
    tile({ title: 'Backlog', figure: f.number(n.backlog.live + n.backlog.background), unit: 'entries', values: of('backlog'), href: '#/fleet',
      says: n.backlog.live ? `${f.number(n.backlog.live)} live, the oldest ${f.length(n.backlog.oldest_age_s)} old; ${f.number(n.backlog.background)} in the background` : `none live; ${f.number(n.backlog.background)} in the background` }),
    tile({ title: 'Parked', figure: f.number(n.backlog.parked), unit: n.backlog.parked === 1 ? 'entity' : 'entities', values: of('parked'), tone: n.backlog.parked ? 'warn' : '', says: 'for another attempt', href: '#/waiting' }),
    tile({ title: 'Dead letters', figure: f.number(letters), unit: 'open', values: of('letters'), tone: letters ? 'bad' : '', says: letters ? Object.entries(n.letters).map(([s, c]) => `${s} ${f.number(c)}`).join(', ') : 'none is open', href: openLetters }),
    tile({ title: 'Drift', figure: capped(drift), unit: 'not repaired', values: of('drift'), tone: drift ? 'bad' : '', href: '#/drift',
      says: `${capped(n.drift.repaired_day)} repaired in 24 hours, ${capped(n.drift.suspected)} suspected` }),
    commands > 0 && tile({ title: 'Commands', figure: f.number(commands), unit: 'for an operator', values: [], tone: 'bad', says: 'no part of the mirror waits for them', href: '#/commands' }),
    tile({ title: 'Paused sources', figure: f.number(paused.length), unit: `of ${n.sources.length}`, values: [], tone: paused.length ? 'warn' : '', says: paused.map((s) => s.source).join(', ') || 'all ask their providers', href: '#/sources' }));
}

const capped = (n) => (n >= 100 ? '100 or more' : f.number(n));

const ageTones = ['good', 'good', '', 'warn', 'bad'];

function waits(n) {
  const total = n.backlog.live;
  let from = 0;
  const classes = n.backlog.ages.map((c, i) => {
    const label = c.below_s === undefined ? `over ${f.length(from)}` : `under ${f.length(c.below_s)}`;
    from = c.below_s ?? from;
    return { label, count: c.count, text: f.number(c.count), tone: ageTones[i] };
  });
  return section('Backlog by age',
    total ? bars(classes) : empty('Nothing waits', 'Changes that wait to be fetched are shown here by how long they have waited.'),
    total > 0 && h('p', { class: 'says' }, 'Live entries, by the age of the oldest one of their shard and source: none is older than its line says.'));
}

export const found = (c) => f.plural(c.found, 'difference') + (c.unchecked_count > 0 ? `, ${f.number(c.unchecked_count)} could not be checked` : '');

function compared(n) {
  return section('Compared with the provider',
    n.compared.length === 0
      ? empty('Not compared yet', 'A sweep compares the provider’s lists with the mirror. The schedule starts the first one soon; Sweeps and jobs can start one now.')
      : table('Last comparisons', [
        { name: 'Source', cell: (c) => c.source },
        { name: 'Ended', cell: (c) => a(`#/work/sweeps/${seg(c.sweep)}`, when(c.finished_at)) },
        { name: 'Found', cell: found },
        { name: '', cell: (c) => pill(c.status, words.taskStatus) },
      ], n.compared));
}

function underWay(n) {
  if (n.tasks.length === 0) return null;
  return section('Under way', table('Sweeps and jobs under way', [
    { name: 'What', cell: (t) => a(`#/work/${words.taskKind[t.kind] && ['sweep', 'backfill', 'verify', 'gaps'].includes(t.kind) ? 'sweeps' : 'jobs'}/${seg(t.id)}`, (words.taskKind[t.kind] ?? [t.kind])[0]) },
    { name: 'Source', cell: (t) => t.source || 'all' },
    { name: 'Progress', cell: (t) => progress(t.done, t.total) },
    { name: '', cell: (t) => pill(t.cancelling ? 'ending' : t.status, words.taskStatus, t.status) },
  ], n.tasks));
}
