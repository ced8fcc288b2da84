// Asks before anything is changed. A dialog says what will happen, and to how many.

import { h, fill } from './dom.js';
import { mayAct } from './api.js';
import { problem, toast } from './parts.js';

// ask opens a dialog and resolves with what run returned, or undefined if it was left.
//
//   title    the question
//   body     nodes; or an async function that gets show(nodes, ready), for what is counted first
//   fields   {name, label, type, options, value, required, hint, max}
//   verb     what the button says; danger makes it red
//   run      does it, with the fields' values; a problem is shown in the dialog
//   after    is called when it is done and the dialog closed
export function ask({ title, body, fields = [], verb, danger, run, after }) {
  return new Promise((done) => {
    let outcome;
    const said = h('div', { class: 'said' });
    const wrong = h('div');
    const go = h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, verb);
    const inputs = new Map(fields.map((field) => [field.name, input(field)]));
    const form = h('form', { method: 'dialog', novalidate: true, 'aria-labelledby': 'asked' },
      h('h2', { id: 'asked' }, title), said,
      fields.map((field) => row(field, inputs.get(field.name))),
      !mayAct() && h('p', { class: 'note' }, 'Your token may only read. This needs an operator’s.'),
      wrong,
      h('div', { class: 'actions' },
        h('button', { type: 'button', onclick: () => box.close() }, 'Cancel'), go));
    const box = h('dialog', { 'aria-labelledby': 'asked' }, form);
    const ready = (is) => { go.disabled = !is || !mayAct(); };
    ready(true);
    form.addEventListener('submit', async (e) => {
      e.preventDefault();
      if (go.disabled) return;
      const values = Object.fromEntries([...inputs].map(([name, node]) => [name, read(node)]));
      const missing = fields.find((field) => field.required && !String(values[field.name]).trim());
      if (missing) {
        fill(wrong, h('p', { class: 'note bad', role: 'alert' }, `${missing.label} is needed.`));
        inputs.get(missing.name).focus();
        return;
      }
      ready(false);
      fill(wrong);
      try {
        outcome = await run(values);
        box.close();
      } catch (err) {
        fill(wrong, problem(err));
        ready(true);
      }
    });
    box.addEventListener('close', () => {
      box.remove();
      if (outcome !== undefined) after?.();
      done(outcome);
    });
    document.body.append(box);
    if (typeof body === 'function') {
      body((nodes, is = true) => { fill(said, nodes); ready(is); }).catch((err) => { fill(said, problem(err)); ready(false); });
    } else fill(said, body);
    box.showModal();
  });
}

// reasonField asks for the reason that the audit keeps.
export const reasonField = (hint, max = 1000) => ({ name: 'reason', label: 'Why', required: true, max, hint });

function input(field) {
  const attrs = { id: `ask-${field.name}`, name: field.name, 'aria-describedby': field.hint && `ask-${field.name}-hint` };
  if (field.options) return h('select', attrs, field.options.map(([value, label]) => h('option', { value, selected: value === field.value }, label)));
  if (field.type === 'checkbox') return h('input', { ...attrs, type: 'checkbox' });
  return h('input', { ...attrs, type: field.type ?? 'text', value: field.value ?? '', maxlength: field.max, min: field.min, step: field.step, autocomplete: 'off' });
}

function row(field, node) {
  const hint = field.hint && h('span', { class: 'hint', id: `ask-${field.name}-hint` }, field.hint);
  if (field.type === 'checkbox') return h('div', { class: 'field check' }, node, h('label', { for: node.id }, field.label), hint);
  return h('div', { class: 'field' }, h('label', { for: node.id }, field.label), node, hint);
}

const read = (node) => (node.type === 'checkbox' ? node.checked : node.type === 'number' ? (node.value === '' ? '' : Number(node.value)) : node.value);

// done says what an act did, if it was done.
export async function askAndSay(question, say) {
  const outcome = await ask(question);
  if (outcome !== undefined) toast(...[say(outcome)].flat());
  return outcome;
}
