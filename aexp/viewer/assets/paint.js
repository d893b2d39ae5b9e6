// The bars of a timeline on a canvas: ten thousand elements would take seconds, rectangles do not.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;

  const ROW = 20;
  const BAR = 16;
  const LANE_PAD = 8;
  const HUES = 6;
  const LEAST_WIDTH = 3;
  const FONT = '11px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';
  const CHARACTER = 6.7;

  /** The colours of the page as it is now, light or dark. */
  function readInk(element) {
    const style = getComputedStyle(element);
    const read = (name) => style.getPropertyValue(name).trim();
    const hues = [];
    for (let n = 0; n < HUES; n += 1) hues.push(read(`--process-${n}`));
    return {
      hues,
      none: read('--faint'),
      on: read('--on-process'),
      danger: read('--danger'),
      ground: read('--ground'),
      line: read('--line'),
      rail: read('--rail'),
      text: read('--text'),
      hatch: hatch(read('--danger'), read('--ground')),
    };
  }

  /** Slanted stripes, which say "lost" without a colour. */
  function hatch(colour, ground) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 12;
    const pen = tile.getContext('2d');
    pen.fillStyle = ground;
    pen.fillRect(0, 0, 12, 12);
    pen.strokeStyle = colour;
    pen.lineWidth = 2.6;
    for (const x of [-6, 0, 6, 12]) {
      pen.beginPath();
      pen.moveTo(x - 2, 14);
      pen.lineTo(x + 14, -2);
      pen.stroke();
    }
    return pen.createPattern(tile, 'repeat');
  }

  const hueOf = (ink, process) => (process === null ? ink.none : ink.hues[process % HUES]);

  /** What a process's life covers, faintly, behind all lanes. */
  function paintLives(pen, ink, lives, x, height) {
    pen.globalAlpha = 0.09;
    lives.forEach((life, number) => {
      pen.fillStyle = hueOf(ink, number);
      pen.fillRect(x(life.u0), 0, Math.max(1, x(life.u1) - x(life.u0)), height);
    });
    pen.globalAlpha = 1;
  }

  /** A workflow's time: dashed while it waited to be taken up, a line from then to its end. */
  function paintRail(pen, ink, lane, top, x) {
    const y = Math.round(top + (lane.rows * ROW) / 2) + 0.5;
    const began = lane.uBegan === null ? lane.uEnded : lane.uBegan;
    pen.strokeStyle = ink.rail;
    pen.lineWidth = 1;
    pen.setLineDash([2, 3]);
    stroke(pen, x(lane.uCreated), y, x(began), y);
    pen.setLineDash([]);
    if (lane.uBegan === null) return;
    pen.lineWidth = 2;
    stroke(pen, x(began), y, x(lane.uEnded), y);
    if (lane.completed !== null) stroke(pen, x(lane.uEnded), y - 5, x(lane.uEnded), y + 5);
  }

  function stroke(pen, x0, y0, x1, y1) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  const shapes = {
    step(pen, ink, item, box) {
      pen.fillStyle = item.outcome === 'error' ? ink.danger : hueOf(ink, item.process);
      pen.fillRect(box.x, box.y, box.w, box.h);
      if (item.outcome === 'error') cross(pen, ink, box);
    },
    sleep(pen, ink, item, box) {
      veil(pen, hueOf(ink, item.process), box, 0.28);
      outline(pen, hueOf(ink, item.process), box, [1, 2]);
    },
    wait(pen, ink, item, box) {
      const thin = { x: box.x, y: box.y + box.h / 2 - 3, w: box.w, h: 6 };
      pen.fillStyle = ink.ground;
      pen.fillRect(thin.x, thin.y, thin.w, thin.h);
      outline(pen, item.outcome === 'error' ? ink.danger : hueOf(ink, item.process), thin, []);
      if (item.outcome === 'error') cross(pen, ink, box);
    },
    start(pen, ink, item, box) {
      pen.fillStyle = item.outcome === 'error' ? ink.danger : hueOf(ink, item.process);
      pen.beginPath();
      pen.moveTo(box.x, box.y + 1);
      pen.lineTo(box.x + 9, box.y + box.h / 2);
      pen.lineTo(box.x, box.y + box.h - 1);
      pen.fill();
    },
    attempt(pen, ink, item, box) {
      const hue = hueOf(ink, item.process);
      if (item.fate === 'lost' || item.fate === 'repeated') {
        pen.fillStyle = ink.hatch;
        pen.fillRect(box.x, box.y, box.w, box.h);
        outline(pen, ink.danger, box, []);
        if (item.fate === 'repeated') cross(pen, ink, box);
      } else {
        veil(pen, hue, box, 0.45);
        outline(pen, hue, box, item.fate === 'running' ? [4, 3] : []);
      }
    },
  };

  function veil(pen, hue, box, alpha) {
    pen.globalAlpha = alpha;
    pen.fillStyle = hue;
    pen.fillRect(box.x, box.y, box.w, box.h);
    pen.globalAlpha = 1;
  }

  function outline(pen, colour, box, dashes) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.25;
    pen.setLineDash(dashes);
    pen.strokeRect(box.x + 0.6, box.y + 0.6, Math.max(1, box.w - 1.2), box.h - 1.2);
    pen.setLineDash([]);
  }

  /** A cross on what went wrong, beside its colour; on a plate where its bar is too thin for it. */
  function cross(pen, ink, box) {
    const x = box.x + Math.min(box.w, 16) / 2;
    const y = box.y + box.h / 2;
    if (box.w < 12) {
      pen.fillStyle = ink.danger;
      pen.fillRect(x - 5.5, y - 5.5, 11, 11);
    }
    pen.strokeStyle = ink.on;
    pen.lineWidth = 1.75;
    stroke(pen, x - 3, y - 3, x + 3, y + 3);
    stroke(pen, x + 3, y - 3, x - 3, y + 3);
  }

  /** Where a body raised and the next attempt began. */
  function split(pen, ink, at, box) {
    pen.fillStyle = ink.ground;
    pen.fillRect(at - 0.75, box.y, 1.5, box.h);
  }

  const plain = (item) => item.kind === 'step' && item.outcome === 'ok' && !item.notches;

  function label(pen, ink, item, box, width) {
    const from = Math.max(box.x, 0, item.tried || 0) + 5 + (item.outcome === 'error' ? 13 : 0);
    const room = Math.floor((Math.min(box.x + box.w, width) - from - 4) / CHARACTER);
    if (room < Math.min(5, item.name.length) || item.kind === 'start' || item.kind === 'wait') return;
    let name = item.kind === 'attempt' ? `${item.fate}: ${item.name}` : item.name;
    if (item.kind === 'sleep') name = 'sleep';
    pen.fillStyle = item.kind === 'step' ? ink.on : ink.text;
    const shown = name.length > room ? `${name.slice(0, room - 1)}…` : name;
    if (item.fate === 'lost' || item.fate === 'repeated') {
      // Letters on stripes cannot be read.
      pen.fillStyle = ink.ground;
      pen.fillRect(from - 2, box.y + 2, shown.length * CHARACTER + 4, box.h - 4);
      pen.fillStyle = ink.text;
    }
    pen.fillText(shown, from, box.y + box.h / 2 + 0.5);
  }

  /** Where an item is drawn: at least so wide that it can be seen. */
  function boxOf(item, top, x) {
    const x0 = x(item.u0);
    const least = item.kind === 'start' ? 9 : LEAST_WIDTH;
    return {
      x: x0,
      y: top + item.row * ROW + (ROW - BAR) / 2,
      w: Math.max(least, x(item.u1) - x0),
      h: BAR,
    };
  }

  /** The bars of one lane that can be seen. What would cover the same pixels is drawn once. */
  function paintItems(pen, ink, lane, top, x, width) {
    const right = [];
    for (const notch of lane.notches) if (notch.bar) notch.bar.tried = x(notch.u1);
    for (const item of lane.items) {
      const box = boxOf(item, top, x);
      if (box.x > width || box.x + box.w < 0) continue;
      if (plain(item)) {
        const end = box.x + box.w;
        if (end < right[item.row] + 0.5) continue;
        right[item.row] = end;
      }
      // A canvas loses precision far outside of itself.
      const to = Math.min(box.x + box.w, width + 20);
      box.x = Math.max(box.x, -20);
      box.w = to - box.x;
      shapes[item.kind](pen, ink, item, box);
      for (const notch of item.notches || []) split(pen, ink, x(notch.u1), box);
      if (box.w > 30) label(pen, ink, item, box, width);
    }
  }

  /** Draw ``lanes`` (those in sight) as seen through ``frame``: {width, height, top, x, lives}. */
  function paint(canvas, ink, lanes, frame) {
    const ratio = globalThis.devicePixelRatio || 1;
    const [wide, high] = [Math.round(frame.width * ratio), Math.round(frame.height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
    }
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, frame.width, frame.height);
    pen.font = FONT;
    pen.textBaseline = 'middle';
    paintLives(pen, ink, frame.lives, frame.x, frame.height);
    for (const lane of lanes) {
      const top = lane.y - frame.top;
      pen.fillStyle = ink.line;
      pen.fillRect(0, Math.round(top + lane.height) - 1, frame.width, 1);
      const first = top + lane.head + LANE_PAD / 2;
      paintRail(pen, ink, lane, first, frame.x);
      paintItems(pen, ink, lane, first, frame.x, frame.width);
    }
  }

  aexp.paint = { ROW, LANE_PAD, HUES, readInk, paint, boxOf };
})();
