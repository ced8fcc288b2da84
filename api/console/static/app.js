// Starts the console: who is asking, which page is shown, what is live.

import { h, fill } from './dom.js';
import { live, hasToken, useToken, get } from './api.js';
import { button, problem, tick } from './parts.js';
import { number } from './format.js';
import now from './pages/now.js';
import fleet from './pages/fleet.js';
import events from './pages/events.js';
import entities from './pages/entities.js';
import waiting from './pages/waiting.js';
import letters from './pages/letters.js';
import commands from './pages/commands.js';
import drift from './pages/drift.js';
import work from './pages/work.js';
import sources from './pages/sources.js';
import audit from './pages/audit.js';

const sum = (o) => Object.values(o ?? {}).reduce((a, b) => a + b, 0);

// The pages, in the order of the navigation. badge counts what wants a look.
const pages = [
  { name: 'now', label: 'Now', show: now },
  { name: 'fleet', label: 'Fleet', show: fleet },
  { name: 'events', label: 'Events', show: events },
  { name: 'entities', label: 'Entities', show: entities },
  { name: 'waiting', label: 'Parked', show: waiting, badge: (n) => [n.backlog.parked, 'warn', 'parked'] },
  { name: 'dead-letters', label: 'Dead letters', show: letters, query: '?status=open', badge: (n) => [sum(n.letters), 'bad', 'open'] },
  { name: 'commands', label: 'Commands', show: commands, badge: (n) => [n.commands.asked + n.commands.dead, 'bad', 'need an operator'] },
  { name: 'drift', label: 'Drift', show: drift, badge: (n) => [n.drift.confirmed + n.drift.failed, 'bad', 'not repaired'] },
  { name: 'work', label: 'Sweeps and jobs', show: work, badge: (n) => [n.tasks.length, 'calm', 'under way'] },
  { name: 'sources', label: 'Sources', show: sources, badge: (n) => [n.sources.filter((s) => s.paused).length, 'warn', 'paused'] },
  { name: 'audit', label: 'Audit', show: audit },
];

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const who = document.getElementById('who');
let leaving = new AbortController();

// here reads the address: "#/events/lemon/evt_1?kind=order".
function here() {
  const [path, query] = (location.hash.slice(1) || '/now').split('?');
  const steps = path.split('/').slice(1).map((s) => {
    try { return decodeURIComponent(s); } catch { return s; }
  });
  return { steps, path, query: new URLSearchParams(query) };
}

function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { steps, path, query } = here();
  const found = pages.find((p) => p.name === steps[0]) ?? pages[0];
  document.title = `${found.label} – Tarn`;
  drawNav(found);
  const page = {
    steps: steps.slice(1), query, signal, path,
    onLive(fn) { live.on(fn, signal); if (live.now) fn(live); },
    go(to, filters = {}) {
      const text = new URLSearchParams(Object.entries(filters).filter(([, v]) => v)).toString();
      const hash = '#' + to + (text ? '?' + text : '');
      if (location.hash === hash) show();
      else location.hash = hash;
    },
    again: show,
  };
  fill(main, found.show(page));
}

function drawNav(current) {
  fill(nav, pages.map((p) => h('a', { href: `#/${p.name}${p.query ?? ''}`, 'aria-current': p === current && 'page', 'data-key': `nav-${p.name}` },
    h('span', null, p.label), h('span', { class: 'badge', 'data-badge': p.name }))));
  badges();
  const at = nav.querySelector('[aria-current]');
  if (nav.scrollWidth > nav.clientWidth) nav.scrollLeft = at.offsetLeft - nav.clientWidth / 2 + at.offsetWidth / 2;
}

function badges() {
  for (const p of pages) {
    const node = nav.querySelector(`[data-badge="${p.name}"]`);
    if (!node) return; // no page is shown yet
    const [n, tone, says] = (live.now && p.badge?.(live.now)) || [0];
    node.className = `badge ${n > 0 ? tone : ''}`;
    fill(node, n > 0 && [number(n), h('span', { class: 'unseen' }, ` ${says}`)]);
  }
}

const states = { live: ['good', 'live'], lost: ['bad', 'not connected'], off: ['calm', 'at rest'] };

function drawWho() {
  const [tone, word] = states[live.state];
  const you = live.hello;
  fill(who,
    h('span', { class: `state ${tone}` }, word),
    you && h('span', { class: 'you' }, you.by === 'local' ? 'this machine' : `${you.by}, ${you.role}`),
    you && h('span', { class: 'quiet version' }, you.version),
    hasToken() && button('Sign out', () => { useToken(''); live.end(); signIn(); }, { kind: 'plain' }));
}

// signIn asks for a token. The api says 401 where it wants one.
function signIn(said) {
  leaving.abort();
  fill(nav);
  const token = h('input', { id: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'token-hint' });
  const wrong = h('div', null, said);
  const form = h('form', {
    class: 'signin', 'aria-label': 'Sign in',
    async onsubmit(e) {
      e.preventDefault();
      useToken(token.value.trim());
      try {
        await get('v1/jobs', { limit: 1 });
        begin();
      } catch (err) {
        useToken('');
        fill(wrong, problem(err));
        token.select();
      }
    },
  },
  h('h1', null, 'Sign in'),
  h('p', null, 'This api answers holders of a token only: one of ', h('code', null, 'operator_tokens'), ' in its settings. A viewer’s token reads, an operator’s also acts.'),
  h('div', { class: 'field' }, h('label', { for: 'token' }, 'Token'), token,
    h('span', { class: 'hint', id: 'token-hint' }, 'It is kept until this tab is closed, and sent to this api only.')),
  wrong,
  h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Sign in')));
  fill(main, form);
  document.title = 'Sign in – Tarn';
  drawWho();
  token.focus();
}

// begin shows the page once the stream has said which sources there are, or that it cannot.
let begun = false;
function begin() {
  begun = false;
  live.start();
  setTimeout(first, 2000);
}

function first() {
  if (begun || !live.wants) return;
  begun = true;
  show();
}

live.on(() => {
  drawWho();
  badges();
  if (live.wants && live.problem?.status === 401) { // the token was taken out of the settings
    const said = problem(live.problem);
    live.end();
    useToken('');
    signIn(said);
  } else if (live.hello || live.state === 'lost') first();
});

window.addEventListener('hashchange', () => { if (begun && live.wants) { show(); main.focus({ preventScroll: true }); scrollTo(0, 0); } });
setInterval(tick, 1000);

// A request finds out whether a token is needed.
try {
  await get('v1/jobs', { limit: 1 });
  begin();
} catch (err) {
  if (err.status === 401) signIn();
  else begin(); // pages say what is wrong, and the stream tries again
}
