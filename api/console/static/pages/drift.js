// Drift: what sweeps found different between the provider and the mirror.

import { h, fill } from '../dom.js';
import { entityPath, getText } from '../api.js';
import { empty, entityLink, eventLink, head, load, pill, sides, when } from '../parts.js';
import { list } from '../list.js';
import { kindOptions, sourceOptions } from './events.js';
import { pointer, rawAt } from '../json.js';
import * as f from '../format.js';
import * as words from '../words.js';

// driftColumns are those of a list of discrepancies.
export const driftColumns = [
  { name: 'Found', cell: (d) => when(d.found_at) },
  { name: 'What', class: 'wide', cell: (d) => [h('span', { class: 'type' }, d.type.replaceAll('_', ' ')), h('div', { class: 'why' }, words.driftType[d.type])] },
  { name: 'Entity', cell: (d) => (d.entity ? entityLink(d.source, d.kind, d.entity, d.parents) : d.event ? eventLink(d.source, d.event) : h('span', { class: 'quiet' }, `source ${d.source}`)) },
  { name: 'Status', cell: (d) => pill(d.status, words.driftStatus) },
  { name: 'Patch', class: 'wide', cell: (d) => patch(d) },
];

export default function drift(page) {
  return [
    head('Drift', 'What comparisons with the provider found different. Repair is asked for at once; the verdict follows, since an event under way may explain a difference.'),
    list({
      page, path: 'v1/discrepancies', caption: 'Differences', columns: driftColumns, watch: (n) => n.drift,
      filters: [
        { name: 'status', label: 'Status', options: Object.keys(words.driftStatus) },
        { name: 'type', label: 'What', options: Object.keys(words.driftType).map((t) => [t, t.replaceAll('_', ' ')]) },
        { name: 'source', label: 'Source', options: sourceOptions() },
        { name: 'kind', label: 'Kind', options: kindOptions() },
        { name: 'entity', label: 'Entity', hint: 'source/kind/id', size: 22 },
        { name: 'sweep', label: 'Found by sweep', hint: 'sweep_…', size: 20 },
        { name: 'from', label: 'From', hint: '2026-03-01T12:00:00Z', size: 20 },
        { name: 'to', label: 'To', hint: '2026-03-02T12:00:00Z', size: 20 },
      ],
      nothing: (chosen) => (Object.keys(chosen).length > 0
        ? empty('None is like this', 'Take a filter away.')
        : empty('No difference was ever found', 'Sweeps compare the provider’s lists with the mirror. What differs is shown here, with a patch from one state to the other.')),
    }),
  ];
}

const verbs = { add: 'lacks it', remove: 'has it', replace: 'differs', move: 'moved', copy: 'copied', test: 'is' };

// patch shows the states side by side: what the mirror has now, and what the provider had.
function patch(d) {
  if (!d.patch?.length) return h('span', { class: 'quiet' }, 'nothing to compare');
  const body = h('div');
  let read = false;
  const details = h('details', {
    ontoggle() {
      if (read || !details.open) return;
      read = true;
      fill(body, h('p', { class: 'quiet' }, 'Loading …'));
      load(body, () => compared(d));
    },
  }, h('summary', { 'data-key': `patch ${d.id}` }, f.plural(d.patch.length, 'place', 'places')), body);
  return details;
}

async function compared(d) {
  let mirror = null;
  if (d.entity) {
    const parent = Object.entries(d.parents ?? {}).map(([k, v]) => `${k}/${v}`)[0];
    try {
      mirror = await getText(entityPath(d.source, d.kind, d.entity), { parent });
    } catch { /* the mirror does not have it: its side is empty */ }
  }
  const inMirror = (path) => (mirror ? rawAt(mirror.text, ['state', ...pointer(path, mirror.value.state)]) : undefined);
  return [
    sides('Mirror and provider, side by side', ['Place', 'Mirror, now', 'Provider, when found'],
      d.patch.map((op, i) => [op.path || '(all of it)', inMirror(op.path), op.op === 'remove' ? undefined : d.raw(['patch', i, 'value'])])),
    d.status === 'repaired' && h('p', { class: 'quiet' }, 'It was repaired ', when(d.repaired_at), ': both sides are the same again unless it has changed since.'),
  ];
}
