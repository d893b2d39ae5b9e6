// The view of a run: heading, promises, timeline, account. See aexp/viewer/page.py for its data.
//
//   aexp.render(root, data, offer)   draws it into an element
//   aexp.update(root, data)          draws it again; what is open, in view or in focus stays so
//
// A page that carries its data in a script of the id aexp-data is drawn as soon as it is read.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el, signs } = aexp;
  const { facts, count } = aexp.details;
  const ROWS_SHOWN = 20;
  const views = new WeakMap();

  const words = (name) => String(name).replace(/_/g, ' ');
  const isMapping = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

  function figure(value) {
    if (value === null || value === undefined) return '–';
    if (typeof value === 'boolean') return value ? 'yes' : 'no';
    if (typeof value === 'number') return Number.isInteger(value) ? value.toLocaleString('en') : String(value);
    return typeof value === 'string' ? value : JSON.stringify(value);
  }

  // --- heading and promises ---------------------------------------------------------------------

  function verdict(report) {
    const broken = report.promises.filter((promise) => promise.held === false).length;
    const held = report.promises.filter((promise) => promise.held).length;
    const open = report.promises.length - broken - held;
    const told = [];
    if (broken) told.push(el('strong', { class: 'bad' }, `✕ ${count(broken, 'promise')} broken`));
    if (held) told.push(el('span', { class: 'good' }, `✓ ${count(held, 'promise')} held`));
    if (open) told.push(el('span', { class: 'open' }, `? ${open} not judged`));
    return told;
  }

  function heading(data) {
    const { report, timeline } = data;
    const cut = timeline.processes.filter((life) => life.kind === 'killed').length;
    const gone = timeline.processes.filter((life) => life.kind === 'vanished').length;
    const alive = timeline.processes.some((life) => life.kind === 'working');
    const ok = report.status === 'SUCCESS' ? 'good' : alive ? 'open' : 'bad';
    return el('header', { class: 'heading' },
      el('p', { class: 'quiet' }, `${report.scenario} · begun ${report.created_at || '–'}`),
      el('h1', {}, report.run_id),
      report.forked_from ? el('p', { class: 'quiet' }, `forked from ${
        report.forked_from.run_id} at step ${report.forked_from.start_step}`) : null,
      el('p', { class: 'verdict' },
        el('span', { class: `pill ${ok}` },
          `${signs[report.status] || '?'} ${report.status}`),
        verdict(report),
        el('span', {}, `${report.elapsed_s.toFixed(2)} s in ${
          count(report.processes.length, 'process', 'processes')}`),
        cut ? el('span', {}, count(cut, 'kill')) : null,
        gone ? el('span', {}, `${count(gone, 'process', 'processes')} vanished`) : null));
  }

  function anomaly(found) {
    const shown = found.rows.slice(0, ROWS_SHOWN);
    const more = found.rows.length - shown.length;
    return el('div', { class: 'anomaly' }, el('p', {}, found.summary),
      shown.length ? table('', shown.map((row) => ['', row])) : null,
      more > 0 ? el('p', { class: 'quiet' }, `${count(more, 'row')} more with aexp audit --json`) : null);
  }

  function promise(told) {
    const [kind, sign, word] = told.held === null ? ['open', '?', 'not judged']
      : told.held ? ['good', '✓', 'held'] : ['bad', '✕', 'broken'];
    return el('li', { class: kind, 'data-promise': told.name, 'data-held': String(told.held) },
      el('span', { class: 'mark' }, el('span', { 'aria-hidden': 'true' }, sign), ` ${word}`),
      el('span', {}, el('code', {}, told.name), ' ', told.statement,
        told.reason ? el('span', { class: 'quiet' }, ` (${told.reason})`) : null),
      told.anomalies.map(anomaly));
  }

  // --- the account, in the forms that its shapes ask for (aexp.model.scenario.Account) -----------------

  function table(caption, rows) {
    const columns = [...new Set(rows.flatMap(([, values]) => Object.keys(values)))];
    const named = rows.some(([name]) => name !== '');
    return el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': caption || 'rows' },
      el('table', {},
        el('thead', {}, el('tr', {}, named ? el('td', {}) : null,
          columns.map((column) => el('th', { scope: 'col' }, words(column))))),
        el('tbody', {}, rows.map(([name, values]) => el('tr', {},
          named ? el('th', { scope: 'row' }, name) : null,
          columns.map((column) => cell(column in values ? values[column] : '')))))));
  }

  function cell(value) {
    const text = figure(value);
    const kind = typeof value === 'number' ? 'number' : text.length < 30 ? 'short' : null;
    return el('td', { class: kind }, text);
  }

  function tree(node) {
    const told = Object.entries(node).filter(([key, value]) => key !== 'children' && value !== null);
    return el('li', {},
      told.map(([key, value], place) => (typeof value === 'string'
        ? [el(place ? 'span' : 'strong', {}, value), ' ']
        : [el('span', { class: 'quiet' }, words(key)), ` ${figure(value)} `])),
      node.children.length ? el('ul', {}, node.children.map(tree)) : null);
  }

  function shape(title, section) {
    if (Array.isArray(section)) {
      const rows = section.map((row) => ['', isMapping(row) ? row : { value: row }]);
      return table(title, rows);
    }
    if (!isMapping(section)) return el('p', {}, figure(section));
    if (Array.isArray(section.children)) return el('ul', { class: 'tree' }, tree(section));
    const values = Object.values(section);
    if (values.every(isMapping)) return table(title, Object.entries(section));
    return el('dl', { class: 'figures' }, Object.entries(section).map(([name, value]) =>
      el('div', {}, el('dt', {}, words(name)), el('dd', {}, figure(value)))));
  }

  const isEmpty = (section) => typeof section === 'object' && section !== null
    && Object.keys(section).length === 0;

  function account(report) {
    return Object.entries(report.account).filter(([, section]) => !isEmpty(section))
      .map(([title, section]) => el('section', { class: 'card', 'data-section': title },
        el('h3', {}, words(title)), shape(words(title), section)));
  }

  // --- the rest ---------------------------------------------------------------------------------

  function processes(timeline) {
    const { format } = aexp.layout;
    return table('processes', timeline.processes.map((life) => [`process ${life.number}`, {
      pid: String(life.pid), executor: life.executor, began: format.seconds(life.began),
      lived: format.seconds(life.ended - life.began) + (life.seen ? '' : ' (to its last trace)'),
      ended: `${signs[life.kind]} ${life.how}`,
    }]));
  }

  function folded(id, title, ...content) {
    return el('details', { 'data-fold': id, class: 'card' }, el('summary', {}, title), ...content);
  }

  const pairs = (values) => facts(Object.entries(values).map(([name, value]) =>
    [words(name), el('code', {}, figure(value))]));

  function result(report) {
    if (report.result === null) return null;
    const text = typeof report.result === 'string' ? report.result
      : JSON.stringify(report.result, null, 2);
    return folded('result', report.status === 'ERROR' ? 'Error' : 'Result', el('pre', {}, text));
  }

  const titled = (title, ...content) => el('section', {}, el('h2', {}, title), ...content);

  function before(data) {
    const above = data.crash ? aexp.crash.above(data.crash, { table, anomaly }) : [heading(data)];
    return [...above, titled('Promises',
      el('ul', { class: 'promises' }, data.report.promises.map(promise)))];
  }

  function after(data) {
    const { report, timeline } = data;
    return [
      titled('Account', el('div', { class: 'cards' }, account(report))),
      titled('Processes', processes(timeline)),
      titled('Run',
        folded('parameters', 'Parameters', pairs(report.parameters)),
        folded('facts', 'Facts of its input', pairs(report.facts)),
        folded('settings', 'Settings of this audit', pairs(report.settings)),
        result(report)),
    ];
  }

  // --- drawing it, and drawing it again ---------------------------------------------------------

  /** Draw ``data`` into ``root``, which is emptied first. ``offer(item)`` gives the elements that
   * stand below what is told of a workflow or a bar. */
  function render(root, data, offer = () => []) {
    const began = performance.now();
    const view = { above: el('div', {}), below: el('div', {}), timeline: new aexp.TimelineView(offer) };
    views.set(root, view);
    root.replaceChildren(view.above, titled('Timeline', view.timeline.element), view.below);
    fill(view, data);
    root.dataset.renderMs = (performance.now() - began).toFixed(1);
    // After the frame in which the browser has put it on the screen.
    requestAnimationFrame(() => setTimeout(() => {
      root.dataset.paintMs = (performance.now() - began).toFixed(1);
    }));
  }

  /** Draw ``data`` where it was drawn before; what is open, in view or in focus stays so. */
  function update(root, data) {
    const view = views.get(root);
    if (!view) {
      render(root, data);
      return;
    }
    const open = [...root.querySelectorAll('details[open]')].map((fold) => fold.dataset.fold);
    const focused = document.activeElement?.closest('[data-fold]');
    const at = { x: globalThis.scrollX, y: globalThis.scrollY };
    fill(view, data);
    for (const fold of root.querySelectorAll('details')) {
      fold.open = open.includes(fold.dataset.fold);
      if (focused && fold.dataset.fold === focused.dataset.fold) {
        fold.querySelector('summary').focus({ preventScroll: true });
      }
    }
    globalThis.scrollTo(at.x, at.y);
  }

  function fill(view, data) {
    view.above.replaceChildren(...before(data));
    view.below.replaceChildren(...after(data));
    view.timeline.set(data.timeline);
    view.timeline.draw();
  }

  aexp.render = render;
  aexp.update = update;

  const carried = document.getElementById('aexp-data');
  if (carried) render(document.getElementById('aexp-view'), JSON.parse(carried.textContent));
})();
