// What is where on a timeline: figures only, nothing of the page.
//
// A timeline (aexp/viewer/timeline.py, Timeline.as_json) is measured in ms since it began. It is
// drawn on an axis u on which long pauses, while no process was alive, are cut short: a run that is
// resumed the next day would else be two hairlines.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;

  const SHORTEST_CUT_MS = 3000;
  const MOST_ROWS = 12;
  // Times are in whole ms, and of two clocks: what overlaps by less comes one after the other.
  const SAME_TIME_MS = 4;
  // Troubled lanes are what a reader of many looks for.
  const WELL = new Set(['SUCCESS', 'PENDING', 'ENQUEUED', 'DELAYED']);

  const format = {
    /** A moment or a length of so many ms, as a person would say it. */
    seconds(ms) {
      const s = ms / 1000;
      if (Math.abs(s) < 10) return `${s.toFixed(3)} s`;
      if (Math.abs(s) < 120) return `${s.toFixed(2)} s`;
      const whole = Math.round(Math.abs(s));
      const sign = s < 0 ? '−' : '';
      const [d, h, m] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24,
        Math.floor(whole / 60) % 60];
      const parts = [[d, 'd'], [h, 'h'], [m, 'min'], [d ? 0 : whole % 60, 's']];
      return sign + parts.filter(([n]) => n).map(([n, unit]) => `${n} ${unit}`).join(' ');
    },

    /** A moment in ms since the epoch, in UTC: the same for whoever reads it. */
    absolute(ms) {
      return new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC');
    },

    /** The label of a tick, with as many digits as ticks so far apart need. */
    tick(ms, step) {
      if (ms >= 120000) return format.seconds(ms);
      const digits = step >= 1000 ? 0 : Math.min(3, Math.ceil(-Math.log10(step / 1000)));
      return `${(ms / 1000).toFixed(digits)} s`;
    },
  };

  /** Times in which no process was alive, longer than what is worth drawing. */
  function cuts(timeline) {
    const end = timeline.ended_at - timeline.began_at;
    const lives = timeline.processes.slice().sort((a, b) => a.began - b.began);
    const alive = lives.reduce((sum, life) => sum + life.ended - life.began, 0);
    const least = Math.max(SHORTEST_CUT_MS, alive / 2);
    const found = [];
    let from = lives.length ? lives[0].began : end;
    for (const life of lives) {
      if (life.began - from > least) found.push({ from, to: life.began });
      from = Math.max(from, life.ended);
    }
    return found;
  }

  /** The axis: pieces of time, each as long as in life or cut short, and both ways across. */
  function makeScale(timeline) {
    const end = Math.max(1, timeline.ended_at - timeline.began_at);
    const gaps = cuts(timeline);
    const shown = end - gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
    const pieces = [];
    let ms = 0;
    let u = 0;
    const add = (to, length, cut) => {
      if (to <= ms) return;
      pieces.push({ from: ms, to, u0: u, u1: u + length, cut });
      ms = to;
      u += length;
    };
    for (const gap of gaps) {
      add(gap.from, gap.from - ms, false);
      add(gap.to, Math.max(1, shown * 0.04), true);
    }
    add(end, end - ms, false);
    const last = pieces[pieces.length - 1];
    return {
      pieces,
      length: u,
      toU(at) {
        const piece = pieces.find((p) => at <= p.to) || last;
        const share = (at - piece.from) / (piece.to - piece.from);
        return piece.u0 + Math.min(1, Math.max(0, share)) * (piece.u1 - piece.u0);
      },
      toMs(at) {
        const piece = pieces.find((p) => at <= p.u1) || last;
        return piece.from + ((at - piece.u0) / (piece.u1 - piece.u0)) * (piece.to - piece.from);
      },
    };
  }

  /** Rows of arrays as objects, by the names of their columns. */
  function objects(columns, rows) {
    return rows.map((row) => {
      const item = {};
      columns.forEach((column, place) => { item[column] = row[place]; });
      return item;
    });
  }

  /** Give each item the first row in which nothing else is at its time; how many rows there are. */
  function pack(items) {
    const ends = [];
    for (const item of items) {
      let row = ends.findIndex((end) => end <= item.began + SAME_TIME_MS);
      if (row < 0 && ends.length < MOST_ROWS) row = ends.length;
      if (row < 0) row = ends.indexOf(Math.min(...ends));
      // The start of a workflow is a mark, however long it took.
      ends[row] = Math.max(ends[row] || 0, item.kind === 'start' ? item.began : item.ended);
      item.row = row;
    }
    return Math.max(1, ends.length);
  }

  function laneItems(lane, columns, scale) {
    const bars = objects(columns.bars, lane.bars);
    for (const bar of bars) {
      bar.key = `${lane.workflow_id}/${bar.function_id}`;
    }
    const attempted = objects(columns.attempted, lane.attempted);
    for (const attempt of attempted) {
      attempt.key = `${lane.workflow_id}/${attempt.function_id}@${attempt.began}`;
      attempt.kind = 'attempt';
    }
    // One that failed lies within its step's bar and is a notch on it.
    const items = bars.concat(attempted.filter((a) => a.fate !== 'failed'));
    items.sort((a, b) => a.began - b.began || a.function_id - b.function_id);
    const notches = attempted.filter((a) => a.fate === 'failed');
    for (const item of items.concat(notches)) {
      item.u0 = scale.toU(item.began);
      item.u1 = scale.toU(item.ended);
    }
    return { items, notches };
  }

  function troubled(lane) {
    return !WELL.has(lane.status) || lane.items.some(
      (item) => item.outcome === 'error' || item.fate === 'repeated');
  }

  /** Every lane with its items, in rows. */
  function layLanes(timeline, scale) {
    const end = timeline.ended_at - timeline.began_at;
    return timeline.lanes.map((given) => {
      const lane = Object.assign({}, given, laneItems(given, timeline.columns, scale));
      lane.rows = pack(lane.items);
      lane.key = lane.workflow_id;
      const until = lane.completed === null ? end : lane.completed;
      lane.uCreated = scale.toU(lane.created);
      lane.uBegan = lane.began === null ? null : scale.toU(lane.began);
      lane.uEnded = scale.toU(until);
      lane.hit = lane.attempts > 1 || lane.items.some((item) => item.kind === 'attempt');
      lane.troubled = troubled(lane);
      const byStep = new Map(lane.items.filter((item) => item.kind !== 'attempt')
        .map((item) => [item.function_id, item]));
      for (const notch of lane.notches) {
        const bar = byStep.get(notch.function_id);
        if (!bar) continue;
        notch.bar = bar;
        bar.notches = (bar.notches || []).concat(notch);
      }
      lane.items.forEach((item, place) => { item.lane = lane; item.place = place; });
      return lane;
    });
  }

  /** Where ticks stand between two places of the axis, so many px apart at least. */
  function ticks(scale, view, width, apart) {
    const most = ((view.u1 - view.u0) * apart) / width;
    const magnitude = 10 ** Math.floor(Math.log10(most));
    const step = Math.max(1, [1, 2, 5, 10].map((n) => n * magnitude).find((n) => n >= most));
    const found = [];
    for (const piece of scale.pieces) {
      if (piece.cut || piece.u1 < view.u0 || piece.u0 > view.u1) continue;
      // After a pause they count anew: what matters there is how long it has gone on again.
      const base = Math.max(0, piece.from);
      const from = piece.from - base + Math.max(0, view.u0 - piece.u0);
      const to = piece.from - base + Math.min(piece.u1, view.u1) - piece.u0;
      for (let ms = Math.ceil(from / step) * step; ms <= to; ms += step) {
        const text = (base ? '+' : '') + format.tick(ms, step);
        found.push({ text, u: piece.u0 + base + ms - piece.from });
      }
    }
    return found;
  }

  aexp.layout = { format, makeScale, layLanes, ticks };
})();
