// Fleet: workers, the shards they hold, and what waits in them.

import { fill, h, inUse } from '../dom.js';
import { get, live } from '../api.js';
import { empty, figures, head, id, loading, meter, problem, quiet, section, table, tag, when } from '../parts.js';
import * as f from '../format.js';

export default function fleet(page) {
  const body = loading();
  let busy = false, open = false;
  const read = async () => {
    if (busy || inUse(body)) return;
    busy = true;
    try {
      const got = await get('v1/fleet', null, page.signal);
      open = body.querySelector('details')?.open ?? open;
      fill(body, draw(got, open));
    } catch (err) {
      if (!page.signal.aborted) fill(body, problem(err, read));
    } finally {
      busy = false;
    }
  };
  read();
  page.onLive((l) => { if (l.state === 'live') read(); });
  return [head('Fleet', 'Every shard is read by one worker at a time. A shard holds the entities whose ids lead to it, of all sources.'), body];
}

// level says how a shard is. The order of the tests is that of urgency.
function level(s) {
  if (s.wrong_keys?.length) return 'bad';
  if (!s.owner) return s.backlog > 0 ? 'bad' : 'none';
  if (s.oldest_age_s >= 60) return 'late';
  if (s.backlog > 0) return 'busy';
  return s.parked > 0 ? 'parked' : 'idle';
}

const levels = {
  idle: 'nothing waits', busy: 'at work', parked: 'entities parked', late: 'oldest entry over a minute old', none: 'no worker', bad: 'waits without a worker, or foreign keys',
};

const words = (s) => `shard ${s.shard}: ${f.plural(s.backlog, 'entry', 'entries')}${s.oldest_age_s ? `, oldest ${f.length(s.oldest_age_s)}` : ''}, ${f.number(s.parked)} parked`;

function strip(shards, label) {
  return h('div', { class: 'strip', role: 'img', 'aria-label': label }, shards.map((s) => h('span', { class: `cell ${level(s)}`, title: `${words(s)} – ${levels[level(s)]}` })));
}

function draw(fleet, open) {
  const held = new Map(fleet.workers.map((w) => [w.id, []]));
  const without = [];
  for (const s of fleet.shards) (s.owner ? held.get(s.owner) ?? held.set(s.owner, []).get(s.owner) : without).push(s);
  const known = new Map(fleet.workers.map((w) => [w.id, w]));
  const rows = [...held].map(([worker, shards]) => ({ worker, shards, since: known.get(worker)?.since, there: known.has(worker) }));
  const total = (shards, key) => shards.reduce((n, s) => n + s[key], 0);
  const troubled = fleet.shards.filter((s) => ['bad', 'late'].includes(level(s)));
  return [
    h('ul', { class: 'legend' }, Object.entries(levels).map(([name, says]) => h('li', null, h('span', { class: `cell ${name}` }), ' ', says))),
    section(f.plural(fleet.workers.length, 'worker'),
      rows.length === 0 && empty('No worker runs', 'Events are accepted and wait. Start a worker: it takes its share of the shards within seconds.'),
      rows.length > 0 && table('Workers and their shards', [
        { name: 'Worker', cell: (r) => [id(r.worker), !r.there && [' ', tag('not seen lately', 'warn', 'Its lease ends soon, and another worker takes the shard.')]] },
        figures('Shards', (r) => r.shards.length),
        figures('Waits', (r) => total(r.shards, 'backlog')),
        figures('Parked', (r) => total(r.shards, 'parked')),
        { name: 'Since', cell: (r) => when(r.since) },
        { name: 'Each shard', class: 'wide', cell: (r) => strip(r.shards, `${f.plural(r.shards.length, 'shard')} of ${r.worker}, ${f.plural(r.shards.filter((s) => level(s) !== 'idle').length, 'is', 'are')} not idle`) },
      ], rows),
      without.length > 0 && h('div', { class: 'problem soft' }, h('p', { class: 'strong' }, `${f.plural(without.length, 'shard has', 'shards have')} no worker`),
        strip(without, 'Shards without a worker'), h('p', null, fleet.workers.length ? 'Workers take them within seconds. If it stays so, look at the workers’ logs.' : 'Start a worker.'))),
    troubled.length > 0 && section('Shards that want a look', shardTable('Shards that want a look', troubled)),
    section('Sources', table('What waits, by source', [
      { name: 'Source', cell: (s) => h('a', { href: '#/sources' }, s.source) },
      { name: 'State', cell: (s) => (s.paused ? tag('paused', 'warn', s.reason) : tag('asks', 'good', 'Its provider is asked.')) },
      figures('Live', (s) => s.live),
      { name: 'Oldest', class: 'n', cell: (s) => (s.live ? f.length(s.oldest_age_s) : '–') },
      figures('Background', (s) => s.background),
      figures('Parked', (s) => s.parked),
      { name: 'Budget left', class: 'wide', cell: (s) => budget(s) },
    ], fleet.sources)),
    h('details', { open }, h('summary', null, `All ${fleet.shards.length} shards`), shardTable('All shards', fleet.shards)),
  ];
}

// budget is the share of the requests saved up that is left.
export function budget(s) {
  const rate = live.hello?.sources.find((x) => x.source === s.source)?.rate_per_s;
  if (live.hello && !rate) return quiet('no limit');
  return meter(s.budget, `${Math.round(s.budget * 100)} %${rate ? ` of a burst, at ${f.number(rate)}/s` : ''}`);
}

function shardTable(caption, shards) {
  return table(caption, [
    { name: 'Shard', class: 'n', cell: (s) => s.shard },
    { name: 'Owner', cell: (s) => (s.owner ? id(s.owner) : tag('none', 'warn', 'No worker holds it.')) },
    figures('Waits', (s) => s.backlog),
    { name: 'Oldest', class: 'n', cell: (s) => (s.oldest_age_s ? f.length(s.oldest_age_s) : '–') },
    figures('Parked', (s) => s.parked),
    { name: 'Epoch', class: 'n', cell: (s) => s.epoch ?? '–' },
    { name: 'Foreign keys', cell: (s) => s.wrong_keys?.map(id) ?? '–' },
  ], shards);
}
