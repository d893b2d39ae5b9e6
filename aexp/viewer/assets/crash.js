// What an exploration found, above the timeline of its baseline. See aexp/crash/page.py for its data.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el } = aexp;
  const { count } = aexp.details;

  function verdict(found) {
    if (found.broken.length) return ['bad', '✕ BROKEN'];
    return found.ok ? ['good', '✓ HELD'] : ['open', '? NOT VERIFIED'];
  }

  function heading(found) {
    const [kind, text] = verdict(found);
    const pace = found.seconds_per_point === null ? ''
      : `${found.seconds_per_point.toFixed(2)} s a point, ${found.jobs} at a time`;
    return el('header', { class: 'heading' },
      el('p', { class: 'quiet' }, 'killed at every durable write'),
      el('h1', {}, found.scenario),
      el('p', { class: 'verdict' },
        el('span', { class: `pill ${kind}`, 'data-verdict': found.ok ? 'held' : 'not-held' }, text),
        el('span', {}, `${found.verified} of ${count(found.planned, 'point')} verified`),
        found.broken.length
          ? el('strong', { class: 'bad' }, `✕ ${count(found.broken.length, 'point')} broken`) : null,
        found.void ? el('span', { class: 'open' }, `? ${found.void} void`) : null,
        el('span', {}, `${count(found.writes, 'durable write')}`),
        found.planned < found.possible
          ? el('span', {}, `${found.planned} of ${count(found.possible, 'point')} chosen`) : null,
        found.interrupted || found.failure ? el('span', { class: 'open' }, '? interrupted') : null,
        el('span', { class: 'quiet' }, `seed ${found.seed} ${pace}`)),
      found.failure
        ? el('p', { class: 'bad', 'data-failure': '' }, `It ended early: ${found.failure}`) : null,
      found.unsteady.length
        ? el('p', { class: 'quiet' }, `${count(found.unsteady.length, 'write')} not in a second `
          + `run without a fault: ${found.unsteady.join(', ')}`) : null);
  }

  /** One cause: what, where in the code, at which points, and a line that shows it again. */
  function card(finding, { anomaly }) {
    const { code, title, summary, rows, points, broken } = finding;
    return el('li', { class: 'card', 'data-finding': code },
      el('h3', { class: broken ? 'bad' : 'open' }, `${broken ? '✕' : '·'} ${code} ${title}`),
      finding.promise ? el('p', {}, el('code', {}, finding.promise), ' ', finding.statement) : null,
      anomaly({ summary, rows }),
      finding.where ? el('p', {}, 'at ', el('code', {}, finding.where)) : null,
      el('details', { 'data-fold': `points ${code} ${summary}` },
        el('summary', {}, count(points.length, 'point')),
        el('ul', {}, points.map((point) => el('li', {}, el('code', {}, point))))),
      finding.log.length ? el('details', { 'data-fold': `log ${code} ${summary}` },
        el('summary', {}, 'Last log lines of its processes'),
        el('pre', {}, finding.log.join('\n'))) : null,
      broken ? el('p', { class: 'quiet' }, 'again: ', el('code', {}, finding.replay)) : null);
  }

  function cards(title, findings, draw) {
    return findings.length ? el('section', {}, el('h2', {}, title),
      el('ul', { class: 'cards broken' }, findings.map((each) => card(each, draw)))) : null;
  }

  /** All that stands above the timeline; ``draw`` has the ways to draw rows and anomalies. */
  function above(found, draw) {
    const kinds = found.kinds.map(({ kind, ...figures }) => [kind, figures]);
    return [heading(found),
      el('section', {}, el('h2', {}, 'By kind of write'), draw.table('kinds of write', kinds)),
      cards('Broken', found.findings.filter((finding) => finding.broken), draw),
      cards('Told', found.findings.filter((finding) => !finding.broken), draw),
      found.void_points.length ? el('section', {}, el('h2', {}, 'Void'),
        draw.table('void points', found.void_points.map((row) => ['', row]))) : null,
      el('h2', {}, 'The run without a fault')].filter((part) => part !== null);
  }

  aexp.crash = { above };
})();
