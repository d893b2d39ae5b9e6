// What an exploration found, above the timeline of its baseline. See aexp/crash/page.py for its data.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el } = aexp;
  const { count } = aexp.details;
  const OUTCOME_SHOWN = 100;
  // The name of the run without a fault among the points.
  const BASELINE = 'baseline';

  // What is tried, by the command that does.
  const STUDIES = {
    crash: 'killed at every durable write',
    determinism: 'replayed from every checkpoint where something else is otherwise',
    upgrade: 'taken up by new code after every durable write of the old',
  };

  function verdict(found) {
    if (found.broken.length) return ['bad', '✕ BROKEN'];
    return found.ok ? ['good', '✓ HELD'] : ['open', '? NOT VERIFIED'];
  }

  function outcome({ status, outcome: value }) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return `${status} ${text.length > OUTCOME_SHOWN ? `${text.slice(0, OUTCOME_SHOWN)}…` : text}`;
  }

  function heading(found) {
    const [kind, text] = verdict(found);
    const alone = found.broken.some((each) => each.point === BASELINE) ? 1 : 0;
    const pace = found.seconds_per_point === null ? ''
      : `${found.seconds_per_point.toFixed(2)} s a point, ${found.jobs} at a time`;
    return el('header', { class: 'heading' },
      el('p', { class: 'quiet' }, STUDIES[found.study]),
      el('h1', {}, found.scenario),
      el('p', { class: 'verdict' },
        el('span', { class: `pill ${kind}`, 'data-verdict': found.ok ? 'held' : 'not-held' }, text),
        el('span', { 'data-outcome': found.status }, `without a fault: ${outcome(found)}`),
        alone ? el('strong', { class: 'bad' }, '✕ broken without a fault') : null,
        found.broken.length ? el('strong', { class: 'bad' },
          `✕ ${found.broken.length - alone} of ${count(found.planned, 'point')} broken`) : null,
        el('span', {}, `${found.verified} of ${count(found.planned, 'point')} verified`),
        found.void ? el('span', { class: 'open' }, `? ${found.void} void`) : null,
        el('span', {}, `${count(found.writes, 'durable write')}`),
        found.planned < found.possible
          ? el('span', {}, `${found.planned} of ${count(found.possible, 'point')} chosen`) : null,
        found.interrupted || found.failure ? el('span', { class: 'open' }, '? interrupted') : null,
        el('span', { class: 'quiet' }, `seed ${found.seed} ${pace}`)),
      found.failure
        ? el('p', { class: 'bad', 'data-failure': '' }, `It ended early: ${found.failure}`) : null,
      found.unsteady.length
        ? el('p', { class: 'quiet' }, `${count(found.unsteady.length, 'write')} not in every `
          + `run without a fault: ${found.unsteady.join(', ')}`) : null);
  }

  /** One cause: what, where in the code, at which points, and a line that shows it again. */
  function card(finding, { anomaly }) {
    const { code, title, summary, rows, broken } = finding;
    const points = finding.points.filter((point) => point !== BASELINE);
    return el('li', { class: broken ? 'card' : 'card told', 'data-finding': code },
      el('h3', { class: broken ? 'bad' : 'open' }, `${broken ? '✕' : '·'} ${code} ${title}`),
      finding.promise ? el('p', {}, el('code', {}, finding.promise), ' ', finding.statement) : null,
      anomaly({ summary, rows }),
      finding.where ? el('p', {}, 'at ', el('code', {}, finding.where)) : null,
      points.length < finding.points.length ? el('p', { class: broken ? 'bad' : 'quiet' },
        points.length ? 'without a fault, too' : 'without a fault') : null,
      points.length ? el('details', { 'data-fold': `points ${code} ${summary}` },
        el('summary', {}, count(points.length, 'point')),
        el('ul', {}, points.map((point) => el('li', {}, el('code', {}, point))))) : null,
      finding.log.length ? el('details', { 'data-fold': `log ${code} ${summary}` },
        el('summary', {}, 'Last log lines of its processes'),
        el('pre', {}, finding.log.join('\n'))) : null,
      broken ? el('p', { class: 'quiet' }, 'again: ', el('code', {}, finding.replay)) : null);
  }

  function cards(title, findings, draw) {
    return findings.length ? el('section', {}, el('h2', {}, title),
      el('ul', { class: 'cards broken' }, findings.map((each) => card(each, draw)))) : null;
  }

  function tables(found, { table }) {
    const kinds = found.kinds.map(({ kind, ...figures }) => [kind, figures]);
    const steps = found.repeated_steps.map(({ name, most, touched, ...step }) =>
      [name, { ...step, processes: most, touches: touched.join(', ') }]);
    const requests = found.repeated_requests.map(({ stub, request, ...figures }) =>
      [`${stub} ${request}`, figures]);
    const moments = found.points.filter(({ became }) => became)
      .map(({ moment, became }) => [moment, { 'a run that is in flight': became }]);
    return [
      moments.length ? el('section', {}, el('h2', {}, 'Deployed'), table('deployed', moments)) : null,
      steps.length ? el('section', {}, el('h2', {}, 'Steps that ran more than once'),
        table('steps that ran more than once', steps)) : null,
      requests.length ? el('section', {}, el('h2', {}, 'Requests sent more often than without a fault'),
        table('requests sent more often than without a fault', requests)) : null,
      el('section', {}, el('h2', {}, 'By kind of write'), table('kinds of write', kinds))];
  }

  /** All that stands above the timeline; ``draw`` has the ways to draw rows and anomalies. */
  function above(found, draw) {
    return [heading(found),
      cards('Broken', found.findings.filter((finding) => finding.broken), draw),
      cards('Told', found.findings.filter((finding) => !finding.broken), draw),
      ...tables(found, draw),
      found.void_points.length ? el('section', {}, el('h2', {}, 'Void'),
        draw.table('void points', found.void_points.map((row) => ['', row]))) : null,
      el('h2', {}, 'The run without a fault')].filter((part) => part !== null);
  }

  aexp.crash = { above };
})();
