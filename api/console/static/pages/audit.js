// Audit: who did what, when, why, and what it changed.

import { h } from '../dom.js';
import { empty, head, sides, when } from '../parts.js';
import { list } from '../list.js';
import { sourceOptions } from './events.js';
import * as f from '../format.js';

export default function audit(page) {
  return [
    head('Audit', 'What operators did, newest first. An act is kept with the name of the token, the reason given, and what it changed where that is known.'),
    list({
      page, path: 'v1/audit', caption: 'Acts of operators',
      filters: [
        { name: 'source', label: 'Source', options: sourceOptions() },
        { name: 'by', label: 'Who', hint: 'name of a token', size: 16 },
        { name: 'from', label: 'From', hint: '2026-03-01T12:00:00Z', size: 20 },
        { name: 'to', label: 'To', hint: '2026-03-02T12:00:00Z', size: 20 },
      ],
      columns: [
        { name: 'When', cell: (n) => when(n.at) },
        { name: 'Who', cell: (n) => n.by || h('span', { class: 'quiet' }, 'see the text') },
        { name: 'What', class: 'wide', cell: (n) => (n.did ? [h('span', { class: 'type' }, n.did), n.to && [' ', h('span', { class: 'id' }, n.to)]] : h('span', { class: 'id' }, n.text)) },
        { name: 'Source', cell: (n) => n.source || h('span', { class: 'quiet' }, 'several') },
        { name: 'Why', class: 'wide', cell: (n) => n.why && h('span', { class: 'id' }, n.why) },
        { name: 'Before and after', class: 'wide', cell: (n) => changed(n) },
      ],
      nothing: (chosen) => (Object.keys(chosen).length > 0
        ? empty('No act is like this', 'Take a filter away, or ask for another time.')
        : empty('No operator has acted yet', 'A pause, a retry, a redrive, a discard, a sync, a comparison that is started or ended: each is shown here with who did it and why.')),
    }),
  ];
}

const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);

// changed shows each value that differs, as it was before and after.
function changed(n) {
  if (n.before === undefined && n.after === undefined) return h('span', { class: 'quiet' }, 'not known');
  const whole = [n.before, n.after].some((v) => v !== undefined && !isObject(v));
  const names = whole ? [''] : [...new Set([...Object.keys(n.before ?? {}), ...Object.keys(n.after ?? {})])];
  const at = (side, name) => n.raw(name === '' ? [side] : [side, name]);
  const rows = names.map((name) => [name || '(all of it)', at('before', name), at('after', name)]).filter(([, before, after]) => before !== after);
  if (rows.length === 0) return h('span', { class: 'quiet' }, 'nothing changed');
  return h('details', null, h('summary', { 'data-key': `changed ${n.id}` }, f.plural(rows.length, 'value', 'values')),
    sides('Before and after, side by side', ['Value', 'Before', 'After'], rows));
}
