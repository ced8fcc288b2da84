// Audit: who did what, when, why, and what it changed.

import { h } from '../dom.js';
import { head, quiet, sides, typeName, when } from '../parts.js';
import { bySource, byTime, list } from '../list.js';
import * as f from '../format.js';

export default function audit(page) {
  return [
    head('Audit', 'What operators did, newest first. An act is kept with the name of the token, the reason given, and what it changed where that is known.'),
    list({
      page, path: 'v1/audit', caption: 'Acts of operators',
      filters: [
        bySource(),
        { name: 'by', label: 'Who', hint: 'name of a token', size: 16 },
        ...byTime(),
      ],
      columns: [
        { name: 'When', cell: (n) => when(n.at) },
        { name: 'Who', cell: (n) => n.by || quiet('see the text') },
        { name: 'What', class: 'wide', cell: (n) => (n.did ? [typeName(n.did), n.to && [' ', h('span', { class: 'id' }, n.to)]] : h('span', { class: 'id' }, n.text)) },
        { name: 'Source', cell: (n) => n.source || quiet('several') },
        { name: 'Why', class: 'wide', cell: (n) => n.why && h('span', { class: 'id' }, n.why) },
        { name: 'Before and after', class: 'wide', cell: (n) => changed(n) },
      ],
      nothing: ['No operator has acted yet', 'Each pause, retry, redrive, discard, sync or comparison is shown here, with who asked for it and why.'],
    }),
  ];
}

const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);

// changed shows each value that differs, as it was before and after.
function changed(n) {
  if (n.before === undefined && n.after === undefined) return quiet('not known');
  const whole = [n.before, n.after].some((v) => v !== undefined && !isObject(v));
  const names = whole ? [''] : [...new Set([...Object.keys(n.before ?? {}), ...Object.keys(n.after ?? {})])];
  const at = (side, name) => n.raw(name === '' ? [side] : [side, name]);
  const rows = names.map((name) => [name || '(all of it)', at('before', name), at('after', name)]).filter(([, before, after]) => before !== after);
  if (rows.length === 0) return quiet('nothing changed');
  return h('details', null, h('summary', { 'data-key': `changed ${n.id}` }, f.plural(rows.length, 'value')),
    sides('Before and after, side by side', ['Value', 'Before', 'After'], rows));
}
