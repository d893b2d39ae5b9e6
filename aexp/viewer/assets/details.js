// What is told of a bar or a workflow: in a word for a reader's voice, in full in the panel.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el, signs } = aexp;
  const { format } = aexp.layout;

  const FATES = {
    lost: 'lost: its process ended before its checkpoint',
    kept: 'kept: its transaction was durable before its process ended, and was not done again',
    repeated: 'repeated: it began although its step had a checkpoint, which must not be',
    running: 'running: its process lives',
  };
  const KINDS = {
    step: 'step', sleep: 'durable sleep', wait: 'wait', start: 'start of a workflow',
  };

  const isLane = (item) => item.bars !== undefined;
  const isAttempt = (item) => item.kind === 'attempt';

  function processName(timeline, place) {
    const life = place === null ? null : timeline.processes[place];
    return life ? `process ${life.number} (pid ${life.pid})` : 'no process was alive';
  }

  const count = (n, one, many) => `${n.toLocaleString('en')} ${n === 1 ? one : many || `${one}s`}`;

  /** An item in one line, beginning with its name unless that is said already. */
  function describe(timeline, item, named = true) {
    if (isLane(item)) {
      const told = `${item.workflow_id}, ${item.status}, ${count(item.items.length, 'bar')}`;
      return named ? `Workflow ${item.name}, ${told}` : told;
    }
    const name = named ? `${item.name}, ` : '';
    const when = `at ${format.seconds(item.began)}, ${format.seconds(item.ended - item.began)} long`;
    const where = processName(timeline, item.process);
    if (isAttempt(item)) return `${name}${item.fate} attempt, ${when}, ${where}`;
    const kind = item.kind === 'step' ? '' : `${KINDS[item.kind]}, `;
    return `${name}${kind}${item.outcome}, ${when}, ${where}`;
  }

  function moment(timeline, ms) {
    if (ms === null) return null;
    return [format.seconds(ms), ' ',
      el('span', { class: 'quiet' }, format.absolute(timeline.began_at + ms))];
  }

  /** Pairs of a term and what is said of it, without those of which nothing is. */
  function facts(pairs) {
    return el('dl', { class: 'facts' }, pairs
      .filter(([, told]) => told !== null && told !== undefined && told !== '')
      .map(([term, told]) => [el('dt', {}, term), el('dd', {}, told)]));
  }

  function outcome(item) {
    const parts = [];
    if (item.error !== null && item.error !== undefined) {
      parts.push(el('h4', {}, 'Error'), el('pre', { class: 'bad' }, item.error));
    }
    if (item.output !== null && item.output !== undefined) {
      parts.push(el('h4', {}, 'Output'), el('pre', {}, item.output));
    }
    return parts;
  }

  function ofLane(timeline, lane, go) {
    const parent = lane.parent === null ? lane.parent_id : go(timeline.lanes[lane.parent].workflow_id);
    return [
      facts([
        ['id', el('code', {}, lane.workflow_id)],
        ['status', `${signs[lane.status] || '?'} ${lane.status}`],
        ['parent', parent],
        ['called', lane.mode === 'queued' ? `through queue ${lane.queue}` : 'directly'],
        ['created', moment(timeline, lane.created)],
        ['began', moment(timeline, lane.began)],
        ['last taken up', lane.attempts > 1 ? moment(timeline, lane.started) : null],
        ['ended', moment(timeline, lane.completed)],
        ['taken up', lane.attempts ? count(lane.attempts, 'time') : null],
      ]),
      ...outcome(lane),
    ];
  }

  function ofBar(timeline, bar, go) {
    const lane = bar.lane;
    return [
      facts([
        ['outcome', isAttempt(bar) ? FATES[bar.fate]
          : `${bar.outcome === 'ok' ? '✓ ok' : '✕ error'}, ${KINDS[bar.kind]}`],
        ['workflow', go(lane.workflow_id)],
        ['step', String(bar.function_id)],
        ['began', moment(timeline, bar.began)],
        ['ended', moment(timeline, bar.ended)],
        ['took', format.seconds(bar.ended - bar.began)],
        ['process', processName(timeline, bar.process)],
        ['its body began', bar.bodies ? count(bar.bodies, 'time') : null],
        ['child', bar.child_workflow_id ? go(bar.child_workflow_id) : null],
      ]),
      ...outcome(bar),
    ];
  }

  /** The panel's content; ``go(workflow_id)`` makes a link to another lane. */
  function detail(timeline, item, go) {
    return isLane(item) ? ofLane(timeline, item, go) : ofBar(timeline, item, go);
  }

  aexp.details = { describe, detail, facts, isLane, count, processName };
})();
