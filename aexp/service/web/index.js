// All runs, and a form that starts one.
(() => {
  'use strict';
  const { ask, el, fields, kind, signs, trouble } = globalThis.aexp;
  const LOOK_AGAIN_MS = 1500;
  const STATUSES = ['PENDING', 'ENQUEUED', 'NOT STARTED', 'SUCCESS', 'ERROR', 'CANCELLED',
    'MAX_RECOVERY_ATTEMPTS_EXCEEDED'];
  const byId = (id) => document.getElementById(id);
  const form = byId('start');
  let readParameters = () => ({});
  let scenarios = [];
  let pages = 1;
  let shown = '';

  // --- starting ---------------------------------------------------------------------------------

  function choose() {
    const scenario = scenarios.find((one) => one.name === byId('scenario').value);
    byId('summary').textContent = scenario.summary;
    readParameters = fields(byId('parameters'), scenario.parameters);
  }

  async function start(event) {
    event.preventDefault();
    const button = form.querySelector('button');
    button.disabled = true;
    try {
      const run = await ask(`/scenarios/${encodeURIComponent(byId('scenario').value)}/runs`, 'POST', {
        parameters: readParameters(),
        kills: Number(byId('kills').value),
        seed: Number(byId('seed').value),
      });
      location.assign(`/view/${encodeURIComponent(run.run_id)}`);
    } catch (error) {
      trouble(byId('start-trouble'), error);
      button.disabled = false;
    }
  }

  // --- the list ---------------------------------------------------------------------------------

  function row(run) {
    const began = new Date(run.created_at);
    return el('tr', {},
      el('th', { scope: 'row' }, el('a', { href: `/view/${encodeURIComponent(run.run_id)}` }, run.run_id)),
      el('td', {}, run.scenario),
      el('td', { class: kind(run.status) },
        `${signs[run.status] || '?'} ${run.status}${run.active ? ' · at work' : ''}`),
      el('td', {}, el('time', { datetime: run.created_at }, began.toLocaleString())));
  }

  async function read() {
    const found = [];
    let cursor = null;
    for (let page = 0; page < pages; page += 1) {
      const query = new URLSearchParams({ limit: '25' });
      if (byId('only-scenario').value) query.set('scenario', byId('only-scenario').value);
      if (byId('only-status').value) query.set('status', byId('only-status').value);
      if (cursor) query.set('cursor', cursor);
      const answer = await ask(`/runs?${query}`);
      found.push(...answer.runs);
      cursor = answer.next;
      if (!cursor) break;
    }
    return { found, more: cursor !== null };
  }

  async function refresh() {
    try {
      const { found, more } = await read();
      byId('more').hidden = !more;
      const now = JSON.stringify(found);
      // Not drawn again for nothing: a link that has the focus keeps it.
      if (now !== shown) draw(found);
      shown = now;
      trouble(byId('runs-trouble'), null);
    } catch (error) {
      trouble(byId('runs-trouble'), error);
    }
  }

  function draw(found) {
    const focused = document.activeElement?.getAttribute('href');
    byId('runs').replaceChildren(...(found.length ? found.map(row)
      : [el('tr', {}, el('td', { colspan: 4 }, 'There is no run yet.'))]));
    const again = focused && byId('runs').querySelector(`a[href="${CSS.escape(focused)}"]`);
    if (again) again.focus({ preventScroll: true });
  }

  async function follow() {
    await refresh();
    setTimeout(() => {
      if (document.hidden) document.addEventListener('visibilitychange', follow, { once: true });
      else follow();
    }, LOOK_AGAIN_MS);
  }

  // --- beginning --------------------------------------------------------------------------------

  async function begin() {
    byId('only-status').append(...STATUSES.map((status) => el('option', { value: status }, status)));
    for (const id of ['only-scenario', 'only-status']) byId(id).addEventListener('change', refresh);
    byId('more').addEventListener('click', () => { pages += 1; refresh(); });
    byId('scenario').addEventListener('change', choose);
    form.addEventListener('submit', start);
    try {
      ({ scenarios } = await ask('/scenarios'));
    } catch (error) {
      trouble(byId('start-trouble'), error);
      return;
    }
    for (const id of ['scenario', 'only-scenario']) {
      byId(id).append(...scenarios.map(({ name }) => el('option', { value: name }, name)));
    }
    if (scenarios.some(({ name }) => name === 'resume')) byId('scenario').value = 'resume';
    choose();
    await follow();
  }

  begin();
})();
