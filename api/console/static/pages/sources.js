// Sources: whether their providers are asked, how much of the rate is left, and whether
// the provider sends what the definition expects.

import { fill, h, inUse } from '../dom.js';
import { act, get, live, seg } from '../api.js';
import { a, amount, aside, bulk, button, errorText, facts, head, loading, noSource, ofJob, problem, quiet, tag, titled, when } from '../parts.js';
import { askAndSay, reasonField } from '../dialog.js';
import { budget } from './fleet.js';
import * as f from '../format.js';
import * as words from '../words.js';

export default function sources(page) {
  const body = loading();
  const gaps = new Map();
  const read = async () => {
    if (inUse(body)) return;
    try {
      const fleet = await get('v1/fleet', null, page.signal);
      fill(body, draw(fleet, gaps, read));
    } catch (err) {
      if (!page.signal.aborted) fill(body, problem(err, read));
    }
  };
  // Subscriptions are compared daily: once is enough for a page.
  get('v1/discrepancies', { type: 'subscription_gap', limit: 200 }, page.signal).then(({ items }) => {
    for (const d of items.filter((x) => ['suspected', 'confirmed', 'failed'].includes(x.status))) gaps.set(d.source, [...(gaps.get(d.source) ?? []), d]);
    gaps.set('', []);
    read();
  }, (err) => { if (!page.signal.aborted) fill(body, problem(err, page.again)); });
  let seen;
  page.onLive((l) => {
    const figures = JSON.stringify(l.now?.sources);
    if (figures && figures !== seen) read();
    seen = figures;
  });
  return [head('Sources', 'Configured accounts at providers. While a source is paused its webhooks are taken and wait; nothing is fetched.'), body];
}

function draw(fleet, gaps, read) {
  return [
    fleet.sources.length === 0 && noSource(),
    fleet.sources.map((s) => one(s, gaps, read)),
    (fleet.unconfigured ?? []).map((s) => unconfigured(s, read)),
  ];
}

function one(s, gaps, read) {
  const key = (name) => ({ key: `${name} ${s.source}` });
  return h('section', { class: 'card' },
    titled(h('h2', null, s.source), s.paused ? tag('paused', 'warn', s.reason) : tag('asks its provider', 'good', '')),
    s.paused && h('div', { class: 'problem soft' },
      h('p', { class: 'strong' }, words.pauseKind[s.kind] ?? 'It is paused.'),
      s.reason && h('p', null, 'Reason given: ', errorText(s.reason)),
      aside(s.by && `by ${s.by}, `, 'since ', when(s.since), s.retry_at && [', tried again ', when(s.retry_at)])),
    facts(['Budget left', budget(s)], ['Live entries', [f.number(s.live), s.live > 0 && `, the oldest ${f.length(s.oldest_age_s)} old`]], ['Background', f.number(s.background)],
      ['Parked', s.parked > 0 ? a(`#/waiting?source=${seg(s.source)}`, f.entities(s.parked)) : '0'],
      ['Open dead letters', deadLetters(s.source)], ['Subscription', subscription(s.source, gaps)], ['Events of the last hour that lead to less', noted(s)],
      ['Deletions accepted', s.deletions_accepted_for_s ? `for ${f.length(s.deletions_accepted_for_s)} more` : null]),
    bulk(
      s.paused ? button('Resume …', () => resume(s, read), key('resume')) : button('Pause …', () => pause(s, read), key('pause')),
      s.parked > 0 && button('Retry what is parked …', () => retry(s, read), key('retry'))));
}

function deadLetters(source) {
  const n = live.now?.letters[source] ?? 0;
  return n > 0 ? a(`#/dead-letters?status=open&source=${seg(source)}`, f.number(n)) : '0';
}

function subscription(source, gaps) {
  if (!gaps.has('')) return quiet('loading …');
  const found = gaps.get(source);
  if (!found) return ['no gap is known ', quiet('– compared daily, where the provider lists its webhooks')];
  return [tag('gap', 'bad', words.driftType.subscription_gap), ' ', a(`#/drift?type=subscription_gap&source=${seg(source)}`, 'the provider does not send all that is expected'),
    quiet(' since ', when(found[0].found_at), '; the reconciler’s log and its alert name the event types')];
}

function noted(s) {
  const found = Object.entries(s.noted ?? {});
  if (found.length === 0) return null;
  return found.map(([name, n]) => h('div', null, a(`#/events?source=${seg(s.source)}&note=${name}`, `${f.number(n)} ${name.replaceAll('_', ' ')}`), ' ', quiet(words.note[name])));
}

function pause(s, read) {
  return askAndSay({
    title: `Pause ${s.source}?`, verb: 'Pause', danger: true,
    body: [amount('1 source, the whole fleet'), h('p', null, 'Nothing is fetched from its provider until an operator resumes it: the mirror falls behind. Webhooks are taken and wait; waiting costs no attempts.')],
    fields: [reasonField('for the next reader', 500)],
    run: ({ reason }) => act('POST', `v1/sources/${seg(s.source)}/pause`, { reason }), after: read,
  }, () => `${s.source} is paused.`);
}

function resume(s, read) {
  const misconfigured = s.kind === 'misconfigured';
  return askAndSay({
    title: `Resume ${s.source}?`, verb: 'Resume',
    body: [amount('1 source, the whole fleet'), h('p', null, `Its provider is asked again: ${f.plural(s.live, 'change waits', 'changes wait')}.`)],
    fields: misconfigured ? [{ name: 'accept', label: 'Accept deletions for an hour', type: 'checkbox', hint: 'Known entities that are not found then count as deleted, without proof. Only if you have made sure that they were deleted.' }] : [],
    run: ({ accept }) => act('POST', `v1/sources/${seg(s.source)}/resume`, accept ? { accept_deletions: true } : undefined), after: read,
  }, () => `${s.source} is resumed.`);
}

function retry(s, read) {
  return askAndSay({
    title: 'Try what is parked again now?', verb: 'Retry now',
    body: [amount(f.entities(s.parked)), h('p', null, `Everything parked of ${s.source} is due now. Attempts are counted as usual.`)],
    run: () => act('POST', `v1/sources/${seg(s.source)}/retry`), after: read,
  }, (got) => `${f.plural(got.entities, 'entity is', 'entities are')} due now.`);
}

function unconfigured(s, read) {
  const n = s.live + s.background + s.parked;
  return h('section', { class: 'card' },
    titled(h('h2', null, s.source), tag('not configured', 'bad', '')),
    h('p', null, 'Its work waits, and no worker does it. Configure the source again to finish it, or discard it.'),
    facts(['Live entries', f.number(s.live)], ['Background', f.number(s.background)], ['Parked', f.number(s.parked)], ['Oldest', f.length(s.oldest_age_s)]),
    bulk(button('Discard its work …', () => askAndSay({
      title: `Discard all open work of ${s.source}?`, verb: 'Discard', danger: true,
      body: [amount(f.plural(n, 'entry or entity', 'entries and entities')), h('p', null, 'What waits is removed, and every event that is not settled is discarded. The mirror stays as it is. This cannot be undone.')],
      fields: [reasonField('for the audit', 500)],
      run: ({ reason }) => act('POST', `v1/sources/${seg(s.source)}/discard`, { reason }), after: read,
    }, (job) => ofJob('A job discards it.', job.id)), { kind: 'dangerous', key: `discard ${s.source}` })));
}
