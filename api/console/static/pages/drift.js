// Drift: what sweeps found different between the provider and the mirror.

import { h } from '../dom.js';
import { entityLink, eventLink, head, pill, quiet, sides, typeName, when } from '../parts.js';
import { byEntity, byKind, bySource, byStatus, byTime, list } from '../list.js';
import * as f from '../format.js';
import * as words from '../words.js';

// driftColumns are those of a list of discrepancies.
export const driftColumns = [
  { name: 'Found', cell: (d) => when(d.found_at) },
  { name: 'What', class: 'wide', cell: (d) => [typeName(d.type.replaceAll('_', ' ')), h('div', { class: 'why' }, words.driftType[d.type])] },
  { name: 'Entity', cell: about },
  { name: 'Status', cell: (d) => [pill(d.status, words.driftStatus), d.status === 'dropped' && h('div', { class: 'why' }, words.driftStatus.dropped[1])] },
  { name: 'Patch', class: 'wide', cell: (d) => patch(d) },
];

function about(d) {
  const found = [d.entity && entityLink(d.source, d.kind, d.entity, d.parents), d.event && h('div', null, 'event ', eventLink(d.source, d.event))].filter(Boolean);
  return found.length > 0 ? found : quiet(`source ${d.source}`);
}

export default function drift(page) {
  return [
    head('Drift', 'What comparisons with the provider found different. Repair is asked for at once; the verdict follows, since an event under way may explain a difference.'),
    list({
      page, path: 'v1/discrepancies', caption: 'Differences', columns: driftColumns, watch: (n) => n.drift,
      filters: [
        byStatus(words.driftStatus),
        { name: 'type', label: 'What', options: Object.keys(words.driftType).map((t) => [t, t.replaceAll('_', ' ')]) },
        bySource(),
        byKind(),
        byEntity(),
        { name: 'sweep', label: 'Found by sweep', hint: 'sweep_…', size: 20 },
        ...byTime(),
      ],
      nothing: ['No difference was ever found', 'Sweeps compare the provider’s lists with the mirror. What differs is shown here, with a patch from one state to the other.'],
    }),
  ];
}

// patch shows the states side by side, as both were when they were compared.
function patch(d) {
  if (!Array.isArray(d.patch)) return quiet(d.patch ?? 'nothing to compare');
  const value = (i) => d.raw(['patch', i, 'value']);
  const rows = d.patch.flatMap((op, i) => (op.op === 'test' ? [] : [[
    op.path || '(all of it)',
    d.patch[i - 1]?.op === 'test' ? value(i - 1) : undefined,
    op.op === 'remove' ? undefined : value(i),
  ]]));
  return h('details', null,
    h('summary', { 'data-key': `patch ${d.id}` }, f.plural(rows.length, 'place')),
    sides('Mirror and provider when they were compared', ['Place', 'Mirror', 'Provider'], rows));
}
