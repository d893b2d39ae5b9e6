// The timeline by keyboard.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const PAGE = 8;

  /** Along a lane: the workflow itself, then its bars in the order of time. */
  function sideways(_view, item, step) {
    const lane = item.lane || item;
    const place = item.lane ? item.place : -1;
    const next = place + step;
    return next < 0 ? lane : lane.items[Math.min(next, lane.items.length - 1)] || lane;
  }

  /** To another lane, to the bar there that is nearest in time. */
  function across(view, item, step) {
    const lane = item.lane || item;
    const to = view.lanes[Math.min(view.lanes.length - 1, Math.max(0, lane.number + step))];
    if (!item.lane || !to.items.length) return to;
    const far = (other) => Math.abs(other.u0 - item.u0);
    return to === lane ? item : to.items.reduce((best, one) => (far(one) < far(best) ? one : best));
  }

  const moves = {
    ArrowLeft: (view, item) => sideways(view, item, -1),
    ArrowRight: (view, item) => sideways(view, item, 1),
    ArrowUp: (view, item) => across(view, item, -1),
    ArrowDown: (view, item) => across(view, item, 1),
    PageUp: (view, item) => across(view, item, -PAGE),
    PageDown: (view, item) => across(view, item, PAGE),
    Home: (_view, item) => item.lane || item,
    End: (view, item) => sideways(view, item, Infinity),
  };

  const acts = {
    Enter: (view, item) => view.open(item, true),
    ' ': (view, item) => view.open(item, true),
    Escape: (view) => view.close(),
    '+': (view) => view.zoom(1 / 1.6, cursorShare(view)),
    '=': (view) => view.zoom(1 / 1.6, cursorShare(view)),
    '-': (view) => view.zoom(1.6, cursorShare(view)),
    0: (view) => view.whole(),
    k: (view) => view.jump(1),
    K: (view) => view.jump(-1),
  };

  /** Zooming by keyboard keeps the bar under the cursor where it is. */
  function cursorShare(view) {
    const item = view.items.get(view.cursor);
    if (!item?.lane) return 0.5;
    const share = ((item.u0 + item.u1) / 2 - view.view.u0) / (view.view.u1 - view.view.u0);
    return share >= 0 && share <= 1 ? share : 0.5;
  }

  /** Do what ``event`` asks of the timeline ``view``. */
  aexp.timelineKey = (view, event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !view.lanes.length) return;
    const item = view.items.get(view.cursor) || view.lanes[0];
    if (event.shiftKey && event.key.startsWith('Arrow')) {
      const shares = { ArrowLeft: -0.2, ArrowRight: 0.2 };
      view.pan(shares[event.key] || 0);
    } else if (moves[event.key]) {
      view.moveTo(moves[event.key](view, item));
    } else if (acts[event.key]) {
      acts[event.key](view, item);
    } else {
      return;
    }
    event.preventDefault();
  };
})();
