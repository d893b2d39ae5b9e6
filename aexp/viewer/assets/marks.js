// What stands above and across the lanes: the lives of processes, the time, kills and pauses; and
// the words that explain all of it.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el, place, clamp, signs } = aexp;
  const { format, ticks } = aexp.layout;
  const { HUES } = aexp.paint;

  const TICKS_APART = 84;
  const LETTER = 6.8;
  const LEGEND = [
    ['step', 'step'], ['error', 'error'], ['sleep', 'durable sleep'], ['wait', 'waiting'],
    ['start', 'starts a workflow'], ['again', 'tried again'], ['lost', 'lost in a kill'],
    ['kept', 'kept through a kill'], ['queue', 'in the queue'],
  ];

  /** A process's life, with as much of its name as fits. */
  function band(life, at) {
    const x0 = clamp(at.x(life.u0), 0, at.width);
    const width = Math.max(2, clamp(at.x(life.u1), 0, at.width) - x0);
    const text = width > 150 ? `process ${life.number} · pid ${life.pid}`
      : width > 84 ? `process ${life.number}` : width > 22 ? String(life.number) : '';
    const title = `process ${life.number}, pid ${life.pid}: ${format.seconds(life.began)} to `
      + `${format.seconds(life.ended)}, ${life.how}${life.seen ? '' : ' (its last trace)'}`;
    return place(el('span', { class: `tl-life hue-${(life.number - 1) % HUES}`, title }, text),
      { left: x0, width });
  }

  /** A pause that is cut short, and how long it was. */
  function pause(piece, at) {
    const text = `${format.seconds(piece.to - piece.from)} later`;
    return place(el('div', { class: 'tl-pause', title: text }, el('span', {}, text)),
      { left: at.x(piece.u0), width: at.x(piece.u1) - at.x(piece.u0) });
  }

  /** A line where each process was cut short; its label, where there is room before the next. */
  function cutLines(view, at) {
    const shown = view.cuts.map((life) => [life, at.x(life.u1)])
      .filter(([, x]) => x >= 0 && x <= at.width);
    return shown.map(([life, x], number) => {
      const next = number + 1 < shown.length ? shown[number + 1][1] : at.width;
      const text = life.kind === 'killed' ? 'killed' : life.how;
      const room = next - x > text.length * LETTER + 30;
      return place(el('div', { class: `tl-cut ${life.kind}`, 'data-process': life.number },
        el('span', {}, room ? `${signs[life.kind]} ${text}` : signs[life.kind])), { left: x });
    });
  }

  const WRITE_SIGNS = { held: '✓', broken: '✕', void: '?', untried: '·' };

  /** The durable writes of a baseline, each with what became of it when it was struck. */
  function writes(view, at) {
    return (view.timeline.writes || []).map((write) => [write, at.x(view.scale.toU(write.at))])
      .filter(([, x]) => x >= 0 && x <= at.width)
      .map(([write, left]) => {
        const points = Object.entries(write.points).map(([point, verdict]) => `${verdict} ${point}`);
        return place(el('span', {
          class: `tl-write ${write.verdict}`, title: [write.write, ...points].join('\n'),
        }, WRITE_SIGNS[write.verdict]), { left });
      });
  }

  /** Draw all of it for ``view`` as it looks at the axis now. */
  function drawMarks(view, at) {
    place(view.head, { paddingLeft: at.left });
    place(view.marks, { left: at.left, width: at.width });
    const seen = (piece) => at.x(piece.u1) >= 0 && at.x(piece.u0) <= at.width;
    const times = ticks(view.scale, view.view, at.width, TICKS_APART)
      .map((tick) => [tick, at.x(tick.u)])
      .filter(([, x]) => x >= 0 && x < at.width - 30)
      .map(([tick, left]) => place(el('span', { class: 'tl-tick' }, tick.text), { left }));
    view.head.replaceChildren(el('div', { class: 'tl-strip' },
      view.lives.filter(seen).map((life) => band(life, at)), writes(view, at), times));
    view.marks.replaceChildren(
      ...view.scale.pieces.filter((piece) => piece.cut && seen(piece))
        .map((piece) => pause(piece, at)),
      ...cutLines(view, at));
  }

  function legend() {
    return el('ul', { class: 'tl-legend', 'aria-label': 'Legend' }, LEGEND.map(([kind, text]) =>
      el('li', {}, el('span', { class: `swatch ${kind}`, 'aria-hidden': 'true' }), text)),
    el('li', {}, 'a bar has the colour of its process'));
  }

  function keys() {
    return el('p', { class: 'quiet', id: 'tl-keys' },
      'Arrows move between bars and lanes, Enter opens, Escape closes; ',
      '+ and − zoom, 0 shows the whole run, Shift with an arrow pans, K goes to the next kill. ',
      'Drag to pan; Ctrl with the wheel, or two fingers, zoom.');
  }

  aexp.marks = { drawMarks, legend, keys };
})();
